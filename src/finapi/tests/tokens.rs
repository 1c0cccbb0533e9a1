//! Users' tokens.

use super::*;
use crate::sandbox::ScriptedUser;

fn of_user(world: &World) -> (u64, u64) {
    let asked = world.sandbox.asked();
    let anna = asked.users.get("anna").expect("anna");
    (anna.token_responses, anna.tokens_made)
}

#[tokio::test(start_paused = true)]
async fn one_token_does_for_all_calls_of_a_user() {
    let world = World::new();
    world.connection(1).await;
    futures_util::future::join_all((2..20).map(|connection| world.connection(connection))).await;
    world.find(1).await;
    assert_eq!(of_user(&world), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_costs_one_new_one_and_one_more_try() {
    let world = World::new();
    world.find(1).await;
    world.sandbox.revoke_token("anna");
    world.find(1).await;
    assert_eq!(of_user(&world), (2, 2));
    assert_eq!(world.calls(Endpoint::Tasks), 3);
    assert_eq!(world.sandbox.asked().responses["tasks 401"], 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_all_refused_fail_the_call_after_two() {
    let world = World::with_fault(Endpoint::Tasks, None, status(401));
    assert_eq!(world.failure(&Query::FindTask).await.class, FailureClass::TokenRefused);
    assert_eq!(world.calls(Endpoint::Tasks), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_dead_token_makes_one_task() {
    let world = World::new();
    world.find(1).await;
    world.sandbox.revoke_token("anna");
    world.start(1).await;
    assert_eq!(world.sandbox.asked().tasks, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_ends() {
    let world = World::new();
    for _ in 0..10 {
        world.find(1).await;
        pass(1799).await;
    }
    assert!(!world.sandbox.asked().responses.contains_key("tasks 401"));
}

#[tokio::test(start_paused = true)]
async fn the_commands_own_token_goes_before_any_other_and_is_not_replaced() {
    let world = World::new();
    let with_token = |token: &str| {
        refresh(RefreshConnection {
            access_token: token.into(),
            ..command(1)
        })
    };
    let failure = world.client.result_of(&with_token("dead"), &Query::FindTask).await;
    assert_eq!(failure.expect_err("a dead token").class, FailureClass::TokenRefused);
    assert_eq!((world.calls(Endpoint::Tasks), world.calls(Endpoint::Token)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once() {
    let world = World::new();
    world.sandbox.script_user(ScriptedUser {
        user_id: "anna".into(),
        password: Some("another".into()),
        ..ScriptedUser::default()
    });
    for code in [Some("BAD_REQUEST"), None, None, None] {
        let failure = world.failure(&Query::FindTask).await;
        assert_eq!(
            (failure.class, failure.code.as_deref()),
            (FailureClass::UserUnauthorized, code)
        );
        pass(3600).await;
    }
    assert_eq!(world.sandbox.asked().users["anna"].wrong_passwords, 1);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_a_token_has_its_class() {
    let user = |locked, unverified| ScriptedUser {
        user_id: "anna".into(),
        password: None,
        locked,
        unverified,
    };
    for (user, class) in [
        (user(true, false), FailureClass::UserLocked),
        (user(false, true), FailureClass::UserUnauthorized),
    ] {
        let world = World::new();
        world.sandbox.script_user(user);
        assert_eq!(world.failure(&Query::FindTask).await.class, class);
    }
    let stranger = Settings {
        client_secret: secret("wrong"),
        ..settings()
    };
    let world = World::of(SandboxConfig::default(), stranger);
    assert_eq!(
        world.failure(&Query::FindTask).await.class,
        FailureClass::ClientUnauthorized
    );
    for (code, class) in [
        (429, FailureClass::RateLimited(None)),
        (500, FailureClass::MaybeDown),
        (404, FailureClass::Foreign),
    ] {
        let world = World::with_fault(Endpoint::Token, None, status(code));
        assert_eq!(world.failure(&Query::FindTask).await.class, class);
        assert_eq!(world.calls(Endpoint::Tasks), 0);
    }
    let world = World::with_fault(Endpoint::Token, None, FaultKind::Malformed);
    assert_eq!(world.failure(&Query::FindTask).await.class, FailureClass::Unexpected);
}

#[tokio::test(start_paused = true)]
async fn trouble_with_a_token_is_over_when_it_is_over() {
    let world = World::with_fault(Endpoint::Token, Some(1), status(500));
    world.failure(&Query::FindTask).await;
    world.find(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_never_ends_is_kept() {
    let config = SandboxConfig {
        token_life: Duration::ZERO,
        ..SandboxConfig::default()
    };
    let world = World::of(config, settings());
    world.find(1).await;
    pass(365 * 24 * 3600).await;
    world.find(1).await;
    assert_eq!(of_user(&world), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_its_worker_has_stopped_is_not_sent() {
    let world = World::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome = world
        .client
        .query_within(&refresh(command(1)), &Query::FindTask, stop)
        .await;
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    assert_eq!(world.calls(Endpoint::Token), 1);
    assert_eq!(world.calls(Endpoint::Tasks), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_without_proof_that_the_delivery_is_still_ours() {
    let world = World::new();
    world.find(1).await;
    let refresh = refresh(command(1));
    let control = Control {
        stop: CancellationToken::new(),
        lease: Lease::new(Duration::from_secs(5)),
        renewals: 0,
        room: world.client.room(&refresh),
    };
    let started = world.client.query(&refresh, &Query::Start, &control).await;
    assert!(matches!(started, Outcome::Stopped), "{started:?}");
    let found = world.client.query(&refresh, &Query::FindTask, &control).await;
    assert!(
        matches!(found, Outcome::Response(Ok(_))),
        "reading changes nothing: {found:?}"
    );
    control.lease.renew(Moment::now());
    let started = world.client.query(&refresh, &Query::Start, &control).await;
    assert!(matches!(started, Outcome::Response(Ok(_))), "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn a_user_whom_access_finds_locked_is_asked_for_a_token_once() {
    let world = World::with_fault(Endpoint::BankConnection, None, status(423));
    world.find(1).await;
    let asked = world.calls(Endpoint::Token);
    let failure = world.failure(&Query::Connection).await;
    assert_eq!(failure.class, FailureClass::Locked);
    assert_eq!(
        (world.calls(Endpoint::Token), world.calls(Endpoint::BankConnection)),
        (asked + 1, 2)
    );
    world.sandbox.script_user(ScriptedUser {
        user_id: "anna".into(),
        password: None,
        locked: true,
        unverified: false,
    });
    let failure = world.failure(&Query::Connection).await;
    assert_eq!(failure.class, FailureClass::UserLocked);
}
