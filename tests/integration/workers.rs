//! What workers promise as processes: kills, signals, duplicates, outages, what can't be read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bankrefresh::broker::topology::DELIVERY_LIMIT;
use bankrefresh::broker::{Header, Message, Notice, Outgoing, Properties, Subscription, rabbit};
use bankrefresh::proto::{FailureReason, RefreshConnection, RefreshState, UpdateOrigin, UserActionReason};
use bankrefresh::refresh::event::Event;
use bankrefresh::refresh::state;
use bankrefresh::sandbox::{
    After, Behaviour, Dialect, Endpoint, Fault, FaultKind, SandboxConfig, Script, ScriptedUser, UserDoes,
};
use bankrefresh::worker::message::{COMMAND_NAME, QUEUE_HEADER, REASON_HEADER};
use prost::Message as _;
use tokio::time::timeout;

use crate::support::collector::Collector;
use crate::support::platform::{PATIENCE, Platform, client, command, quick, silent};
use crate::support::rabbitmq::RabbitMq;

fn commands(count: i64) -> Vec<RefreshConnection> {
    (1..=count).map(command).collect()
}

/// Updates that take a while, so that workers hold them.
pub fn slow(after: Duration) -> SandboxConfig {
    let default_script = Script::of(Behaviour::Silent {
        after: After::Fixed(after),
    });
    SandboxConfig {
        default_script,
        ..quick()
    }
}

/// Each command has one outcome, by event id, and none of them failed.
pub fn assert_one_good_outcome_each(platform: &Platform, commands: usize) {
    assert_eq!(platform.events.len(), commands);
    for (command, events) in &platform.events {
        let ids: BTreeSet<String> = events
            .iter()
            .map(|(event, _)| event.context().expect("a context").event_id.clone())
            .collect();
        assert_eq!(ids.len(), 1, "{command}: {events:?}");
        assert!(
            events
                .iter()
                .all(|(event, _)| matches!(event, Event::TransactionsUpdated(_)))
        );
    }
    assert_eq!(platform.updates_per_connection_max(), 1, "no bank was asked twice");
}

/// Reads a queue, acknowledging nothing.
async fn first_of(platform: &Platform, queue: &str) -> Message {
    let subscription = Subscription::Queue {
        name: queue.to_owned(),
        prefetch: 1,
    };
    let settings = rabbit::Settings::new(platform.rabbit.url().into());
    let (rabbit, mut notices) =
        rabbit::connect(settings, platform.topology.clone(), vec![subscription]).expect("settings");
    loop {
        match timeout(PATIENCE, notices.recv()).await.expect("a message in time") {
            Some(Notice::Delivery(delivery)) => {
                rabbit.close().await;
                return delivery.message;
            }
            Some(_) => {}
            None => panic!("the broker client has ended"),
        }
    }
}

#[tokio::test]
async fn two_hundred_commands_by_send_start_two_hundred_updates() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let arguments = [
        "send",
        "--user",
        "anna",
        "--connection",
        "1-200",
        "--lane",
        "background",
        "--wait",
    ];
    let sent = platform.program(&arguments, &[]).output().await.expect("send runs");
    let printed = String::from_utf8_lossy(&sent.stdout);
    assert!(
        sent.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    assert!(printed.ends_with("200 updated, 0 failed\n"), "{printed}");
    platform.outcomes(200).await;
    assert_one_good_outcome_each(&platform, 200);
    let asked = platform.sandbox.asked();
    assert_eq!(asked.tasks, 200);
    assert_eq!(asked.calls[&Endpoint::Token], 1, "one token for one user");
    assert!(asked.smallest_interval_ms.is_none_or(|interval| interval >= 1000));
}

#[tokio::test]
async fn send_goes_round_the_connections_until_it_is_stopped() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let arguments = [
        "send",
        "--user",
        "user-{}",
        "--connection",
        "1-2",
        "--connection",
        "7",
        "--every",
        "50ms",
    ];
    let _sending = platform.program(&arguments, &[]).spawn().expect("send runs");
    platform.outcomes(7).await;
    let mut connections = BTreeSet::new();
    for (event, _) in platform.events.values().flatten() {
        let context = event.context().expect("a context");
        assert_eq!(context.user_id, format!("user-{}", context.bank_connection_id));
        connections.insert(context.bank_connection_id);
    }
    assert_eq!(connections, BTreeSet::from([1, 2, 7]));
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_with_its_reason_and_the_next_command_is_served() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let unreadable = |body: Vec<u8>| Outgoing {
        exchange: platform.topology.commands(),
        routing_key: "interactive".to_owned(),
        message: Message {
            body: body.into(),
            properties: Properties {
                kind: Some(COMMAND_NAME.to_owned()),
                headers: [("tenant".to_owned(), Header::from("blue"))].into(),
                ..Properties::default()
            },
        },
    };
    let noise = unreadable(vec![0xff; 40]);
    let no_user = RefreshConnection {
        user_id: String::new(),
        ..command(1)
    };
    let invalid = unreadable(no_user.encode_to_vec());
    // One after the other, so that they die in this order.
    platform.broker.publish(vec![noise]).await.expect("published");
    let dead_letters = platform.topology.dead_letters();
    platform.until_depth(&dead_letters, |(ready, _)| ready == 1).await;
    platform.broker.publish(vec![invalid]).await.expect("published");
    let id = platform.send(command(1)).await;
    platform.outcome(&id).await;
    platform.until_depth(&dead_letters, |(ready, _)| ready == 2).await;
    let dead = first_of(&platform, &dead_letters).await;
    let header = |name: &str| {
        dead.properties
            .headers
            .get(name)
            .and_then(Header::as_text)
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        header(REASON_HEADER).contains(COMMAND_NAME),
        "{:?}",
        dead.properties.headers
    );
    assert_eq!(header(QUEUE_HEADER), platform.topology.interactive());
    assert_eq!(header("tenant"), "blue");
    assert_eq!(dead.body, vec![0xff; 40]);
}

#[tokio::test]
async fn a_command_published_twice_starts_one_update() {
    let mut platform = Platform::start(quick()).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    let command = command(1);
    platform.send_all(vec![command.clone(), command.clone()], true).await;
    platform.outcome(&command.command_id).await;
    platform.send(command.clone()).await;
    let steps = platform.topology.steps();
    platform.until_depth(&steps, |depth| depth == (0, 0)).await;
    while platform.events[&command.command_id].len() < 3 {
        platform.next_event().await;
    }
    assert_one_good_outcome_each(&platform, 1);
}

#[tokio::test]
async fn every_fault_of_finapi_is_got_over_without_a_second_update() {
    let status = |status, retry_after| FaultKind::Status {
        status,
        code: None,
        retry_after,
    };
    let at = |endpoint, kind| Fault {
        kind,
        at: Some(endpoint),
        skip: 0,
        first: Some(1),
    };
    let cases = [
        vec![at(Endpoint::StartUpdate, FaultKind::AnswerLost)],
        vec![at(Endpoint::StartUpdate, FaultKind::Malformed)],
        vec![at(Endpoint::StartUpdate, FaultKind::Dropped)],
        vec![at(Endpoint::StartUpdate, status(500, None))],
        vec![at(Endpoint::StartUpdate, status(429, Some(2)))],
        vec![
            at(Endpoint::Task, status(503, None)),
            at(Endpoint::BankConnection, FaultKind::Dropped),
        ],
        vec![
            at(Endpoint::BankConnection, FaultKind::Malformed),
            at(Endpoint::Transactions, FaultKind::Malformed),
        ],
        vec![
            at(Endpoint::Accounts, status(429, Some(1))),
            at(Endpoint::Task, FaultKind::AnswerLost),
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
async fn a_killed_workers_refreshes_go_on_elsewhere_and_no_bank_is_asked_twice() {
    let mut platform = Platform::start(slow(Duration::from_secs(3))).await;
    let mut killed = platform.worker(&[]);
    platform.send_all(commands(100), false).await;
    platform.until_asked(|asked| asked.tasks >= 60).await;
    killed.child.kill().await.expect("killed");
    let _other = platform.worker(&[]);
    platform.outcomes(100).await;
    assert_one_good_outcome_each(&platform, 100);
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_parks_all_it_holds_within_ten_seconds() {
    let mut platform = Platform::start(slow(Duration::from_secs(8))).await;
    let mut stopped = platform.worker(&[("WORKER__IN_FLIGHT", "5000")]);
    platform.send_all(commands(2000), false).await;
    platform.until_asked(|asked| asked.tasks >= 2000).await;
    let since = Instant::now();
    stopped.signal("TERM").await;
    assert!(stopped.ended().await.success());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    platform
        .until_depth(&platform.topology.background(), |depth| depth == (0, 0))
        .await;
    let _other = platform.worker(&[]);
    platform.outcomes(2000).await;
    assert_one_good_outcome_each(&platform, 2000);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let mut platform = Platform::start(slow(Duration::from_secs(4))).await;
    let listen = free_address();
    let mut stopped = platform.worker(&[("ADMIN__LISTEN", &listen)]);
    platform.send_all(commands(50), false).await;
    platform.until_asked(|asked| asked.tasks >= 50).await;
    // A call that takes long keeps it from stopping by itself.
    platform.sandbox.go_down(FaultKind::Slow { by: After::secs(5) });
    stopped.signal("TERM").await;
    stopped.log.until("stopping").await;
    let ready = client().get(format!("http://{listen}/readyz")).send().await;
    assert_eq!(ready.expect("an answer").status(), 503, "it takes no more");
    stopped.signal("INT").await;
    stopped.ended().await;
    platform.sandbox.come_up();
    let _other = platform.worker(&[]);
    platform.outcomes(50).await;
    assert_one_good_outcome_each(&platform, 50);
}

#[tokio::test]
async fn a_broker_that_restarts_loses_nothing() {
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
    let mut platform = Platform::on(rabbit, slow(Duration::from_secs(2))).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    platform.send_all(commands(100), false).await;
    platform.until_asked(|asked| asked.tasks >= 30).await;
    rabbit.crash().await;
    rabbit.restart().await;
    // Events that were published while our own tap was down are in no queue of ours, so the sandbox is asked instead.
    let background = platform.topology.background();
    platform
        .until_asked(|asked| asked.tasks >= 100 && asked.open_tasks == 0)
        .await;
    platform.until_depth(&background, |depth| depth == (0, 0)).await;
    platform
        .until_depth(&platform.topology.steps(), |depth| depth == (0, 0))
        .await;
    assert_eq!(platform.updates_per_connection_max(), 1, "no bank was asked twice");
    let id = platform.send(command(101)).await;
    platform.outcome(&id).await;
    rabbit.crash().await;
}

#[tokio::test]
async fn a_message_that_kills_workers_ends_as_a_dead_letter_and_its_neighbours_do_not() {
    let mut platform = Platform::start(quick()).await;
    let topology = platform.topology.clone();
    let interactive = topology.interactive();
    platform.send_all(commands(5), true).await;
    // Workers that die with all of them in hand.
    for _ in 0..3 {
        die_with(&platform, &interactive, 5).await;
    }
    let mut worker = platform.worker(&[]);
    platform.outcomes(5).await;
    assert_one_good_outcome_each(&platform, 5);
    // In good order: one that is killed may die with the next message in hand.
    worker.signal("TERM").await;
    worker.ended().await;
    // One that kills whoever tries it alone.
    let suspect = Outgoing {
        exchange: topology.steps(),
        routing_key: topology.suspects(),
        message: Message {
            body: command(6).encode_to_vec().into(),
            properties: Properties::default(),
        },
    };
    platform.broker.publish(vec![suspect]).await.expect("published");
    for _ in 0..=DELIVERY_LIMIT {
        die_with(&platform, &topology.suspects(), 1).await;
    }
    platform
        .until_depth(&topology.dead_letters(), |(ready, _)| ready == 1)
        .await;
}

#[tokio::test]
async fn a_state_that_finds_no_way_at_the_steps_exchange_is_gone_on_with() {
    let mut platform = Platform::start(quick()).await;
    let topology = platform.topology.clone();
    let lost = Outgoing {
        exchange: topology.steps(),
        routing_key: "no queue is bound with this".to_owned(),
        message: Message {
            body: command(1).encode_to_vec().into(),
            properties: Properties::default(),
        },
    };
    platform.broker.publish(vec![lost]).await.expect("published");
    let _worker = platform.worker(&[]);
    platform.outcomes(1).await;
    assert_one_good_outcome_each(&platform, 1);
}

/// Takes so many messages of a queue and goes away without a word.
async fn die_with(platform: &Platform, queue: &str, count: usize) {
    let subscription = Subscription::Queue {
        name: queue.to_owned(),
        prefetch: 100,
    };
    let settings = rabbit::Settings::new(platform.rabbit.url().into());
    let (rabbit, mut notices) =
        rabbit::connect(settings, platform.topology.clone(), vec![subscription]).expect("settings");
    let mut taken = 0;
    while taken < count {
        if let Some(Notice::Delivery(_)) = timeout(PATIENCE, notices.recv()).await.expect("a delivery in time") {
            taken += 1;
        }
    }
    rabbit.close().await;
}

#[tokio::test]
async fn a_newer_releases_state_is_left_to_it() {
    let platform = Platform::start(quick()).await;
    let mut worker = platform.worker(&[]);
    let newer = RefreshState {
        version: state::VERSION + 1,
        ..RefreshState::default()
    };
    let message = Outgoing {
        exchange: platform.topology.steps(),
        routing_key: platform.topology.steps(),
        message: Message {
            body: newer.encode_to_vec().into(),
            properties: Properties {
                kind: Some(state::MESSAGE_NAME.to_owned()),
                ..Properties::default()
            },
        },
    };
    platform.broker.publish(vec![message]).await.expect("published");
    worker.log.until("a newer release's state").await;
    let put_aside = platform.topology.delay_queue("15s");
    platform.until_depth(&put_aside, |(ready, _)| ready == 1).await;
    assert_eq!(first_of(&platform, &put_aside).await.body, newer.encode_to_vec());
}

#[tokio::test]
async fn while_finapi_is_down_commands_wait_and_nothing_fails() {
    let mut platform = Platform::start(quick()).await;
    let mut worker = platform.worker(&[
        ("BREAKER__FAILURES", "3"),
        ("BREAKER__INITIAL", "1s"),
        ("BREAKER__MAX", "1s"),
    ]);
    platform.sandbox.go_down(FaultKind::Dropped);
    platform.send_all(commands(10), true).await;
    worker.log.until("finAPI is down").await;
    platform.send_all((11..=40).map(command).collect(), true).await;
    let interactive = platform.topology.interactive();
    platform.until_depth(&interactive, |(ready, _)| ready == 30).await;
    let asked: u64 = platform.sandbox.asked().calls.values().sum();
    let down_since = Instant::now();
    platform
        .until_asked(|now| now.calls.values().sum::<u64>() >= asked + 2)
        .await;
    assert!(down_since.elapsed() >= Duration::from_secs(1), "one probe a second");
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
        let refused = u64::from(sandbox == Dialect::Reference && spoken == "auto");
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
        reasons.push(match platform.outcome(&id).await.remove(0) {
            Event::RefreshFailed(event) => event.reason(),
            other => {
                assert!(
                    matches!(other, Event::TransactionsUpdated(_)) && connection == 2,
                    "{other:?}"
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
        3,
        "one try for each user that has a password"
    );
}

#[tokio::test]
async fn a_callback_is_looked_into_at_once_and_a_forged_one_does_nothing() {
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
    assert!(matches!(platform.next_event().await, Event::UserActionRequired(_)));
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
    assert!(matches!(events[1], Event::TransactionsUpdated(_)));
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

#[tokio::test]
async fn the_batch_updates_notifications_become_the_same_events() {
    let mut platform = Platform::start(quick()).await;
    let listen = free_address();
    let secret = "0123456789abcdef";
    let mut worker = platform.worker(&[
        ("CALLBACKS__LISTEN", &listen),
        ("CALLBACKS__NOTIFICATION_SECRET", secret),
    ]);
    let first = platform.send(command(1)).await;
    platform.outcome(&first).await;
    assert!(platform.sandbox.batch_update(1, Duration::from_millis(100)));
    platform.until_asked(|asked| asked.open_tasks == 0).await;
    let client = client();
    let post = |path: String, body: serde_json::Value| {
        let request = client.post(format!("http://{listen}/notifications/{path}"));
        request
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
    };
    let news = serde_json::json!({
        "notificationRuleId": 1, "triggerEvent": "NEW_TRANSACTIONS", "callbackHandle": "user-1/1",
        "newTransactions": [{"accountId": 1001, "newTransactionsCount": 5, "details": null}],
    });
    assert_eq!(
        post("guessed".into(), news.clone()).await.expect("an answer").status(),
        404
    );
    assert_eq!(
        post(secret.into(), serde_json::json!({"a": 1}))
            .await
            .expect("an answer")
            .status(),
        400
    );
    worker.log.until("a notification can't be understood").await;
    assert_eq!(post(secret.into(), news).await.expect("an answer").status(), 204);
    let Event::TransactionsUpdated(event) = platform.next_event().await else {
        panic!("not TransactionsUpdated")
    };
    assert_eq!(event.origin(), UpdateOrigin::Batch);
    let login = serde_json::json!({"triggerEvent": "BANK_LOGIN_ERROR", "callbackHandle": "user-1/1"});
    assert_eq!(post(secret.into(), login).await.expect("an answer").status(), 204);
    let Event::UserActionRequired(event) = platform.next_event().await else {
        panic!("not UserActionRequired")
    };
    assert_eq!(event.reason(), UserActionReason::BatchUpdate);
    assert!(event.web_form_url.is_empty());
    assert_eq!(platform.updates_per_connection_max(), 1);
}

#[tokio::test]
async fn no_secret_is_in_any_log_line_span_or_metric() {
    let planted = "planted-token-8f3a";
    let broker_password = "planted-broker-password";
    let config = SandboxConfig {
        web_form_life: Duration::from_secs(3),
        fault_rate: 0.05,
        ..quick()
    };
    let mut platform = Platform::start(config).await;
    let collector = Collector::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let mut worker = platform.worker(&[
        ("TELEMETRY__LOG_LEVEL", "trace"),
        ("TELEMETRY__LOG_FORMAT", "json"),
        ("TELEMETRY__OTLP_ENDPOINT", &collector.url),
        ("ADMIN__LISTEN", &listen),
    ]);
    let mut all = Vec::new();
    for id in [1, 2, 3, 9003, 9005, 9013] {
        all.push(command(id));
    }
    all.push(RefreshConnection {
        access_token: planted.to_owned(),
        ..command(4)
    });
    let passwords = all.iter().map(|command| format!("secret-{}", command.user_id));
    let mut secrets: Vec<String> = passwords.collect();
    let count = all.len();
    platform.send_all(all, true).await;
    let unreadable = [
        planted.as_bytes().to_vec(),
        RefreshConnection {
            access_token: planted.to_owned(),
            user_id: String::new(),
            ..command(5)
        }
        .encode_to_vec(),
    ];
    for body in unreadable {
        let message = Outgoing {
            exchange: platform.topology.commands(),
            routing_key: "interactive".to_owned(),
            message: Message {
                body: body.into(),
                properties: Properties::default(),
            },
        };
        platform.broker.publish(vec![message]).await.expect("published");
    }
    let dead_letters = platform.topology.dead_letters();
    platform.until_depth(&dead_letters, |(ready, _)| ready == 2).await;
    platform.outcomes(count).await;
    let mut shown = String::new();
    let refused = format!(
        "amqp://guest:{broker_password}@127.0.0.1:{}/%2f",
        platform.rabbit.port()
    );
    for (arguments, url) in [
        (["topology", "check"], refused.as_str()),
        (["topology", "check"], "amqp://guest:planted-broker-password@:no-port"),
        (["config", "check"], refused.as_str()),
    ] {
        let settings = [("AMQP__URL", url), ("TELEMETRY__LOG_LEVEL", "trace")];
        let output = platform.program(&arguments, &settings).output();
        let output = timeout(PATIENCE, output).await.expect("an end").expect("it runs");
        assert_eq!(output.status.success(), arguments[0] == "config");
        shown += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    for path in ["metrics", "status", "livez", "readyz"] {
        let answer = client().get(format!("http://{listen}/{path}")).send().await;
        shown += &answer.expect("an answer").text().await.expect("text");
    }
    worker.signal("TERM").await;
    worker.ended().await;
    collector.until(|seen| !seen.metrics().is_empty()).await;
    let spans = collector.spans();
    assert!(spans.len() > 50, "{}", spans.len());
    shown += &format!("{spans:?} {:?} {}", collector.metrics(), worker.log.text());
    let told = [planted, broker_password, "sandbox-secret", "guest:guest"];
    secrets.extend(told.map(str::to_owned));
    let (mut ibans, mut purposes) = (0, 0);
    for (event, _) in platform.events.values().flatten() {
        match event {
            Event::UserActionRequired(event) => secrets.push(event.web_form_url.clone()),
            Event::TransactionsUpdated(event) => {
                secrets.extend(event.accounts.iter().map(|account| account.iban.clone()));
                secrets.extend(event.transactions.iter().map(|transaction| transaction.purpose.clone()));
                ibans += event.accounts.iter().filter(|account| !account.iban.is_empty()).count();
                purposes += event.transactions.iter().filter(|of| !of.purpose.is_empty()).count();
            }
            Event::RefreshFailed(event) => secrets.push(event.bank_message.clone()),
        }
    }
    let found: Vec<&String> = secrets
        .iter()
        .filter(|secret| !secret.is_empty() && shown.contains(*secret))
        .collect();
    assert!(
        ibans > 0 && purposes > 0 && secrets.len() > 10 && shown.len() > 10_000,
        "there is something to look for and to look at"
    );
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_bad_setting_stops_the_start_and_is_named() {
    let platform = Platform::start(quick()).await;
    let refused = platform
        .program(&["worker"], &[("POLLING__INITIAL", "10ms")])
        .output()
        .await
        .expect("it runs");
    assert!(!refused.status.success());
    let shown = String::from_utf8_lossy(&refused.stderr);
    assert!(shown.contains("polling.initial must be 1s to 1m"), "{shown}");
    let checked = platform
        .program(&["config", "check"], &[])
        .output()
        .await
        .expect("it runs");
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(
        shown.contains("client_secret = \"(hidden)\"") && !shown.contains("sandbox-secret"),
        "{shown}"
    );
    let checked = platform
        .program(&["topology", "check"], &[])
        .output()
        .await
        .expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test]
async fn operators_see_whether_a_worker_lives_is_ready_and_what_it_holds() {
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
    let mut platform = Platform::on(rabbit, slow(Duration::from_secs(4))).await;
    let listen = free_address();
    let mut worker = platform.worker(&[("ADMIN__LISTEN", &listen)]);
    platform.send_all(commands(20), true).await;
    platform.until_asked(|asked| asked.tasks >= 20).await;
    let client = client();
    let get = |path: &'static str| {
        let request = client.get(format!("http://{listen}{path}")).send();
        async move {
            let answer = request.await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        }
    };
    assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    let status: serde_json::Value = serde_json::from_str(&get("/status").await.1).expect("JSON");
    assert_eq!(status["held"]["updating"]["count"], 20, "{status}");
    assert!(!status.to_string().contains("user-1"), "nothing personal");
    platform.outcomes(20).await;
    let metrics = get("/metrics").await.1;
    for line in [
        "bankrefresh_refreshes_total{outcome=\"updated\",reason=\"UPDATE_ORIGIN_SILENT\"",
        "bankrefresh_finapi_call_duration_seconds_count{call=\"start\",class=\"ok\"",
        "bankrefresh_notice_delay_seconds_count",
        "bankrefresh_in_hand{",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    rabbit.crash().await;
    worker.log.until("lost the connection").await;
    assert_eq!(get("/readyz").await.0, 503);
    assert_eq!(get("/livez").await.0, 200, "it waits for the broker, and lives");
}

pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
