//! Pauses, by the command line, on a real stream.

use std::time::{Duration, Instant};

use bankrefresh::broker::{Message, Outgoing, Properties};
use bankrefresh::message;
use bankrefresh::proto::FailureReason;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::refresh::order::{Pause, Target};
use bankrefresh::sandbox::{Behaviour, Endpoint, SandboxConfig, Script, UserDoes, bank_id};
use jiff::Timestamp;
use lapin::options::QueueDeleteOptions;

use crate::support::platform::{Platform, WorkerProcess, client, command, free_address, quick, slow, status};
use crate::support::rabbitmq;

/// Runs the program to its end, and says what it printed.
async fn run(platform: &Platform, arguments: &[&str]) -> String {
    let output = platform.program(arguments, &[]).output().await.expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// A worker that has read all orders, and where it says how it is.
async fn worker(platform: &Platform) -> (WorkerProcess, String) {
    let listen = free_address();
    let worker = platform.worker(&[("ADMIN__LISTEN", &listen)]);
    until(&listen, |status| status["orders_unknown"] == false).await;
    (worker, listen)
}

async fn until(listen: &str, is_so: impl Fn(&serde_json::Value) -> bool) {
    let started = Instant::now();
    loop {
        if let Some(status) = status(listen).await
            && is_so(&status)
        {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            status(listen).await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_paused_lane_is_not_consumed_by_workers_that_run_die_or_start_later() {
    let mut platform = Platform::start(quick()).await;
    let (first, listen) = worker(&platform).await;
    let lane = platform.topology.background();
    assert_eq!(run(&platform, &["paused"]).await, "nothing is paused\n");
    run(
        &platform,
        &["pause", "--lane", "background", "--reason", "a test", "--by", "anna"],
    )
    .await;
    until(&listen, |status| status["paused"]["counts"]["lane"] == 1).await;
    let late = command(1);
    platform.send_all(vec![late.clone()], false).await;
    let id = platform.send(command(2)).await;
    platform.outcome(&id).await;
    platform.until_depth(&lane, |depth| depth == (1, 0)).await;
    first.signal("KILL").await;
    let (_second, listen) = worker(&platform).await;
    until(&listen, |status| status["paused"]["first"][0]["by"] == "anna").await;
    let id = platform.send(command(3)).await;
    platform.outcome(&id).await;
    platform.until_depth(&lane, |depth| depth == (1, 0)).await;
    let shown = run(&platform, &["paused"]).await;
    assert!(
        shown.starts_with("lane background since ") && shown.ends_with("by anna: a test\n"),
        "{shown}"
    );
    run(&platform, &["resume", "--lane", "background"]).await;
    platform.outcome(&late.command_id).await;
    assert_eq!(run(&platform, &["paused"]).await, "nothing is paused\n");
}

#[tokio::test]
async fn a_paused_user_waits_and_what_has_a_task_continues() {
    let mut platform = Platform::on(rabbitmq::shared().await, slow(Duration::from_secs(4))).await;
    let (first, listen) = worker(&platform).await;
    let running = platform.send(command(1)).await;
    platform.until_asked(|asked| asked.tasks == 1).await;
    run(&platform, &["pause", "--everything"]).await;
    run(&platform, &["pause", "--user", "user-2", "--for", "1h"]).await;
    run(&platform, &["resume", "--everything"]).await;
    until(&listen, |status| status["paused"]["counts"]["user"] == 1).await;
    let paused = platform.send(command(2)).await;
    let delay = platform.topology.delay_queue("5s");
    platform.until_depth(&delay, |depth| depth.0 == 1).await;
    platform.outcome(&running).await;
    let other = platform.send(command(3)).await;
    platform.outcome(&other).await;
    first.signal("KILL").await;
    let (_second, _) = worker(&platform).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(platform.sandbox.asked().tasks, 2, "the paused one has none");
    run(&platform, &["resume", "--user", "user-2"]).await;
    let events = platform.outcome(&paused).await;
    assert!(
        matches!(events[0].kind(), EventKind::TransactionsUpdated(_)),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_paused_bank_is_found_out_of_each_connection() {
    let mut platform = Platform::start(quick()).await;
    let bank = bank_id(&Script::default().bank_name).to_string();
    run(&platform, &["pause", "--bank", &bank, "--for", "1h"]).await;
    let (_worker, _) = worker(&platform).await;
    let id = platform.send(command(1)).await;
    let delay = platform.topology.delay_queue("5s");
    platform.until_depth(&delay, |depth| depth.0 == 1).await;
    assert_eq!(platform.sandbox.asked().tasks, 0);
    run(&platform, &["resume", "--bank", &bank]).await;
    platform.outcome(&id).await;
    assert_eq!(platform.sandbox.asked().tasks, 1);
}

/// A broker that has no such stream, or does not let a worker read it, stops nothing.
#[tokio::test]
async fn a_worker_without_orders_works_and_says_so() {
    let rabbit = rabbitmq::shared().await;
    let mut platform = Platform::on(rabbit, quick()).await;
    let stream = platform.topology.control();
    let connection = rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    let deleted = channel.queue_delete(stream.as_str().into(), QueueDeleteOptions::default());
    deleted.await.expect("deleted");
    let listen = free_address();
    let mut worker = platform.worker(&[("AMQP__DECLARE", "false"), ("ADMIN__LISTEN", &listen)]);
    worker.log.until("could not consume").await;
    let id = platform.send(command(1)).await;
    platform.outcome(&id).await;
    let get = |path: &str| client().get(format!("http://{listen}{path}")).send();
    let ready = get("/readyz").await.expect("an answer");
    assert_eq!(ready.status(), 200);
    let text = ready.text().await.expect("a text");
    assert!(text.contains("pauses are not known"), "{text}");
    let metrics = get("/metrics").await.expect("an answer").text().await.expect("a text");
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("bankrefresh_orders_unknown") && line.ends_with(" 1"))
    );
    let refused = platform.program(&["paused"], &[("AMQP__DECLARE", "false")]).output();
    let refused = refused.await.expect("it runs");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("can't be read"), "{said}");
    // A worker that may declares it.
    let (_other, _) = self::worker(&platform).await;
    run(&platform, &["pause", "--everything", "--for", "1s"]).await;
    // It is read again once it is there.
    until(&listen, |status| status["orders_unknown"] == false).await;
}

/// What is no order is skipped, also one that is not even AMQP as it should be, and thousands of them keep nobody waiting.
#[tokio::test]
async fn thousands_of_orders_are_read_before_anything_is_started() {
    let platform = Platform::start(quick()).await;
    let (topology, now) = (&platform.topology, Timestamp::now());
    let pause = |user: String| {
        let pause = Pause {
            target: Target::User(user.parse().expect("a user")),
            since: now,
            until: Some(now + Duration::from_secs(1)),
            by: "anna".to_owned(),
            reason: "x".repeat(200),
        };
        message::pause(topology, &pause.into(), now)
    };
    let noise = Outgoing {
        exchange: topology.control(),
        routing_key: String::new(),
        message: Message {
            body: vec![0xff; 300_000].into(),
            properties: Properties::default(),
        },
    };
    platform.broker.publish(vec![noise]).await.expect("published");
    for batch in 0..5 {
        let orders = (0..1000).map(|n| pause(format!("u-{}", (batch * 1000 + n) % 500)));
        platform.broker.publish(orders.collect()).await.expect("published");
    }
    run(&platform, &["pause", "--user", "user-1"]).await;
    let id = platform.send(command(1)).await;
    let started = Instant::now();
    let (worker, listen) = worker(&platform).await;
    println!(
        "5,002 orders were read {:?} after the worker's start",
        started.elapsed()
    );
    until(&listen, |status| status["paused"]["counts"]["user"] == 1).await;
    let delay = platform.topology.delay_queue("5s");
    platform.until_depth(&delay, |depth| depth.0 == 1).await;
    assert_eq!(platform.sandbox.asked().tasks, 0, "{id}");
    assert!(worker.log.text().contains("skipped an order that cannot be read"));
}

#[tokio::test]
async fn what_is_cancelled_ends_where_it_waits_and_its_web_form_with_it() {
    let waits = Script::of(Behaviour::ImmediateWebForm { user: UserDoes::Waits });
    let mut platform = Platform::start(SandboxConfig {
        web_form_life: Duration::from_secs(600),
        default_script: waits,
        ..quick()
    })
    .await;
    let (first, _) = worker(&platform).await;
    let held = platform.send(command(1)).await;
    let asked = platform.next_event().await;
    assert!(matches!(asked.kind(), EventKind::UserActionRequired(_)), "{asked:?}");
    let other = platform.send(command(2)).await;
    platform.next_event().await;
    run(
        &platform,
        &["cancel", "--user", "user-1", "--command-id", &held, "--connection", "1"],
    )
    .await;
    let cancelled = |events: &[Event]| match events.last().expect("an outcome").kind() {
        EventKind::RefreshFailed(failed) => failed.reason() == FailureReason::Cancelled,
        _ => false,
    };
    let events = platform.outcome(&held).await;
    assert!(cancelled(&events), "{events:?}");
    let forms = platform.sandbox.asked().calls.get(&Endpoint::CancelWebForm).copied();
    assert_eq!(forms, Some(1));
    // A command that was sent before, and that a worker that starts later takes.
    first.signal("KILL").await;
    let late = command(3);
    platform.send_all(vec![late.clone()], false).await;
    run(&platform, &["cancel", "--user", "user-3"]).await;
    run(&platform, &["cancel", "--user", "user-2"]).await;
    let tasks = platform.sandbox.asked().tasks;
    let (_second, _) = worker(&platform).await;
    for id in [late.command_id, other] {
        let events = platform.outcome(&id).await;
        assert!(cancelled(&events), "{events:?}");
    }
    assert_eq!(platform.sandbox.asked().tasks, tasks, "nothing was started");
}
