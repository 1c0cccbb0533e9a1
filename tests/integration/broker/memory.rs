//! What only the broker in this process does: the faults that simulations ask it for, and time to the millisecond.

use std::time::Duration;

use bankrefresh::broker::PublishError;
use bankrefresh::broker::memory::Server;
use bankrefresh::broker::topology::{DELAYS, Topology, UNROUTED_EVENTS_MAX};
use tokio::time::Instant;

use super::subject::{bodies, delivery, down, ended, message, outgoing, queue, up};

fn server() -> (Server, Topology) {
    let topology = Topology::new("test");
    (Server::new(&topology), topology)
}

#[tokio::test(start_paused = true)]
async fn every_delay_is_exact() {
    let (server, topology) = server();
    let (client, mut notices) = server.connect(queue(topology.steps(), 10));
    up(&mut notices).await;
    let since = Instant::now();
    // The longest first, so that the clock has to be told of each shorter one.
    for (name, _) in DELAYS.iter().rev() {
        let parked = outgoing(topology.delay(), name, name);
        client.publish(vec![parked]).await.unwrap();
        tokio::task::yield_now().await;
    }
    for (name, delay) in DELAYS {
        // Longer than a test waits for a notice, so not by its helper.
        let Some(bankrefresh::broker::Notice::Delivery(delivery)) = notices.recv().await else {
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
    let (first, mut first_notices) = server.connect(queue(topology.steps(), 1));
    let (_second, mut second_notices) = server.connect(queue(topology.steps(), 1));
    up(&mut first_notices).await;
    up(&mut second_notices).await;
    let sent = || vec![outgoing(topology.steps(), &topology.steps(), "body")];
    first.publish(sent()).await.unwrap();
    delivery(&mut first_notices).await;

    server.outage(true);
    down(&mut first_notices).await;
    down(&mut second_notices).await;
    assert_eq!(first.publish(sent()).await, Err(PublishError::Down));
    assert_eq!(server.depths()[&topology.steps()], (1, 0));
    let (_late, mut late_notices) = server.connect(Vec::new());
    assert!(late_notices.is_empty());

    server.outage(false);
    assert_eq!(up(&mut first_notices).await, 2);
    assert_eq!(up(&mut second_notices).await, 2);
    assert_eq!(up(&mut late_notices).await, 1);
    // Lost once, however many were down.
    assert_eq!(delivery(&mut first_notices).await.redeliveries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_confirm_leaves_the_message() {
    let (server, topology) = server();
    let (client, mut notices) = server.connect(queue(topology.steps(), 10));
    up(&mut notices).await;
    let sent = || vec![outgoing(topology.steps(), &topology.steps(), "body")];
    server.lose_next_confirm();
    assert_eq!(client.publish(sent()).await, Err(PublishError::Down));
    assert_eq!(bodies(&mut notices, 1).await, ["body"]);
    assert_eq!(down(&mut notices).await.0, 1);
    assert_eq!(up(&mut notices).await, 2);
    assert_eq!(delivery(&mut notices).await.redeliveries, 1);
    client.publish(sent()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_client_gives_its_messages_to_another() {
    let (server, topology) = server();
    let (victim, mut notices) = server.connect(queue(topology.steps(), 10));
    let batch = ["1", "2", "3"].map(|body| outgoing(topology.steps(), &topology.steps(), body));
    victim.publish(batch.into()).await.unwrap();
    up(&mut notices).await;
    let first = delivery(&mut notices).await;
    victim.ack(first.tag);
    bodies(&mut notices, 2).await;
    assert_eq!(server.depths()[&topology.steps()], (0, 2));
    assert_eq!(server.peek(&topology.steps()), [message("2"), message("3")]);

    victim.kill();
    ended(&mut notices).await;
    victim.ack(first.tag);
    let (heir, mut notices) = server.connect(queue(topology.steps(), 10));
    up(&mut notices).await;
    let inherited = delivery(&mut notices).await;
    assert_eq!(inherited.message.body, "2");
    assert_eq!(inherited.redeliveries, 1);
    // Dropped is killed.
    drop(heir);
    bodies(&mut notices, 1).await;
    ended(&mut notices).await;
    assert_eq!(server.depths()[&topology.steps()], (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_oldest() {
    let (server, topology) = server();
    let (client, _notices) = server.connect(Vec::new());
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
