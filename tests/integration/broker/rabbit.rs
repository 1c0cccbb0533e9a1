//! What only RabbitMQ does.

use std::time::Duration;

use bankrefresh::broker::rabbit::{self, Difference, Rabbit, Settings, Status};
use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{BrokerEvent, BrokerEvents, Header, Outgoing, PublishError, Subscription};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::{Instant, timeout};

use super::subject::{LIMIT, bodies, delivery, down, ended, message, outgoing, queue, settings, up};
use crate::support::rabbitmq::{self, RabbitMq};

fn connect(server: &RabbitMq, topology: &Topology, subscriptions: Vec<Subscription>) -> (Rabbit, BrokerEvents) {
    let settings = settings(server, topology);
    rabbit::connect(settings, topology.clone(), subscriptions).unwrap()
}

fn command(topology: &Topology, body: &str) -> Vec<Outgoing> {
    vec![outgoing(topology.commands(), "interactive", body)]
}

/// Waits for a status, and answers with it.
async fn status(rabbit: &Rabbit, expected: impl FnMut(&Status) -> bool) -> Status {
    let mut status = rabbit.status();
    let reached = timeout(LIMIT, status.wait_for(expected)).await;
    reached
        .expect("the status comes")
        .expect("the supervisor lives")
        .clone()
}

async fn failure(settings: Settings) -> String {
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, _events) = rabbit::connect(settings, topology, Vec::new()).unwrap();
    let failed = |status: &Status| matches!(status, Status::Connecting { failure: Some(_) });
    let failed = status(&rabbit, failed).await;
    assert!(!format!("{failed:?} {rabbit:?}").contains("s3cret"), "{failed:?}");
    let outcome = rabbit.publish(vec![outgoing(String::new(), "", "")]).await;
    assert_eq!(outcome, Err(PublishError::Down));
    // Without ever having been up.
    rabbit.close().await;
    assert_eq!(*rabbit.status().borrow(), Status::Closed);
    match failed {
        Status::Connecting { failure: Some(text) } => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failure_to_connect_says_where_and_what_to_do() {
    let server = rabbitmq::shared().await;
    let port = server.port();
    let at = |user: &str, port: u16, vhost: &str| {
        Settings::new(format!("amqp://{user}@127.0.0.1:{port}/{vhost}").parse().unwrap())
    };

    let refused = failure(at("guest:s3cret", 1, "%2f")).await;
    assert!(refused.contains("127.0.0.1:1:"), "{refused}");
    assert!(refused.contains("amqp.url"), "{refused}");

    let denied = failure(at("guest:s3cret", port, "%2f")).await;
    assert!(denied.contains(&format!("127.0.0.1:{port}")), "{denied}");
    assert!(denied.contains("user \"guest\""), "{denied}");

    let no_vhost = failure(at("guest:guest", port, "s3arch")).await;
    assert!(no_vhost.contains("virtual host \"s3arch\""), "{no_vhost}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().port();
    let silent = failure(Settings {
        connect_timeout: Duration::from_millis(200),
        ..at("guest:s3cret", silent, "%2f")
    });
    let silent = silent.await;
    assert!(silent.contains("did not answer in 200ms"), "{silent}");
}

#[tokio::test]
async fn a_queue_deleted_under_its_consumer_is_declared_again() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(server, &topology, queue(topology.interactive(), 10));
    assert_eq!(up(&mut broker_events).await, 1);

    let connection = server.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let name = topology.interactive();
    channel
        .queue_delete(name.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let (generation, reason) = down(&mut broker_events).await;
    assert_eq!(generation, 1);
    assert!(reason.contains(&name), "{reason}");
    assert_eq!(up(&mut broker_events).await, 2);
    rabbit.publish(command(&topology, "body")).await.unwrap();
    assert_eq!(bodies(&mut broker_events, 1).await, ["body"]);
}

#[tokio::test]
async fn a_missing_exchange_fails_its_own_message_and_is_declared_again() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(server, &topology, Vec::new());
    assert_eq!(up(&mut broker_events).await, 1);

    let connection = server.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let name = topology.delay();
    channel
        .exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    let parked = || outgoing(topology.delay(), "1s", "body");
    let batch = [command(&topology, "first"), vec![parked()]].concat();
    let unroutable = rabbit.publish(batch).await;
    let (exchange, routing_key) = (name, "1s".to_owned());
    assert_eq!(unroutable, Err(PublishError::Unroutable { exchange, routing_key }));

    let (_, reason) = down(&mut broker_events).await;
    assert!(reason.contains("no exchange"), "{reason}");
    assert_eq!(up(&mut broker_events).await, 2);
    rabbit.publish(vec![parked()]).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(server, &topology, Vec::new());
    up(&mut broker_events).await;
    let name = topology.interactive();
    server
        .set_policy(&name, &format!("^{name}$"), r#"{"max-length": 1}"#)
        .await;
    // The policy takes effect a moment later, and a quorum queue takes a little more than its limit.
    let refused = async {
        loop {
            if let Err(error) = rabbit.publish(command(&topology, "body")).await {
                return error;
            }
        }
    };
    let refused = timeout(LIMIT, refused).await.expect("it is full one day");
    assert_eq!(refused, PublishError::Refused);
    // Which is no reason to connect again.
    assert!(broker_events.is_empty());
}

#[tokio::test]
async fn what_does_not_fit_a_frame_of_ours_is_delivered_all_the_same() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(server, &topology, queue(topology.interactive(), 10));
    assert_eq!(up(&mut broker_events).await, 1);

    // By whoever keeps RabbitMQ's own 128 KiB: headers are never cut into several frames.
    let channel = server.connection().await.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("x-large".into(), AMQPValue::LongString("h".repeat(100_000).into()));
    let properties = BasicProperties::default().with_headers(headers);
    let (exchange, key) = (topology.commands().into(), "interactive".into());
    let body = vec![b'b'; 300_000];
    let sent = channel.basic_publish(exchange, key, BasicPublishOptions::default(), &body, properties);
    sent.await.unwrap();
    let large = delivery(&mut broker_events).await;
    let header = large
        .message
        .properties
        .headers
        .get("x-large")
        .and_then(Header::as_text);
    assert_eq!(header.map(str::len), Some(100_000));
    assert_eq!(large.message.body.len(), 300_000);

    rabbit
        .publish(command(&topology, &"b".repeat(1_000_000)))
        .await
        .unwrap();
    assert_eq!(delivery(&mut broker_events).await.message.body.len(), 1_000_000);
}

/// RabbitMQ 3.10 closes a channel that has left anything unacknowledged for half an hour, an ephemeral one's as well.
#[tokio::test]
async fn an_ephemeral_subscription_that_is_quiet_leaves_nothing_unacknowledged() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let ephemeral = Subscription::Ephemeral {
        exchange: topology.wake(),
        keys: vec![String::new()],
        optional: false,
    };
    let (rabbit, mut broker_events) = connect(server, &topology, vec![ephemeral]);
    assert_eq!(up(&mut broker_events).await, 1);
    rabbit
        .publish(vec![outgoing(topology.wake(), "", "wake-up"); 3])
        .await
        .unwrap();
    assert_eq!(bodies(&mut broker_events, 3).await, ["wake-up"; 3]);
    let acknowledged = async {
        let columns = ["list_queues", "-q", "--no-table-headers", "name", "messages"];
        loop {
            let queues = server.ctl(&columns).await;
            let ephemeral = queues.lines().find(|line| line.starts_with(&topology.wake()));
            if ephemeral.expect("the ephemeral queue").ends_with("\t0") {
                return;
            }
        }
    };
    timeout(LIMIT, acknowledged).await.expect("nothing is left");
}

#[tokio::test]
async fn check_says_what_differs_and_changes_nothing() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let settings = settings(server, &topology);
    let (exchanges, queues) = (topology.exchanges(), topology.queues());
    let missing: Vec<_> = exchanges
        .iter()
        .map(|exchange| Difference::MissingExchange {
            name: exchange.name.clone(),
        })
        .chain(queues.iter().map(|queue| Difference::MissingQueue {
            name: queue.name.clone(),
        }))
        .collect();
    for _ in 0..2 {
        assert_eq!(rabbit::check(&settings, &topology).await.unwrap(), missing);
    }

    let connection = server.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let name = topology.steps();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let classic = channel.queue_declare(name.as_str().into(), durable, FieldTable::default());
    classic.await.unwrap();
    let error = rabbit::declare(&settings, &topology).await.unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    let differences = rabbit::check(&settings, &topology).await.unwrap();
    let different = |difference: &&Difference| {
        matches!(difference, Difference::DifferentQueue { name: found, detail }
            if *found == name && detail.contains("inequivalent arg"))
    };
    assert!(
        differences.iter().any(|difference| different(&difference)),
        "{differences:?}"
    );

    channel
        .queue_delete(name.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    // Twice is harmless.
    for _ in 0..2 {
        rabbit::declare(&settings, &topology).await.unwrap();
        assert_eq!(rabbit::check(&settings, &topology).await.unwrap(), []);
    }
}

#[tokio::test]
async fn without_declaring_what_is_missing_is_named() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let declaring = settings(server, &topology);
    let settings = Settings {
        declare: false,
        ..declaring.clone()
    };
    let (rabbit, mut broker_events) =
        rabbit::connect(settings.clone(), topology.clone(), queue(topology.steps(), 1)).unwrap();
    let failed = |status: &Status| matches!(status, Status::Connecting { failure: Some(_) });
    let failed = format!("{:?}", status(&rabbit, failed).await);
    assert!(failed.contains(&topology.delay_queue("5m")), "{failed}");
    assert!(failed.contains("topology apply"), "{failed}");
    let missing = rabbit::check(&settings, &topology).await.unwrap();
    assert_eq!(missing.len(), topology.exchanges().len() + topology.queues().len());

    rabbit::declare(&declaring, &topology).await.unwrap();
    assert_eq!(up(&mut broker_events).await, 1);
}

#[tokio::test]
async fn a_handle_that_is_dropped_closes_the_connection() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(server, &topology, queue(topology.steps(), 1));
    up(&mut broker_events).await;
    drop(rabbit);
    ended(&mut broker_events).await;
}

#[tokio::test]
async fn closing_waits_for_nobody_who_does_not_read() {
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let ephemeral = Subscription::Ephemeral {
        exchange: topology.wake(),
        keys: vec![String::new()],
        optional: false,
    };
    let (rabbit, mut broker_events) = connect(server, &topology, vec![ephemeral]);
    up(&mut broker_events).await;
    // More than there is room for among the broker events.
    let wake_ups = (0..1000).map(|_| outgoing(topology.wake(), "", "wake-up"));
    rabbit.publish(wake_ups.collect()).await.unwrap();
    timeout(LIMIT, rabbit.close()).await.expect("it closes");
}

/// Both ends of a publisher's worst day, on a broker of its own.
#[tokio::test]
async fn nothing_confirmed_is_lost_when_the_broker_crashes() {
    let server = RabbitMq::start().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(&server, &topology, queue(topology.interactive(), 10));
    assert_eq!(up(&mut broker_events).await, 1);
    let batch: Vec<_> = (0..100).flat_map(|n| command(&topology, &n.to_string())).collect();
    rabbit.publish(batch).await.unwrap();
    for n in 0..5 {
        let delivery = delivery(&mut broker_events).await;
        assert_eq!(delivery.message, message(&n.to_string()));
    }

    server.crash().await;
    let down = async { while !matches!(broker_events.recv().await, Some(BrokerEvent::Disconnected { .. })) {} };
    timeout(LIMIT, down).await.expect("the crash is seen");
    assert_eq!(rabbit.publish(command(&topology, "x")).await, Err(PublishError::Down));

    server.restart().await;
    assert_eq!(up(&mut broker_events).await, 2);
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 100 {
        let delivery = delivery(&mut broker_events).await;
        seen.insert(delivery.message.body);
        rabbit.ack(delivery.tag);
    }
    rabbit.close().await;
    assert_eq!(server.depth(&topology.interactive()).await.0, 0);
}

#[tokio::test]
async fn a_broker_that_blocks_publishers_is_waited_for() {
    let server = RabbitMq::start().await;
    server
        .ctl(&["eval", "application:set_env(rabbit, channel_max, 128)."])
        .await;
    let topology = Topology::new(&rabbitmq::prefix());
    let settings = Settings {
        confirm_timeout: Duration::from_millis(500),
        ..settings(&server, &topology)
    };
    let subscriptions = queue(topology.interactive(), 10);
    let (rabbit, mut broker_events) = rabbit::connect(settings, topology.clone(), subscriptions).unwrap();
    assert_eq!(up(&mut broker_events).await, 1);
    rabbit.publish(command(&topology, "1")).await.unwrap();
    let first = delivery(&mut broker_events).await;

    server.memory_alarm(true).await;
    assert_eq!(
        rabbit.publish(command(&topology, "2")).await,
        Err(PublishError::TimedOut)
    );
    let blocked = |status: &Status| matches!(status, Status::Up { blocked: Some(_), .. });
    status(&rabbit, blocked).await;
    // However often is tried, that uses up no channel.
    for _ in 0..3 {
        let tries = (0..64).map(|_| rabbit.publish(command(&topology, "never written")));
        let tried = join_all(tries).await;
        assert!(tried.iter().all(|tried| *tried == Err(PublishError::TimedOut)));
    }
    // Acknowledgements go through all the same, and nothing new is taken.
    rabbit.ack(first.tag);
    let unattended = async { while server.depth(&topology.interactive()).await.1 > 0 {} };
    timeout(LIMIT, unattended).await.expect("it stops to consume");

    server.memory_alarm(false).await;
    let unblocked = |status: &Status| matches!(status, Status::Up { blocked: None, .. });
    status(&rabbit, unblocked).await;
    // On the connection of before; the message that found no confirm was written in the end.
    assert_eq!(bodies(&mut broker_events, 1).await, ["2"]);
    rabbit.publish(command(&topology, "3")).await.unwrap();
    assert_eq!(bodies(&mut broker_events, 1).await, ["3"]);
}

#[tokio::test]
async fn a_broker_for_tests_leaves_nothing_behind() {
    let server = RabbitMq::start().await;
    let port = server.port();
    let connect = || tokio::net::TcpStream::connect(("127.0.0.1", port));
    connect().await.unwrap();
    drop(server);
    // What was killed may take a moment to be gone.
    let gone = async { while connect().await.is_ok() {} };
    timeout(LIMIT, gone).await.expect("nobody listens any more");
}

/// `cargo test --release --test integration rates -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and proves nothing"]
async fn rates() {
    const CALLS: usize = 20_000;
    let server = rabbitmq::shared().await;
    let topology = Topology::new(&rabbitmq::prefix());
    let (rabbit, mut broker_events) = connect(server, &topology, queue(topology.interactive(), 500));
    up(&mut broker_events).await;
    rabbit.pause(&topology.interactive(), true);
    for at_once in [1, 16, 64, 128] {
        let calls = if at_once == 1 { CALLS / 20 } else { CALLS };
        let since = Instant::now();
        let publishes = (0..calls).map(|_| rabbit.publish(command(&topology, "body")));
        let outcomes = stream::iter(publishes).buffer_unordered(at_once);
        outcomes.for_each(|outcome| async move { outcome.unwrap() }).await;
        report(&format!("confirmed, {at_once} calls at once"), calls, since);
    }
    let since = Instant::now();
    for _ in 0..CALLS / 100 {
        let batch = (0..100).flat_map(|_| command(&topology, "body"));
        rabbit.publish(batch.collect()).await.unwrap();
    }
    report("confirmed, 100 messages a call", CALLS, since);

    let since = Instant::now();
    rabbit.pause(&topology.interactive(), false);
    for _ in 0..2 * CALLS {
        rabbit.ack(delivery(&mut broker_events).await.tag);
    }
    report("consumed and acknowledged", 2 * CALLS, since);
}

fn report(what: &str, count: usize, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    let rate = u32::try_from(count).map_or(0.0, f64::from) / seconds;
    println!("{what}: {rate:.0} messages/s");
}
