//! What only the broker in this process does: the faults that simulations ask it for, and time to the millisecond.

use std::time::Duration;

use bankrefresh::broker::memory::{CONFIRM_TIMEOUT, Latency, PublishFault, Server};
use bankrefresh::broker::topology::{DELAYS, Topology, UNROUTED_EVENTS_MAX};
use bankrefresh::broker::{Outgoing, PublishError};
use tokio::time::Instant;

use super::subject::{bodies, delivery, down, ended, message, outgoing, queue, up};

fn server() -> (Server, Topology) {
    let topology = Topology::new("test");
    (Server::new(&topology), topology)
}

#[tokio::test(start_paused = true)]
async fn every_delay_is_exact() {
    let (server, topology) = server();
    let (client, mut broker_events) = server.connect(queue(topology.steps(), 10));
    up(&mut broker_events).await;
    let since = Instant::now();
    // The longest first, so that the clock has to learn of each shorter one.
    for (name, _) in DELAYS.iter().rev() {
        let parked = outgoing(topology.delay(), name, name);
        client.publish(vec![parked]).await.unwrap();
        tokio::task::yield_now().await;
    }
    for (name, delay) in DELAYS {
        // Longer than a test waits for a broker event, so not by its helper.
        let Some(bankrefresh::broker::BrokerEvent::Delivery(delivery)) = broker_events.recv().await else {
            panic!("no delivery");
        };
        assert_eq!(delivery.message.body, name);
        let late = since.elapsed() - delay;
        assert!(late <= Duration::from_millis(1), "{name}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_takes_everyone_down_and_lets_them_come_back() {
    let (server, topology) = server();
    let (first, mut first_events) = server.connect(queue(topology.steps(), 1));
    let (_second, mut second_events) = server.connect(queue(topology.steps(), 1));
    up(&mut first_events).await;
    up(&mut second_events).await;
    let sent = || vec![outgoing(topology.steps(), &topology.steps(), "body")];
    first.publish(sent()).await.unwrap();
    delivery(&mut first_events).await;

    server.outage(true);
    down(&mut first_events).await;
    down(&mut second_events).await;
    assert_eq!(first.publish(sent()).await, Err(PublishError::Down));
    assert_eq!(server.depths()[&topology.steps()], (1, 0));
    let (_late, mut late_events) = server.connect(Vec::new());
    assert!(late_events.is_empty());

    server.outage(false);
    assert_eq!(up(&mut first_events).await, 2);
    assert_eq!(up(&mut second_events).await, 2);
    assert_eq!(up(&mut late_events).await, 1);
    // Lost once, however many were down.
    assert_eq!(delivery(&mut first_events).await.redeliveries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_confirm_leaves_the_message() {
    let (server, topology) = server();
    let (client, mut broker_events) = server.connect(queue(topology.steps(), 10));
    up(&mut broker_events).await;
    let sent = || vec![outgoing(topology.steps(), &topology.steps(), "body")];
    server.lose_next_confirm();
    assert_eq!(client.publish(sent()).await, Err(PublishError::Down));
    assert_eq!(bodies(&mut broker_events, 1).await, ["body"]);
    assert_eq!(down(&mut broker_events).await.0, 1);
    assert_eq!(up(&mut broker_events).await, 2);
    assert_eq!(delivery(&mut broker_events).await.redeliveries, 1);
    client.publish(sent()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_client_gives_its_messages_to_another() {
    let (server, topology) = server();
    let (victim, mut broker_events) = server.connect(queue(topology.steps(), 10));
    let batch = ["1", "2", "3"].map(|body| outgoing(topology.steps(), &topology.steps(), body));
    victim.publish(batch.into()).await.unwrap();
    up(&mut broker_events).await;
    let first = delivery(&mut broker_events).await;
    victim.ack(first.tag);
    bodies(&mut broker_events, 2).await;
    assert_eq!(server.depths()[&topology.steps()], (0, 2));
    assert_eq!(server.peek(&topology.steps()), [message("2"), message("3")]);

    victim.kill();
    ended(&mut broker_events).await;
    victim.ack(first.tag);
    let (heir, mut broker_events) = server.connect(queue(topology.steps(), 10));
    up(&mut broker_events).await;
    let inherited = delivery(&mut broker_events).await;
    assert_eq!(inherited.message.body, "2");
    assert_eq!(inherited.redeliveries, 1);
    // Dropped is killed.
    drop(heir);
    bodies(&mut broker_events, 1).await;
    ended(&mut broker_events).await;
    assert_eq!(server.depths()[&topology.steps()], (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_oldest() {
    let (server, topology) = server();
    let (client, _events) = server.connect(Vec::new());
    let event = |n: u32| outgoing(topology.events(), "refresh.failed", &n.to_string());
    let batch = (0..UNROUTED_EVENTS_MAX + 2).map(event);
    client.publish(batch.collect()).await.unwrap();
    let kept = server.peek(&topology.unrouted_events());
    assert_eq!(u32::try_from(kept.len()).unwrap(), UNROUTED_EVENTS_MAX);
    assert_eq!(kept[0], message("2"));
}

#[tokio::test(start_paused = true)]
async fn two_clients_share_a_queue() {
    let (server, topology) = server();
    let (client, mut first) = server.connect(queue(topology.steps(), 2));
    let (_other, mut second) = server.connect(queue(topology.steps(), 2));
    up(&mut first).await;
    up(&mut second).await;
    let batch = ["1", "2", "3", "4", "5"];
    let batch = batch.map(|body| outgoing(topology.steps(), &topology.steps(), body));
    client.publish(batch.into()).await.unwrap();
    assert_eq!(bodies(&mut first, 2).await, ["1", "3"]);
    assert_eq!(bodies(&mut second, 2).await, ["2", "4"]);
    assert_eq!(server.depths()[&topology.steps()], (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_not_confirmed_ends_its_connection_whether_or_not_it_was_taken() {
    let (server, topology) = server();
    let (client, mut broker_events) = server.connect(queue(topology.steps(), 10));
    up(&mut broker_events).await;
    let sent = |body| vec![outgoing(topology.steps(), &topology.steps(), body)];
    for (generation, taken, body) in [(1, false, "not taken"), (2, true, "taken")] {
        let since = Instant::now();
        server.fail_next_publish(PublishFault::Unconfirmed { taken });
        assert_eq!(client.publish(sent(body)).await, Err(PublishError::TimedOut));
        assert_eq!(since.elapsed(), CONFIRM_TIMEOUT);
        if taken {
            assert_eq!(bodies(&mut broker_events, 1).await, [body]);
        }
        assert_eq!(down(&mut broker_events).await.0, generation);
        assert_eq!(up(&mut broker_events).await, generation + 1);
    }
    assert_eq!(delivery(&mut broker_events).await.message.body, "taken");
    client.publish(sent("next")).await.unwrap();
    assert_eq!(bodies(&mut broker_events, 1).await, ["next"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_confirm_learns_at_once_that_the_connection_is_lost() {
    let (server, topology) = server();
    let (client, mut broker_events) = server.connect(queue(topology.steps(), 10));
    up(&mut broker_events).await;
    server.fail_next_publish(PublishFault::Unconfirmed { taken: false });
    let since = Instant::now();
    let publish = client.publish(vec![outgoing(topology.steps(), &topology.steps(), "body")]);
    let outage = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.outage(true);
    };
    let (published, ()) = tokio::join!(publish, outage);
    assert_eq!(published, Err(PublishError::Down));
    assert_eq!(since.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_taken_late_is_lost_with_its_connection() {
    let (server, topology) = server();
    let (client, mut broker_events) = server.connect(Vec::new());
    up(&mut broker_events).await;
    let by = Duration::from_secs(5);
    let sent = |body| vec![outgoing(topology.steps(), &topology.steps(), body)];
    server.fail_next_publish(PublishFault::Late { by });
    assert_eq!(client.publish(sent("late")).await, Err(PublishError::TimedOut));
    assert_eq!(server.depths()[&topology.steps()], (0, 0));
    tokio::time::sleep(2 * by).await;
    assert_eq!(server.depths()[&topology.steps()], (1, 0));
    server.fail_next_publish(PublishFault::Late { by });
    assert_eq!(client.publish(sent("lost")).await, Err(PublishError::TimedOut));
    client.reconnect("a test");
    tokio::time::sleep(2 * by).await;
    assert_eq!(server.peek(&topology.steps()), [message("late")]);
    assert_eq!(up_again(&mut broker_events).await, 2);
}

async fn up_again(broker_events: &mut bankrefresh::broker::BrokerEvents) -> u64 {
    down(broker_events).await;
    up(broker_events).await
}

#[tokio::test(start_paused = true)]
async fn how_long_a_message_takes_depends_on_no_other() {
    let longest = Duration::from_millis(500);
    let mut seen = Vec::new();
    for others in [0, 5] {
        let (server, topology) = server();
        let latency = Latency {
            publish: longest,
            confirm: longest,
            ack: longest,
        };
        server.slow_down(latency, 7);
        let (client, _events) = server.connect(Vec::new());
        let mut took = Vec::new();
        for _ in 0..5 {
            for other in 0..others {
                client
                    .publish(known(&topology, &format!("other {other}")))
                    .await
                    .unwrap();
            }
            let since = Instant::now();
            client.publish(known(&topology, "mine")).await.unwrap();
            took.push(since.elapsed());
        }
        seen.push(took);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0][0], seen[0][1]);
}

fn known(topology: &Topology, id: &str) -> Vec<Outgoing> {
    let mut known = outgoing(topology.steps(), &topology.steps(), id);
    known.message.properties.message_id = Some(id.to_owned());
    vec![known]
}
