//! What is held for longer than RabbitMQ allows.

use bankrefresh::broker::rabbit;
use bankrefresh::broker::topology::Topology;

use super::subject::{delivery, down, ended, outgoing, queue, settings, up};
use crate::support::rabbitmq::{self, RabbitMq};

/// In milliseconds.
const TIMEOUT: &str = "consumer_timeout = 2000\n";

/// Up to 4.2 a channel looks at what it delivered, once a minute by default; from 4.3 on a queue does.
const TICKS: &str = "application:set_env(rabbit, channel_tick_interval, 1000).";

/// The broker closes the channel, or cancels the consumer from 4.3 on. For us both are the end of the connection.
#[tokio::test]
async fn what_is_not_acknowledged_in_time_comes_back_over_the_next_connection() {
    let server = RabbitMq::with_config(TIMEOUT).await;
    server.ctl(&["eval", TICKS]).await;
    let topology = Topology::new(&rabbitmq::prefix());
    let settings = settings(&server, &topology);
    let subscriptions = queue(topology.interactive(), 10);
    let (rabbit, mut broker_events) = rabbit::connect(settings, topology.clone(), subscriptions).unwrap();
    assert_eq!(up(&mut broker_events).await, 1);
    let sent = outgoing(topology.commands(), "interactive", "body");
    rabbit.publish(vec![sent]).await.unwrap();
    let held = delivery(&mut broker_events).await;
    assert_eq!(held.redeliveries, 0);
    let (generation, reason) = down(&mut broker_events).await;
    println!("the broker's reason: {reason}");
    assert_eq!(generation, 1);
    assert!(reason.contains(&topology.interactive()), "{reason}");
    assert_eq!(up(&mut broker_events).await, 2);
    let again = delivery(&mut broker_events).await;
    assert_eq!(again.message.body, held.message.body);
    assert_eq!(again.redeliveries, 1, "it counts as one that came back");
    rabbit.ack(again.tag);
    rabbit.close().await;
    ended(&mut broker_events).await;
}
