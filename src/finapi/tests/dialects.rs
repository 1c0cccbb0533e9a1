//! The reference's names and the guide's, against a finAPI that speaks only one of them.

use super::*;
use crate::proto::{ImportNewAccounts, SavedSetting};
use crate::sandbox::{self, Gateway, GatewayBody};

fn world(finapi: sandbox::Dialect, ours: Dialect) -> World {
    let config = SandboxConfig {
        dialect: finapi,
        ..SandboxConfig::default()
    };
    let settings = Settings {
        dialect: ours,
        ..settings()
    };
    World::of(config, settings)
}

fn import(mode: ImportNewAccounts) -> RefreshConnection {
    RefreshConnection {
        import_new_accounts: mode.into(),
        ..command(9007)
    }
}

async fn start(world: &World, command: RefreshConnection) -> QueryResult {
    world.client.result_of(&refresh(command), &Query::Start).await
}

async fn accounts(world: &World) -> usize {
    pass(10).await;
    world.accounts(9007).await.len()
}

#[tokio::test(start_paused = true)]
async fn auto_begins_with_the_reference() {
    for finapi in [sandbox::Dialect::Reference, sandbox::Dialect::Both] {
        let world = world(finapi, Dialect::Auto);
        world.start(1).await;
        world.start(2).await;
        assert_eq!(world.calls(Endpoint::StartUpdate), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn auto_speaks_as_finapi_does_and_learns_it_once() {
    for hides_fields in [false, true] {
        let config = SandboxConfig {
            dialect: sandbox::Dialect::Guide,
            hides_fields,
            ..SandboxConfig::default()
        };
        let world = World::of(config, settings());
        world.start(1).await;
        assert_eq!(world.calls(Endpoint::StartUpdate), 2);
        world.start(2).await;
        assert_eq!(world.calls(Endpoint::StartUpdate), 3);
        assert_eq!(world.sandbox.asked().tasks, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_start_decides_for_good() {
    let world = world(sandbox::Dialect::Both, Dialect::Auto);
    world.start(1).await;
    let refusal = Fault::at(Endpoint::StartUpdate, status(400));
    world.sandbox.add_fault(refusal);
    let failure = world.query(2, &Query::Start).await.expect_err("a refusal");
    assert_eq!(failure.class, FailureClass::Rejected);
    assert_eq!(
        world.calls(Endpoint::StartUpdate),
        2,
        "names that have worked are not the reason"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finapis_own_refusal_says_nothing_of_names() {
    let world = world(sandbox::Dialect::Both, Dialect::Auto);
    for body in [GatewayBody::Html, GatewayBody::Empty, GatewayBody::Json] {
        let fault = Fault::at(Endpoint::StartUpdate, FaultKind::Gateway(Gateway::new(400, body))).first(1);
        let before = world.calls(Endpoint::StartUpdate);
        world.sandbox.add_fault(fault);
        world.query(1, &Query::Start).await.expect_err("no answer of finAPI's");
        assert_eq!(world.calls(Endpoint::StartUpdate), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialect_that_is_set_is_kept_to() {
    let pairs = [
        (sandbox::Dialect::Guide, Dialect::Guide, true),
        (sandbox::Dialect::Reference, Dialect::Reference, true),
        (sandbox::Dialect::Guide, Dialect::Reference, false),
        (sandbox::Dialect::Reference, Dialect::Guide, false),
    ];
    for (finapi, ours, understood) in pairs {
        let world = world(finapi, ours);
        let result = world.query(1, &Query::Start).await;
        assert_eq!(world.calls(Endpoint::StartUpdate), 1);
        if understood {
            task(result);
        } else {
            let failure = result.expect_err("other names");
            assert_eq!(failure.class, FailureClass::Rejected);
            assert!(failure.message.contains("bankConnectionId"), "{}", failure.message);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn new_accounts_are_imported_in_either_dialect() {
    for finapi in [
        sandbox::Dialect::Guide,
        sandbox::Dialect::Reference,
        sandbox::Dialect::Both,
    ] {
        let world = world(finapi, Dialect::Auto);
        task(start(&world, import(ImportNewAccounts::Conditional)).await);
        assert_eq!(accounts(&world).await, 4, "{finapi:?}");
    }
    let world = world(sandbox::Dialect::Both, Dialect::Auto);
    task(start(&world, import(ImportNewAccounts::Skip)).await);
    assert_eq!(accounts(&world).await, 2);
}

#[tokio::test(start_paused = true)]
async fn forcing_the_import_is_said_where_there_is_a_word_for_it() {
    let understood = [
        (sandbox::Dialect::Reference, Dialect::Auto),
        (sandbox::Dialect::Reference, Dialect::Reference),
        (sandbox::Dialect::Both, Dialect::Auto),
        (sandbox::Dialect::Both, Dialect::Guide),
    ];
    for (finapi, ours) in understood {
        let world = world(finapi, ours);
        task(start(&world, import(ImportNewAccounts::Forced)).await);
        assert_eq!(accounts(&world).await, 4, "{finapi:?} {ours:?}");
    }
    for ours in [Dialect::Auto, Dialect::Guide] {
        let world = world(sandbox::Dialect::Guide, ours);
        let failure = start(&world, import(ImportNewAccounts::Forced)).await;
        assert_eq!(failure.expect_err("no word for it").class, FailureClass::Rejected);
        assert_eq!(world.sandbox.asked().tasks, 0, "rather than something else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_that_neither_dialect_has_does_not_decide() {
    let world = world(sandbox::Dialect::Guide, Dialect::Auto);
    start(&world, import(ImportNewAccounts::Forced))
        .await
        .expect_err("no word for it");
    let before = world.calls(Endpoint::StartUpdate);
    world.start(1).await;
    assert_eq!(world.calls(Endpoint::StartUpdate), before + 2);
}

#[tokio::test(start_paused = true)]
async fn saved_settings_are_edited_in_either_dialect() {
    for finapi in [sandbox::Dialect::Guide, sandbox::Dialect::Reference] {
        let world = world(finapi, Dialect::Auto);
        let edit = RefreshConnection {
            edit_saved_settings: vec![SavedSetting::Credentials.into()],
            ..command(1)
        };
        let task = task(start(&world, edit).await);
        assert!(task.web_form.is_some(), "{finapi:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_wrong_in_any_dialect_is_named() {
    let config = SandboxConfig {
        redirect_url: sandbox::RedirectUrl::Required,
        ..SandboxConfig::default()
    };
    let world = World::of(config, settings());
    let failure = world.failure(&Query::Start).await;
    assert_eq!(failure.class, FailureClass::Rejected);
    assert!(failure.message.contains("redirectUrl"), "{}", failure.message);
    assert!(!failure.message.contains("bankConnectionId"), "{}", failure.message);
    assert_eq!(
        world.calls(Endpoint::StartUpdate),
        2,
        "once by each names, as long as none has worked"
    );
}
