//! What workers make of finAPI's answers, faults, outages, dialects and callbacks.

use std::time::{Duration, Instant};

use bankrefresh::proto::{FailureReason, RefreshConnection};
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::{
    After, Behaviour, Dialect, Endpoint, Fault, FaultKind, SandboxConfig, Script, ScriptedUser, UserDoes,
};
use tokio::time::timeout;

use crate::support::platform::{
    PATIENCE, Platform, WorkerProcess, assert_one_good_outcome_each, client, command, commands, free_address, quick,
    silent,
};

#[tokio::test]
async fn a_command_published_twice_starts_one_update() {
    let mut platform = Platform::start(quick()).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    let command = command(1);
    platform.send_all(vec![command.clone(), command.clone()], true).await;
    platform.outcome(&command.command_id).await;
    platform.send(command.clone()).await;
    // Of two copies that meet in one worker the second may be dropped.
    while platform.events[&command.command_id].len() < 2 {
        platform.next_event().await;
    }
    let topology = platform.topology.clone();
    for queue in [topology.interactive(), topology.delay_queue("5s"), topology.steps()] {
        platform.until_depth(&queue, |depth| depth == (0, 0)).await;
    }
    assert_one_good_outcome_each(&platform, 1);
}

#[tokio::test]
async fn nobody_is_sent_to_a_web_form_that_is_not_https() {
    let config = SandboxConfig {
        web_form_url: "http://forms.test".to_owned(),
        ..quick()
    };
    let mut platform = Platform::start(config).await;
    for (connection, insecure, url) in [(1, "false", ""), (2, "true", "http://forms.test/webForm/")] {
        let mut worker = platform.worker(&[("FINAPI__ALLOW_INSECURE", insecure)]);
        let command = command(connection);
        let form = Behaviour::WebFormDuring {
            after: After::millis(100),
            user: UserDoes::Completes { after: After::secs(1) },
        };
        platform.sandbox.script(&command.user_id, connection, Script::of(form));
        let id = platform.send(command).await;
        let events = platform.outcome(&id).await;
        let EventKind::UserActionRequired(event) = events[0].kind() else {
            panic!("{events:?}");
        };
        assert!(event.web_form_url.starts_with(url), "{insecure}");
        assert_eq!(event.web_form_url.is_empty(), url.is_empty());
        assert_eq!(event.message.is_empty(), !url.is_empty(), "{:?}", event.message);
        worker.signal("TERM").await;
        worker.ended().await;
    }
}

#[tokio::test]
async fn every_fault_of_finapi_is_got_over_without_a_second_update() {
    let at = |endpoint, kind| Fault::at(endpoint, kind).first(1);
    let cases = [
        vec![at(Endpoint::StartUpdate, FaultKind::ResponseLost)],
        vec![at(Endpoint::StartUpdate, FaultKind::Malformed)],
        vec![at(Endpoint::StartUpdate, FaultKind::Dropped)],
        vec![at(Endpoint::StartUpdate, FaultKind::status(500))],
        vec![at(Endpoint::StartUpdate, FaultKind::retry_after(429, 2))],
        vec![
            at(Endpoint::Task, FaultKind::status(503)),
            at(Endpoint::BankConnection, FaultKind::Dropped),
        ],
        vec![
            at(Endpoint::BankConnection, FaultKind::Malformed),
            at(Endpoint::Transactions, FaultKind::Malformed),
        ],
        vec![
            at(Endpoint::Accounts, FaultKind::retry_after(429, 1)),
            at(Endpoint::Task, FaultKind::ResponseLost),
        ],
    ];
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    for (id, faults) in (1..).zip(cases.clone()) {
        let script = Script {
            faults,
            ..Script::of(silent())
        };
        platform.sandbox.script(&format!("user-{id}"), id, script);
    }
    platform.send_all(commands(8), true).await;
    platform.outcomes(8).await;
    assert_one_good_outcome_each(&platform, 8);
    assert_eq!(platform.sandbox.asked().faults, 11, "every fault was met");
}

#[tokio::test]
async fn while_finapi_is_down_commands_wait_and_nothing_fails() {
    let mut platform = Platform::start(quick()).await;
    let mut worker = platform.worker(&[("BREAKER__INITIAL", "1s"), ("BREAKER__MAX", "1s")]);
    worker.log.until("bound to this version of Access").await;
    platform.sandbox.go_down(FaultKind::Dropped);
    platform.send_all(commands(10), true).await;
    worker.log.until("finAPI is down").await;
    let interactive = platform.topology.interactive();
    platform.until_cancelled(&interactive).await;
    let calls = |platform: &Platform| platform.sandbox.asked().calls.values().sum::<u64>();
    let (asked, down_since) = (calls(&platform), Instant::now());
    platform.send_all((11..=40).map(command).collect(), true).await;
    platform
        .until_asked(|now| now.calls.values().sum::<u64>() >= asked + 9)
        .await;
    assert!(down_since.elapsed() >= Duration::from_secs(1), "a few trials a second");
    platform.sandbox.come_up();
    platform.outcomes(40).await;
    assert_one_good_outcome_each(&platform, 40);
}

#[tokio::test]
async fn each_dialect_is_spoken() {
    for (sandbox, spoken) in [
        (Dialect::Guide, "guide"),
        (Dialect::Reference, "reference"),
        (Dialect::Guide, "auto"),
        (Dialect::Reference, "auto"),
    ] {
        let config = SandboxConfig {
            dialect: sandbox,
            ..quick()
        };
        let mut platform = Platform::start(config).await;
        let _worker = platform.worker(&[("FINAPI__DIALECT", spoken)]);
        let id = platform.send(command(1)).await;
        platform.outcome(&id).await;
        let id = platform.send(command(2)).await;
        platform.outcome(&id).await;
        assert_one_good_outcome_each(&platform, 2);
        let refused = u64::from(sandbox == Dialect::Guide && spoken == "auto");
        let posts = platform.sandbox.asked().calls[&Endpoint::StartUpdate];
        assert_eq!(posts, 2 + refused, "{sandbox:?} by {spoken}: learned once");
    }
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_a_locked_user_not_again() {
    let mut platform = Platform::start(quick()).await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("user-1"), "wrong\n").expect("written");
    std::fs::write(directory.path().join("user-2"), "secret-user-2\n").expect("written");
    std::fs::write(directory.path().join("user-3"), "secret-user-3").expect("written");
    platform.sandbox.script_user(ScriptedUser {
        user_id: "user-3".to_owned(),
        locked: true,
        ..ScriptedUser::default()
    });
    let path = directory.path().to_str().expect("a path");
    let mut command_line = platform.program(
        &["worker"],
        &[("CREDENTIALS__SOURCE", "directory"), ("CREDENTIALS__DIRECTORY", path)],
    );
    command_line.env_remove("BANKREFRESH__CREDENTIALS__URL");
    let _worker = command_line.spawn().expect("the program starts");
    let mut reasons = Vec::new();
    for connection in [1, 1, 2, 3, 3, 4] {
        let id = platform.send(command(connection)).await;
        let outcome = platform.outcome(&id).await.remove(0);
        reasons.push(match outcome.kind() {
            EventKind::RefreshFailed(event) => event.reason(),
            other => {
                assert!(
                    matches!(other, EventKind::TransactionsUpdated(_)) && connection == 2,
                    "{outcome:?}"
                );
                FailureReason::Unspecified
            }
        });
    }
    use FailureReason::{Unspecified, UserLocked, UserUnauthorized};
    let expected = [
        UserUnauthorized,
        UserUnauthorized,
        Unspecified,
        UserLocked,
        UserLocked,
        UserUnauthorized,
    ];
    assert_eq!(reasons, expected);
    assert_eq!(
        platform.sandbox.asked().calls[&Endpoint::Token],
        4,
        "one try for each user that has a password, and the client's own"
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_by_four_workers_together() {
    let mut platform = Platform::start(quick()).await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("user-1"), "wrong\n").expect("written");
    let path = directory.path().to_str().expect("a path");
    let start = || {
        let settings = [("CREDENTIALS__SOURCE", "directory"), ("CREDENTIALS__DIRECTORY", path)];
        let mut program = platform.program(&["worker"], &settings);
        program.env_remove("BANKREFRESH__CREDENTIALS__URL");
        WorkerProcess::start(&mut program)
    };
    let workers = [start(), start(), start(), start()];
    let wake = platform.topology.wake();
    let consumed = || async {
        let listed = platform.rabbit.ctl(&["list_queues", "-q", "name", "consumers"]).await;
        let lines = listed.lines().filter(|line| line.starts_with(&wake));
        lines.filter(|line| line.ends_with('1')).count()
    };
    while timeout(PATIENCE, consumed()).await.expect("RabbitMQ lists its queues") < workers.len() {}
    let eight: Vec<_> = (1..=8)
        .map(|connection| RefreshConnection {
            user_id: "user-1".to_owned(),
            ..command(connection)
        })
        .collect();
    platform.send_all(eight, true).await;
    platform.outcomes(8).await;
    for events in platform.events.values() {
        let EventKind::RefreshFailed(failed) = events[0].0.kind() else {
            panic!("not RefreshFailed")
        };
        assert_eq!(failed.reason(), FailureReason::UserUnauthorized);
    }
    assert_eq!(platform.sandbox.asked().users["user-1"].wrong_passwords, 1);
    // Several of them had commands, because RabbitMQ deals them out in turn.
    let busy = workers
        .iter()
        .filter(|worker| worker.log.text().contains("published RefreshFailed"));
    assert!(busy.count() > 1);
}

#[tokio::test]
async fn a_callback_brings_a_poll_at_once_and_a_forged_one_does_nothing() {
    let config = SandboxConfig {
        default_script: Script::of(Behaviour::WebFormDuring {
            after: After::secs(1),
            user: UserDoes::Completes { after: After::secs(2) },
        }),
        web_form_life: Duration::from_secs(60),
        ..quick()
    };
    let mut platform = Platform::start(config).await;
    let listen = free_address();
    let settings = |listen| {
        [
            ("CALLBACKS__LISTEN", listen),
            ("CALLBACKS__PUBLIC_URL", "https://callbacks.example.org/finapi"),
            ("CALLBACKS__KEY", "a key of sixteen characters or more"),
        ]
    };
    // The one that hears finAPI need not be the one that holds the refresh.
    let _hears = platform.worker(&settings(&listen));
    let other = free_address();
    let _other = platform.worker(&settings(&other));
    let id = platform.send(command(1)).await;
    let client = client();
    let local = |url: &str| url.replace("https://callbacks.example.org/finapi", &format!("http://{listen}"));
    let since = Instant::now();
    let called = timeout(PATIENCE, platform.sandbox.next_callback())
        .await
        .expect("a callback in time");
    let url = local(&called.url);
    let forged = format!("{}{}", &url[..url.len() - 4], "0000");
    assert_eq!(client.post(&forged).send().await.expect("an answer").status(), 404);
    assert_eq!(
        client.post(&url).body("{}").send().await.expect("an answer").status(),
        204
    );
    assert!(matches!(
        platform.next_event().await.kind(),
        EventKind::UserActionRequired(_)
    ));
    let called = timeout(PATIENCE, platform.sandbox.next_callback())
        .await
        .expect("a callback in time");
    assert_eq!(
        client
            .post(local(&called.url))
            .send()
            .await
            .expect("an answer")
            .status(),
        204
    );
    let events = platform.outcome(&id).await;
    assert!(matches!(events[1].kind(), EventKind::TransactionsUpdated(_)));
    assert!(
        since.elapsed() < Duration::from_secs(12),
        "polling alone would have taken 15 s and more"
    );
    assert_eq!(
        client.post(&url).send().await.expect("an answer").status(),
        204,
        "a late one is harmless"
    );
}
