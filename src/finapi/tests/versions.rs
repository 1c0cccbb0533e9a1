//! Which version of Access is spoken: set, proven, and changed while the client runs.

use super::*;
use crate::finapi::Proof;
use crate::finapi::version::Version;
use crate::sandbox::{ApiVersion as Bound, Gateway, GatewayBody};

fn auto() -> Settings {
    speaking(ApiVersion::Auto)
}

fn speaking(api_version: ApiVersion) -> Settings {
    Settings {
        api_version,
        ..settings()
    }
}

fn bound_to(api_version: Bound) -> SandboxConfig {
    SandboxConfig {
        api_version,
        ..SandboxConfig::default()
    }
}

/// A client that proves its version in the background, as a worker's does.
struct Proving {
    world: Arc<World>,
    proving: tokio::task::JoinHandle<()>,
}

impl Proving {
    fn of(config: SandboxConfig) -> Self {
        let world = Arc::new(World::of(config, auto()));
        let client = Arc::clone(&world);
        Self {
            world,
            proving: tokio::spawn(async move { client.client.keep_version().await }),
        }
    }

    async fn proven(bound: Bound) -> Self {
        let proving = Self::of(bound_to(bound));
        proving.until_proven().await;
        proving
    }

    async fn until_proven(&self) -> Version {
        let mut proof = self.world.client.watch_version();
        let proven = proof.wait_for(|proof| matches!(proof, Proof::Proven(_))).await;
        match *proven.expect("the client lives") {
            Proof::Proven(version) => version,
            Proof::Unproven { .. } => unreachable!("that was waited for"),
        }
    }

    fn probes(&self) -> u64 {
        self.world.calls(Endpoint::ClientConfiguration)
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        self.proving.abort();
    }
}

fn class(result: &QueryResult) -> Option<FailureClass> {
    result.as_ref().err().map(|failure| failure.class)
}

/// A whole refresh, as the worker's queries do it.
async fn refreshed(world: &World) -> (Vec<Account>, Vec<Transaction>) {
    let task = world.start(1).await;
    world.poll(1, task.id.as_str()).await;
    pass(10).await;
    assert!(world.connection(1).await.ready);
    (world.accounts(1).await, world.transactions(1, start()).await)
}

#[tokio::test(start_paused = true)]
async fn either_version_is_spoken_and_means_the_same() {
    let mut read = Vec::new();
    for (bound, ours) in [
        (Bound::V1, ApiVersion::V1),
        (Bound::V2, ApiVersion::V2),
        (Bound::V1, ApiVersion::Auto),
        (Bound::V2, ApiVersion::Auto),
    ] {
        let world = World::of(bound_to(bound), speaking(ours));
        world.client.keep_version_until_proven().await;
        let (accounts, mut transactions) = refreshed(&world).await;
        assert_eq!((accounts.len(), transactions.len()), (2, 5));
        let mut connection = world.connection(1).await;
        // V2 alone has these.
        for interface in &mut connection.interfaces {
            assert_eq!(interface.consent_supports_new_accounts.is_some(), bound == Bound::V2);
            interface.consent_supports_new_accounts = None;
        }
        for transaction in &mut transactions {
            transaction.bank_transaction_code_description.clear();
            transaction.fee_currency.clear();
            transaction.fee_amount = None;
        }
        read.push(format!("{connection:?} {accounts:?} {transactions:?}"));
    }
    for other in &read[1..] {
        assert_eq!(*other, read[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_version_is_never_probed_and_a_mismatch_names_the_setting() {
    for (bound, ours, name) in [(Bound::V2, ApiVersion::V1, "v1"), (Bound::V1, ApiVersion::V2, "v2")] {
        let world = World::of(bound_to(bound), speaking(ours));
        let failure = world.failure(&Query::Connection).await;
        assert!(
            failure.message.contains(&format!("finapi.api_version is {name}")),
            "{}",
            failure.message
        );
        let command = RefreshConnection {
            access_token: "of-the-command".into(),
            ..command(1)
        };
        let failure = world.client.result_of(&refresh(command), &Query::Connection).await;
        let failure = failure.expect_err("the other version");
        assert_eq!(failure.class, FailureClass::ClientUnauthorized);
        assert!(
            failure.message.contains(&format!("finapi.api_version is {name}")),
            "{}",
            failure.message
        );
        assert_eq!(world.calls(Endpoint::ClientConfiguration), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_probe_asks_v2_and_where_that_is_refused_v1_and_locks_nobody() {
    for (bound, version, tokens) in [(Bound::V2, Version::V2, 1), (Bound::V1, Version::V1, 2)] {
        let proving = Proving::of(bound_to(bound));
        assert_eq!(proving.until_proven().await, version);
        assert_eq!(proving.world.calls(Endpoint::Token), tokens);
        assert_eq!(proving.probes(), 1);
        assert!(proving.world.sandbox.asked().users.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_proves_nothing_is_probed_again_until_it_does() {
    let gateway = |status, body| FaultKind::Gateway(Gateway::new(status, body));
    let trouble = [
        gateway(403, GatewayBody::Html),
        gateway(403, GatewayBody::Json),
        gateway(401, GatewayBody::Html),
        gateway(200, GatewayBody::Html),
        gateway(200, GatewayBody::Text("[]".into())),
        gateway(404, GatewayBody::Empty),
        FaultKind::status(404),
        FaultKind::status(429),
        FaultKind::status(500),
        FaultKind::Dropped,
    ];
    for kind in trouble {
        for at in [Endpoint::Token, Endpoint::ClientConfiguration] {
            for bound in Bound::ALL {
                let config = SandboxConfig {
                    faults: vec![Fault::at(at, kind.clone()).first(3)],
                    ..bound_to(bound)
                };
                let proving = Proving::of(config);
                // As long as nothing is proven, nobody is asked anything.
                let result = proving.world.query(1, &Query::Connection).await;
                assert!(result.expect_err("not proven").is_not_sent(), "{kind:?} {at:?}");
                assert_eq!(proving.world.calls(Endpoint::BankConnection), 0);
                proving.until_proven().await;
                proving.world.connection(1).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_as_long_as_no_version_is_proven() {
    let config = SandboxConfig {
        client_secret: "another".to_owned(),
        ..SandboxConfig::default()
    };
    let proving = Proving::of(config);
    pass(1).await;
    let command = RefreshConnection {
        access_token: "of-the-command".into(),
        ..command(1)
    };
    let result = proving.world.client.result_of(&refresh(command), &Query::Start).await;
    assert!(result.expect_err("not proven").is_not_sent());
    assert_eq!(proving.world.calls(Endpoint::StartUpdate), 0);
    let why = proving.world.client.unproven().expect("not proven");
    assert!(why.contains("finapi.client_secret"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_of_the_client_are_tried_once_a_minute() {
    let config = SandboxConfig {
        client_secret: "another".to_owned(),
        ..SandboxConfig::default()
    };
    let proving = Proving::of(config);
    pass(10 * 60 + 1).await;
    assert_eq!(proving.world.calls(Endpoint::Token), 11);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_in_both_versions_waits_for_its_operator() {
    let proving = Proving::of(SandboxConfig::default());
    proving
        .world
        .sandbox
        .go_down_at(FaultKind::status(403), &[Endpoint::Token]);
    pass(200).await;
    let why = proving.world.client.unproven().expect("not proven");
    assert!(why.contains("POST /api/v2/oauth/token answered 403"), "{why}");
    assert!(why.contains("POST /oauth/token answered 403"), "{why}");
    assert!(proving.world.calls(Endpoint::Token) <= 2 * 4, "once a minute");
    proving.world.sandbox.come_up();
    pass(61).await;
    assert_eq!(proving.until_proven().await, Version::V2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_switched_costs_a_probe_and_no_attempt() {
    for (before, after) in [(Bound::V1, Bound::V2), (Bound::V2, Bound::V1)] {
        let proving = Proving::proven(before).await;
        let world = &proving.world;
        world.connection(1).await;
        let probes = proving.probes();
        world.sandbox.switch_api_version(after);
        let result = world.query(1, &Query::Connection).await;
        assert_eq!(
            class(&result),
            Some(FailureClass::NotSent(Duration::ZERO)),
            "no attempt"
        );
        assert!(
            !world.client.has_token(&refresh(command(1))),
            "it is of the other version"
        );
        world.connection(1).await;
        assert_eq!(proving.probes(), probes + 1);
        // And where a token is asked for first.
        pass(3600).await;
        world.sandbox.switch_api_version(before);
        world.connection(1).await;
        assert_eq!(proving.probes(), probes + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_meet_the_switch_share_one_probe() {
    let proving = Proving::proven(Bound::V1).await;
    for connection in 1..=20 {
        proving.world.connection(connection).await;
    }
    let probes = proving.probes();
    proving.world.sandbox.switch_api_version(Bound::V2);
    let queries = (1..=20).map(|connection| {
        let world = &proving.world;
        async move { world.query(connection, &Query::Connection).await }
    });
    for result in futures_util::future::join_all(queries).await {
        let class = class(&result);
        assert!(
            matches!(class, None | Some(FailureClass::NotSent(Duration::ZERO))),
            "{class:?}"
        );
    }
    assert_eq!(proving.probes(), probes + 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_in_both_versions_later_is_probed_once_a_minute() {
    let proving = Proving::proven(Bound::V2).await;
    proving.world.connection(1).await;
    let tokens = proving.world.calls(Endpoint::Token);
    let everywhere = [Endpoint::Token, Endpoint::BankConnection, Endpoint::ClientConfiguration];
    proving.world.sandbox.go_down_at(FaultKind::status(403), &everywhere);
    let result = proving.world.query(1, &Query::Connection).await;
    assert!(result.expect_err("unknown").is_not_sent(), "it waits for the operator");
    assert!(proving.world.client.unproven().is_some());
    pass(50).await;
    assert_eq!(proving.world.calls(Endpoint::Token), tokens + 2);
    pass(100).await;
    assert_eq!(proving.world.calls(Endpoint::Token), tokens + 2 * 3);
    proving.world.sandbox.come_up();
    proving.until_proven().await;
    proving.world.connection(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_403_that_has_another_cause_stands_when_a_probe_has_said_so() {
    let proving = Proving::proven(Bound::V2).await;
    let world = &proving.world;
    world.sandbox.add_fault(Fault {
        connection_id: Some(7),
        ..Fault::at(Endpoint::BankConnection, FaultKind::status(403))
    });
    assert_eq!(
        class(&world.query(7, &Query::Connection).await),
        Some(FailureClass::ClientUnauthorized)
    );
    assert_eq!(proving.probes(), 2);
    // Others within the next seconds need no probe of their own.
    assert_eq!(
        class(&world.query(7, &Query::Connection).await),
        Some(FailureClass::ClientUnauthorized)
    );
    // Later the version may have changed, and that shows when the next probe may be made.
    pass(20).await;
    let Some(FailureClass::NotSent(wait)) = class(&world.query(7, &Query::Connection).await) else {
        panic!("a verdict without a probe");
    };
    assert!(wait > secs(30) && wait <= secs(40), "{wait:?}");
    assert_eq!(proving.probes(), 2);
    pass(40).await;
    assert_eq!(
        class(&world.query(7, &Query::Connection).await),
        Some(FailureClass::ClientUnauthorized)
    );
    assert_eq!(proving.probes(), 3);
    assert!(world.query(1, &Query::Connection).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_user_who_may_have_no_token_is_found_out_with_one_password_and_a_probe() {
    let config = SandboxConfig {
        users: vec![crate::sandbox::ScriptedUser {
            user_id: "new".to_owned(),
            unverified: true,
            ..crate::sandbox::ScriptedUser::default()
        }],
        ..bound_to(Bound::V2)
    };
    let proving = Proving::of(config);
    proving.until_proven().await;
    let tokens = proving.world.calls(Endpoint::Token);
    let failure = proving.world.failure_of("new", &Query::Connection).await;
    assert_eq!(failure.class, FailureClass::UserUnauthorized);
    assert_eq!(proving.probes(), 2);
    assert_eq!(
        proving.world.calls(Endpoint::Token),
        tokens + 2,
        "the user's and the probe's"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_says_starts_no_probe() {
    let proving = Proving::proven(Bound::V2).await;
    let gateway = FaultKind::Gateway(Gateway::new(403, GatewayBody::Html));
    proving
        .world
        .sandbox
        .go_down_at(gateway, &[Endpoint::BankConnection, Endpoint::Token]);
    let _ = proving.world.query(1, &Query::Connection).await;
    assert_eq!(proving.probes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_changes_nothing_of_what_has_worked() {
    let proving = Proving::proven(Bound::V2).await;
    proving.world.connection(1).await;
    proving
        .world
        .sandbox
        .add_fault(Fault::at(Endpoint::BankConnection, FaultKind::status(403)).first(1));
    proving
        .world
        .sandbox
        .go_down_at(FaultKind::status(500), &[Endpoint::ClientConfiguration]);
    let result = proving.world.query(1, &Query::Connection).await;
    assert!(result.expect_err("unknown").is_not_sent());
    assert_eq!(proving.world.client.unproven(), None);
    proving.world.connection(1).await;
}

#[tokio::test(start_paused = true)]
async fn each_field_that_finapi_has_is_read() {
    for bound in Bound::ALL {
        let world = World::of(bound_to(bound), speaking(ApiVersion::Auto));
        world.client.keep_version_until_proven().await;
        world.start(9008).await;
        pass(20).await;
        let transactions = world.transactions(9008, start()).await;
        let accounts = world.accounts(9008).await;
        let account = &accounts[0];
        assert_eq!(account.holder_name, "Žofie Nováková");
        assert_eq!(account.number, "0009008001");
        assert!(account.overdraft.is_some() && account.overdraft_limit.is_some() && account.available_funds.is_some());
        assert!(account.interfaces[0].last_attempt_at.is_some());
        let connection = world.connection(9008).await;
        assert_eq!(connection.bank_code, "50010517");
        assert_eq!(connection.interfaces[0].consent_status, "PRESENT");
        let any = |has: fn(&crate::refresh::model::Transaction) -> bool| transactions.iter().any(has);
        let texts: [fn(&crate::refresh::model::Transaction) -> &String; 14] = [
            |t| &t.counterpart_account_number,
            |t| &t.counterpart_bank_code,
            |t| &t.counterpart_bank_name,
            |t| &t.customer_reference,
            |t| &t.creditor_id,
            |t| &t.ultimate_debtor,
            |t| &t.ultimate_creditor,
            |t| &t.sepa_purpose_code,
            |t| &t.bank_transaction_code,
            |t| &t.zka_code,
            |t| &t.swift_code,
            |t| &t.primanota,
            |t| &t.original_currency,
            |t| &t.end_to_end_reference,
        ];
        for (number, text) in texts.into_iter().enumerate() {
            assert!(
                transactions.iter().any(|transaction| !text(transaction).is_empty()),
                "{number}"
            );
        }
        assert!(any(|t| t.original_amount.is_some()) && any(|t| t.compensation_amount.is_some()));
        let of_v2 = [
            any(|t| t.fee_amount.is_some()),
            any(|t| !t.fee_currency.is_empty()),
            any(|t| !t.bank_transaction_code_description.is_empty()),
        ];
        assert_eq!(of_v2, [bound == Bound::V2; 3]);
    }
}
