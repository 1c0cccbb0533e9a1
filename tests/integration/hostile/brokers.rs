//! Brokers that are limited, and what operators and consumers set on their queues.

use std::time::Duration;

use bankrefresh::proto::FailureReason;
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::{After, Behaviour, Script};
use lapin::options::{BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use uuid::Uuid;

use super::neighbours::{Neighbours, dead_letters, swift};
use crate::support::platform::{
    Log, Platform, assert_one_good_outcome_each, client, command, commands, free_address, silent, slow,
};
use crate::support::rabbitmq::RabbitMq;

/// The parked waits of this worker are all of its waits.
const PARKS: (&str, &str) = ("WORKER__HOLD_WAIT_MAX", "0s");

#[tokio::test]
async fn a_worker_serves_commands_where_there_is_no_room_for_another_queue() {
    let vhost = Uuid::new_v4().simple().to_string();
    let platform = Platform::in_vhost(&vhost, swift()).await;
    let rabbit = platform.rabbit;
    let mut neighbours = Neighbours::of(platform, &[]).await;
    neighbours.worker.signal("TERM").await;
    neighbours.worker.ended().await;
    // All that the worker declares but its ephemeral queue is there.
    let queues = rabbit
        .ctl(&["list_queues", "-p", &vhost, "-q", "--no-table-headers", "name"])
        .await;
    let limit = format!(r#"{{"max-queues": {}}}"#, queues.lines().count());
    rabbit.ctl(&["set_vhost_limits", "-p", &vhost, &limit]).await;
    let listen = free_address();
    neighbours.worker = neighbours.platform.worker(&[("ADMIN__LISTEN", &listen)]);
    neighbours.are_served().await.expect("they are served");
    let get = async |path: &str| {
        let response = client().get(format!("http://{listen}{path}")).send().await;
        let response = response.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a text"))
    };
    let (status, said) = get("/readyz").await;
    assert_eq!(status, 200);
    assert!(said.contains("wake-ups are off"), "{said}");
    let (_, metrics) = get("/metrics").await;
    assert!(metrics.contains("\nbankrefresh_wake_ups_off"), "{metrics}");
    let is_off = |metrics: &str, value: &str| {
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with("bankrefresh_wake_ups_off") && line.ends_with(value))
    };
    assert!(is_off(&metrics, " 1"), "{metrics}");
    // With room for it, the queue is there within some seconds, without another connection.
    rabbit.ctl(&["clear_vhost_limits", "-p", &vhost]).await;
    neighbours.worker.log.until("is consumed now").await;
    neighbours.are_served().await.expect("they are served");
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    assert!(is_off(&get("/metrics").await.1, " 0"));
    assert!(!neighbours.worker.log.text().contains("lost the connection"));
}

#[tokio::test]
async fn a_worker_that_finds_no_room_for_its_connections_serves_commands_once_there_is_some() {
    let vhost = Uuid::new_v4().simple().to_string();
    let mut platform = Platform::in_vhost(&vhost, swift()).await;
    let rabbit = platform.rabbit;
    // RabbitMQ counts connections a moment after they are open, so any other limit may let the worker in.
    rabbit
        .ctl(&["set_vhost_limits", "-p", &vhost, r#"{"max-connections": 0}"#])
        .await;
    let mut worker = platform.worker(&[]);
    worker.log.until("limit").await;
    rabbit.ctl(&["clear_vhost_limits", "-p", &vhost]).await;
    platform.send_all(commands(5), true).await;
    platform.outcomes(5).await;
    assert_one_good_outcome_each(&platform, 5);
}

/// Sets an operator's policy on queues of the platform.
async fn limit(platform: &Platform, queue: &str, definition: &str) {
    platform
        .rabbit
        .set_operator_policy(queue, &format!("^{queue}"), definition)
        .await;
}

#[tokio::test]
async fn what_comes_back_too_early_from_a_delay_queue_waits_on() {
    let mut platform = Platform::start(slow(Duration::from_secs(3))).await;
    limit(&platform, &platform.topology.delay(), r#"{"message-ttl": 100}"#).await;
    let _worker = platform.worker(&[PARKS]);
    platform.send_all(commands(5), true).await;
    platform.outcomes(5).await;
    assert_one_good_outcome_each(&platform, 5);
    let interval = platform
        .sandbox
        .asked()
        .smallest_interval_ms
        .expect("tasks are polled twice");
    assert!(interval >= 750, "a task was polled again after {interval} ms");
}

#[tokio::test]
async fn what_a_full_delay_queue_rejects_is_parked_later() {
    let mut platform = Platform::start(swift()).await;
    limit(&platform, &platform.topology.delay(), r#"{"max-length": 1}"#).await;
    let _worker = platform.worker(&[PARKS]);
    platform.send_all(commands(10), true).await;
    platform.outcomes(10).await;
    assert_one_good_outcome_each(&platform, 10);
}

#[tokio::test]
async fn commands_that_expire_in_their_lane_are_dead_letters_that_can_be_replayed() {
    let mut platform = Platform::start(swift()).await;
    let (lane, dead) = (platform.topology.interactive(), platform.topology.dead_letters());
    limit(&platform, &lane, r#"{"message-ttl": 1000}"#).await;
    platform.send_all(commands(5), true).await;
    platform.until_depth(&dead, |(ready, _)| ready == 5).await;
    let (_, said) = dead_letters(&platform, &["list", "--reason", "expired"]).await;
    assert_eq!(said.lines().count(), 5, "{said}");
    let _worker = platform.worker(&[]);
    let (replayed, said) = dead_letters(&platform, &["replay", "--all"]).await;
    assert!(replayed, "{said}");
    platform.outcomes(5).await;
    assert_one_good_outcome_each(&platform, 5);
}

/// A consumer's queue that rejects failures once it is full, and is.
pub async fn full_queue(platform: &Platform, channel: &Channel) {
    let name = format!("{}.full", platform.topology.events());
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = || name.as_str().into();
    channel
        .queue_declare(queue(), exclusive, arguments)
        .await
        .expect("declared");
    let (events, options) = (platform.topology.events(), QueueBindOptions::default());
    let (exchange, key) = (events.as_str().into(), "refresh.failed".into());
    let bound = channel.queue_bind(queue(), exchange, key, options, FieldTable::default());
    bound.await.expect("bound");
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let filled = channel.basic_publish("".into(), queue(), options, b"full", properties);
    filled.await.expect("published");
}

#[tokio::test]
async fn a_queue_that_rejects_events_delays_only_the_refreshes_whose_events_it_rejects() {
    let mut neighbours = Neighbours::start(&[("WORKER__IN_FLIGHT", "10")]).await;
    let connection = neighbours.platform.rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    full_queue(&neighbours.platform, &channel).await;
    let failing: Vec<_> = (1_000_000..1_000_020).map(command).collect();
    let fails = Script::of(Behaviour::Fails {
        after: After::millis(100),
        error_code: "BANK_SERVER_REJECTION".to_owned(),
        error_message: "no".to_owned(),
    });
    for command in &failing {
        let sandbox = &neighbours.platform.sandbox;
        sandbox.script(&command.user_id, command.bank_connection_id, fails.clone());
    }
    neighbours.platform.send_all(failing, false).await;
    neighbours.worker.log.until("the broker refuses an event").await;
    assert_eq!(neighbours.lanes_without_outcomes().await, [""; 0]);
    // The queue that takes them all has each failure at most three times in the first minute: at first, a moment later, and after 15 s.
    for (command, events) in &neighbours.platform.events {
        assert!(events.len() <= 3, "{command} has its event {} times", events.len());
    }
}

/// No more than this in a message.
const SMALL: &str = "max_message_size = 30000\n";

#[tokio::test]
async fn an_event_larger_than_the_broker_takes_ends_as_a_failure_and_a_dead_letter() {
    let rabbit = Box::leak(Box::new(RabbitMq::with_config(SMALL).await));
    let mut platform = Platform::on(rabbit, swift()).await;
    let _worker = platform.worker(&[]);
    let mut script = Script::of(silent());
    script.transactions.per_update = 300;
    let large = command(1);
    platform
        .sandbox
        .script(&large.user_id, large.bank_connection_id, script);
    let id = large.command_id.clone();
    platform.send(large).await;
    let events = platform.outcome(&id).await;
    let EventKind::RefreshFailed(failure) = events.last().expect("an outcome").kind() else {
        panic!("{events:?}");
    };
    assert_eq!(failure.reason(), FailureReason::Internal);
    let dead = platform.topology.dead_letters();
    platform.until_depth(&dead, |(ready, _)| ready == 1).await;
    let (_, said) = dead_letters(&platform, &["list"]).await;
    assert!(said.contains("larger than the broker takes"), "{said}");
    // Others are served.
    platform.send_all((2..5).map(command).collect(), true).await;
    platform.outcomes(4).await;
    assert_eq!(platform.sandbox.asked().connections[&1].tasks_made, 1);
}

#[tokio::test]
async fn consumers_that_go_while_events_come_repeat_none() {
    let mut platform = Platform::start(swift()).await;
    let _worker = platform.worker(&[]);
    for round in 0..3 {
        let mut watch = platform.program(&["watch"], &[]).spawn().expect("it starts");
        let mut watched = Log::of(&mut watch);
        watched.until("watching").await;
        let first = round * 10 + 1;
        platform
            .send_all((first..first + 10).map(command).collect(), true)
            .await;
        platform.next_event().await;
        watch.kill().await.expect("killed");
    }
    platform.outcomes(30).await;
    assert_one_good_outcome_each(&platform, 30);
    for (command, events) in &platform.events {
        assert_eq!(events.len(), 1, "{command} has its event {} times", events.len());
    }
}
