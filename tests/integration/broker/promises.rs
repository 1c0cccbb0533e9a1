//! What both brokers promise, each promise tried on each of them.

use std::collections::VecDeque;
use std::time::Duration;

use bankrefresh::broker::topology::DELIVERY_LIMIT;
use bankrefresh::broker::{BrokerEvent, Header, Properties, PublishError, Subscription, Tag};
use tokio::time::Instant;

use super::subject::{Subject, bodies, delivery, down, ended, next, outgoing, queue, up};

macro_rules! promises {
    ($($name:ident,)+) => {
        /// In virtual time.
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Subject::memory()).await;
            })+
        }

        mod rabbitmq {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Subject::rabbit().await).await;
            })+
        }
    };
}

promises! {
    a_confirmed_message_is_delivered_as_it_was_published,
    a_message_without_a_queue_is_an_error,
    headers_of_the_broker_are_not_published,
    what_cant_be_written_is_an_error,
    no_more_is_handed_out_than_the_prefetch,
    acknowledgements_in_any_order_are_all_sent,
    closing_requeues_what_was_not_acknowledged,
    a_lost_connection_comes_back_as_the_next_generation,
    what_follows_from_a_delivery_goes_over_its_connection_or_not_at_all,
    what_comes_back_keeps_its_order,
    a_message_that_comes_back_too_often_is_dead_lettered,
    a_delayed_message_arrives_in_time_and_can_be_delayed_again,
    events_that_nobody_binds_are_kept,
    an_ephemeral_subscription_sees_what_is_published_and_leaves_nothing_behind,
    an_ephemeral_subscription_comes_back_with_its_connection,
    a_paused_queue_hands_out_nothing_until_it_is_resumed,
    a_pause_leaves_the_prefetch_as_it_was,
    what_is_acknowledged_after_a_pause_makes_room_before_all_of_it_is,
    a_prefetch_is_changed_while_messages_are_out,
    a_pause_outlives_the_connection,
    a_refused_message_is_an_error_and_its_neighbours_are_taken,
    a_confirm_that_comes_too_late_is_an_error_and_the_message_is_taken,
}

async fn a_confirmed_message_is_delivered_as_it_was_published(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 10)).await;
    let mut sent = outgoing(topology.commands(), "interactive", "body");
    sent.message.properties = all_properties();
    broker.publish(vec![sent.clone()]).await.unwrap();

    let delivery = delivery(&mut broker_events).await;
    assert_eq!(delivery.message, sent.message);
    assert_eq!(delivery.queue, topology.interactive());
    assert_eq!(delivery.redeliveries, 0);
    let (generation, subscription, number) = (1, 0, 1);
    assert_eq!(
        delivery.tag,
        Tag {
            generation,
            subscription,
            number
        }
    );

    broker.ack(delivery.tag);
    // Once is enough; a second time must not end the connection.
    broker.ack(delivery.tag);
    broker.close().await;
    ended(&mut broker_events).await;
    assert_eq!(broker.publish(vec![sent]).await, Err(PublishError::Down));
    subject.ready(&topology.interactive(), 0).await;
}

fn all_properties() -> Properties {
    Properties {
        content_type: Some("application/protobuf".into()),
        kind: Some("bankrefresh.v1.RefreshConnection".into()),
        message_id: Some("message".into()),
        correlation_id: Some("correlation".into()),
        timestamp: Some(1_700_000_000),
        app_id: Some("app".into()),
        headers: [
            ("text".to_owned(), Header::from("täxt")),
            ("integer".to_owned(), Header::Integer(i64::MIN)),
            ("boolean".to_owned(), Header::Boolean(false)),
        ]
        .into(),
    }
}

async fn a_message_without_a_queue_is_an_error(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.background(), 200)).await;
    let mut batch: Vec<_> = (0..100)
        .map(|n| outgoing(topology.commands(), "background", &n.to_string()))
        .collect();
    batch.insert(50, outgoing(topology.commands(), "nowhere", "lost"));
    let expected = Err(PublishError::Unroutable {
        exchange: topology.commands(),
        routing_key: "nowhere".to_owned(),
    });
    assert_eq!(broker.publish(batch).await, expected);

    // Its neighbours were taken all the same, and in order.
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(bodies(&mut broker_events, 100).await, expected);
}

async fn a_refused_message_is_an_error_and_its_neighbours_are_taken(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.steps(), 10)).await;
    subject.refuse(&broker).await;
    let batch = [
        outgoing(topology.steps(), &topology.steps(), "1"),
        outgoing(topology.commands(), "background", "refused"),
        outgoing(topology.steps(), &topology.steps(), "2"),
    ];
    assert_eq!(broker.publish(batch.into()).await, Err(PublishError::Refused));
    assert_eq!(bodies(&mut broker_events, 2).await, ["1", "2"]);
    // The connection stays.
    broker
        .publish(vec![outgoing(topology.steps(), &topology.steps(), "3")])
        .await
        .unwrap();
    assert_eq!(delivery(&mut broker_events).await.tag.generation, 1);
}

async fn a_confirm_that_comes_too_late_is_an_error_and_the_message_is_taken(subject: Subject) {
    let subject = subject.on_its_own().await;
    let topology = &subject.topology;
    let (broker, _events) = subject.connect(Vec::new()).await;
    subject.block().await;
    let sent = vec![outgoing(topology.steps(), &topology.steps(), "late")];
    assert_eq!(broker.publish(sent).await, Err(PublishError::TimedOut));
    subject.ready(&topology.steps(), 0).await;
    subject.unblock().await;
    subject.ready(&topology.steps(), 1).await;
    // Over the same connection.
    broker.close().await;
    subject.ready(&topology.steps(), 1).await;
}

async fn headers_of_the_broker_are_not_published(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 10)).await;
    let mut sent = outgoing(topology.commands(), "interactive", "body");
    for name in ["x-delivery-count", "x-first-death-queue", "CC", "mine"] {
        let headers = &mut sent.message.properties.headers;
        headers.insert(name.to_owned(), Header::Integer(5));
    }
    broker.publish(vec![sent]).await.unwrap();
    let delivery = delivery(&mut broker_events).await;
    let names: Vec<_> = delivery.message.properties.headers.keys().collect();
    assert_eq!(names, ["mine"]);
    assert_eq!(delivery.redeliveries, 0);
}

async fn what_cant_be_written_is_an_error(subject: Subject) {
    let topology = &subject.topology;
    let (broker, _events) = subject.connect(Vec::new()).await;
    let sent = outgoing(topology.commands(), &"k".repeat(256), "body");
    let what = "routing key";
    let outcome = broker.publish(vec![sent]).await;
    assert_eq!(outcome, Err(PublishError::TooLong { what }));
    broker.publish(Vec::new()).await.unwrap();
}

async fn no_more_is_handed_out_than_the_prefetch(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 2)).await;
    let batch = ["1", "2", "3", "4", "5"];
    let batch = batch.map(|body| outgoing(topology.commands(), "interactive", body));
    broker.publish(batch.into()).await.unwrap();

    let first = delivery(&mut broker_events).await;
    assert_eq!(bodies(&mut broker_events, 1).await, ["2"]);
    subject.ready(&topology.interactive(), 3).await;
    assert!(broker_events.is_empty());

    broker.ack(first.tag);
    assert_eq!(bodies(&mut broker_events, 1).await, ["3"]);
    subject.ready(&topology.interactive(), 2).await;
    assert!(broker_events.is_empty());
}

async fn acknowledgements_in_any_order_are_all_sent(subject: Subject) {
    const COUNT: usize = 500;
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 100)).await;
    let batch = (0..COUNT).map(|_| outgoing(topology.commands(), "interactive", "body"));
    broker.publish(batch.collect()).await.unwrap();

    let mut seen = 0;
    let mut held = Vec::new();
    while seen < COUNT {
        held.push(delivery(&mut broker_events).await.tag);
        seen += 1;
        if held.len() == 100 || seen == COUNT {
            // Sevens first, then the rest: prefixes and gaps.
            held.sort_by_key(|tag| (tag.number % 7 != 0, tag.number));
            held.drain(..).for_each(|tag| broker.ack(tag));
        }
    }
    broker.close().await;
    ended(&mut broker_events).await;
    subject.ready(&topology.interactive(), 0).await;
}

async fn closing_requeues_what_was_not_acknowledged(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.steps(), 10)).await;
    let batch = ["1", "2", "3"].map(|body| outgoing(topology.steps(), &topology.steps(), body));
    broker.publish(batch.into()).await.unwrap();
    let _first = delivery(&mut broker_events).await;
    let second = delivery(&mut broker_events).await;
    broker.ack(second.tag);
    broker.close().await;
    subject.ready(&topology.steps(), 2).await;
}

async fn a_lost_connection_comes_back_as_the_next_generation(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 10)).await;
    let sent = outgoing(topology.commands(), "interactive", "body");
    broker.publish(vec![sent.clone()]).await.unwrap();
    let old = delivery(&mut broker_events).await;

    subject.cut().await;
    assert_eq!(down(&mut broker_events).await.0, 1);
    assert_eq!(up(&mut broker_events).await, 2);
    let again = delivery(&mut broker_events).await;
    assert_eq!(again.message.body, old.message.body);
    assert_eq!(again.redeliveries, 1);
    assert_eq!(
        again.tag,
        Tag {
            generation: 2,
            ..old.tag
        }
    );

    // The same number, but of the connection that was lost.
    broker.ack(old.tag);
    broker.publish(vec![sent]).await.unwrap();
    let other = delivery(&mut broker_events).await;
    broker.ack(other.tag);
    broker.close().await;
    subject.ready(&topology.interactive(), 1).await;
}

async fn what_follows_from_a_delivery_goes_over_its_connection_or_not_at_all(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 1)).await;
    let sent = |body: &str| vec![outgoing(topology.commands(), "background", body)];
    broker
        .publish(vec![outgoing(topology.commands(), "interactive", "body")])
        .await
        .unwrap();
    let tag = delivery(&mut broker_events).await.tag;
    assert_eq!(broker.publish_for(tag, sent("over its own")).await, Ok(()));
    subject.cut().await;
    down(&mut broker_events).await;
    up(&mut broker_events).await;
    let late = broker.publish_for(tag, sent("over another")).await;
    assert_eq!(late, Err(PublishError::Down));
    broker.publish(sent("over any")).await.unwrap();
    subject.ready(&topology.background(), 2).await;
}

async fn what_comes_back_keeps_its_order(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.steps(), 4)).await;
    let batch = ["1", "2", "3", "4", "5"];
    let batch = batch.map(|body| outgoing(topology.steps(), &topology.steps(), body));
    broker.publish(batch.into()).await.unwrap();
    assert_eq!(bodies(&mut broker_events, 1).await, ["1"]);
    broker.ack(delivery(&mut broker_events).await.tag);
    assert_eq!(bodies(&mut broker_events, 3).await, ["3", "4", "5"]);
    broker.close().await;

    let (_broker, mut broker_events) = subject.connect(queue(topology.steps(), 10)).await;
    assert_eq!(bodies(&mut broker_events, 4).await, ["1", "3", "4", "5"]);
}

async fn a_message_that_comes_back_too_often_is_dead_lettered(subject: Subject) {
    let topology = &subject.topology;
    let quarantine = || queue(topology.quarantine(), 1);
    let (broker, mut broker_events) = subject.connect(quarantine()).await;
    let sent = outgoing(topology.steps(), &topology.quarantine(), "bad");
    broker.publish(vec![sent]).await.unwrap();
    assert_eq!(delivery(&mut broker_events).await.redeliveries, 0);
    broker.close().await;
    // The limit is how often it may come back.
    for redeliveries in 1..=DELIVERY_LIMIT {
        let (broker, mut broker_events) = subject.connect(quarantine()).await;
        assert_eq!(delivery(&mut broker_events).await.redeliveries, redeliveries);
        broker.close().await;
    }

    let (_broker, mut broker_events) = subject.connect(queue(topology.dead_letters(), 1)).await;
    let dead = delivery(&mut broker_events).await;
    assert_eq!(dead.message.body, "bad");
    let header = |name: &str| dead.message.properties.headers[name].as_text().unwrap();
    assert_eq!(header("x-first-death-reason"), "delivery_limit");
    assert_eq!(header("x-first-death-queue"), topology.quarantine());
    assert_eq!(header("x-first-death-exchange"), topology.steps());
}

async fn a_delayed_message_arrives_in_time_and_can_be_delayed_again(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.steps(), 10)).await;
    let mut parked = outgoing(topology.delay(), "1s", "body");
    for _ in 0..2 {
        let since = Instant::now();
        broker.publish(vec![parked.clone()]).await.unwrap();
        let delivery = delivery(&mut broker_events).await;
        let took = since.elapsed();
        assert!(took >= Duration::from_secs(1), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        // With all the headers that the first trip left in it.
        let reason = &delivery.message.properties.headers["x-first-death-reason"];
        assert_eq!(reason.as_text(), Some("expired"));
        broker.ack(delivery.tag);
        parked.message = delivery.message;
    }
}

async fn events_that_nobody_binds_are_kept(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.unrouted_events(), 10)).await;
    let event = outgoing(topology.events(), "refresh.failed", "event");
    broker.publish(vec![event]).await.unwrap();
    assert_eq!(bodies(&mut broker_events, 1).await, ["event"]);
}

async fn an_ephemeral_subscription_sees_what_is_published_and_leaves_nothing_behind(subject: Subject) {
    let topology = &subject.topology;
    let (exchange, keys) = (topology.events(), vec!["refresh.*".to_owned()]);
    let optional = false;
    let ephemeral = Subscription::Ephemeral {
        exchange,
        keys,
        optional,
    };
    let (watcher, mut broker_events) = subject.connect(vec![ephemeral]).await;
    let (broker, _) = subject.connect(Vec::new()).await;
    let event = |key| outgoing(topology.events(), key, key);
    // More than the ephemeral subscription has on its way at a time, and none of them acknowledged.
    let batch = (0..1000).map(|_| event("refresh.failed"));
    broker.publish(batch.collect()).await.unwrap();
    broker.publish(vec![event("transactions.updated")]).await.unwrap();
    assert_eq!(bodies(&mut broker_events, 1000).await, vec!["refresh.failed"; 1000]);
    subject.ready(&topology.unrouted_events(), 1).await;

    watcher.close().await;
    ended(&mut broker_events).await;
    // RabbitMQ from 4.3 on refuses what the queue would have got that has just gone; the worker publishes again after as long.
    if let Err(error) = broker.publish(vec![event("refresh.failed")]).await {
        assert!(matches!(error, PublishError::Refused), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.publish(vec![event("refresh.failed")]).await.unwrap();
    }
    subject.ready(&topology.unrouted_events(), 2).await;
}

async fn an_ephemeral_subscription_comes_back_with_its_connection(subject: Subject) {
    let topology = &subject.topology;
    let (exchange, keys) = (topology.wake(), vec![String::new()]);
    let optional = false;
    let ephemeral = Subscription::Ephemeral {
        exchange,
        keys,
        optional,
    };
    let (broker, mut broker_events) = subject.connect(vec![ephemeral]).await;
    subject.cut().await;
    down(&mut broker_events).await;
    up(&mut broker_events).await;
    let wake_up = || vec![outgoing(topology.wake(), "", "wake-up")];
    broker.publish(wake_up()).await.unwrap();
    let delivery = delivery(&mut broker_events).await;
    assert_eq!(delivery.queue, topology.wake());

    broker.close().await;
    let (broker, _) = subject.connect(Vec::new()).await;
    let unroutable = broker.publish(wake_up()).await.unwrap_err();
    assert!(matches!(unroutable, PublishError::Unroutable { .. }), "{unroutable}");
}

async fn a_paused_queue_hands_out_nothing_until_it_is_resumed(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 1)).await;
    let sent = |body| outgoing(topology.commands(), "interactive", body);
    broker.publish(vec![sent("1")]).await.unwrap();
    let first = delivery(&mut broker_events).await;
    broker.pause(&topology.interactive(), true);
    // What was handed out stays so.
    broker.ack(first.tag);
    subject.unattended(&topology.interactive()).await;
    broker.publish(vec![sent("2"), sent("3")]).await.unwrap();
    subject.ready(&topology.interactive(), 2).await;
    assert!(broker_events.is_empty());

    broker.pause(&topology.interactive(), false);
    let second = delivery(&mut broker_events).await;
    assert_eq!(second.message.body, "2");
    assert_eq!(second.redeliveries, 0);
    broker.ack(second.tag);
    assert_eq!(bodies(&mut broker_events, 1).await, ["3"]);
}

async fn a_pause_leaves_the_prefetch_as_it_was(subject: Subject) {
    let topology = &subject.topology;
    let lane = topology.interactive();
    let (broker, mut broker_events) = subject.connect(queue(lane.clone(), 3)).await;
    let batch = (1..=8).map(|number| outgoing(topology.commands(), "interactive", &number.to_string()));
    broker.publish(batch.collect()).await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(delivery(&mut broker_events).await.tag);
    }
    broker.pause(&lane, true);
    subject.cancelled(&lane).await;
    broker.ack(taken.remove(0));
    broker.pause(&lane, false);
    // Two are unacknowledged from before the pause.
    let fourth = delivery(&mut broker_events).await;
    assert_eq!(fourth.message.body, "4");
    subject.ready(&lane, 4).await;
    for tag in taken {
        broker.ack(tag);
    }
    assert_eq!(bodies(&mut broker_events, 2).await, ["5", "6"]);
    subject.ready(&lane, 2).await;
    broker.ack(fourth.tag);
    assert_eq!(bodies(&mut broker_events, 1).await, ["7"]);
    subject.ready(&lane, 1).await;
}

async fn what_is_acknowledged_after_a_pause_makes_room_before_all_of_it_is(subject: Subject) {
    let topology = &subject.topology;
    let lane = topology.interactive();
    let (broker, mut broker_events) = subject.connect(queue(lane.clone(), 16)).await;
    let batch = (1..=32).map(|number| outgoing(topology.commands(), "interactive", &number.to_string()));
    broker.publish(batch.collect()).await.unwrap();
    let mut taken = VecDeque::new();
    for _ in 0..16 {
        taken.push_back(delivery(&mut broker_events).await.tag);
    }
    broker.pause(&lane, true);
    subject.cancelled(&lane).await;
    broker.pause(&lane, false);
    // A refresh takes its time: the room that others leave meanwhile is used, though not for each of them at once.
    for _ in 0..7 {
        taken.drain(..2).for_each(|tag| broker.ack(tag));
        bodies(&mut broker_events, 2).await;
    }
    assert_eq!(taken.len(), 2);
    subject.ready(&lane, 2).await;
}

async fn a_prefetch_is_changed_while_messages_are_out(subject: Subject) {
    let topology = &subject.topology;
    let lane = topology.interactive();
    let (broker, mut broker_events) = subject.connect(queue(lane.clone(), 4)).await;
    broker.set_prefetch(&lane, 1);
    let batch = (1..=9).map(|number| outgoing(topology.commands(), "interactive", &number.to_string()));
    broker.publish(batch.collect()).await.unwrap();
    let first = delivery(&mut broker_events).await.tag;
    subject.ready(&lane, 8).await;
    broker.ack(first);
    let second = delivery(&mut broker_events).await.tag;
    subject.ready(&lane, 7).await;
    broker.set_prefetch(&lane, 4);
    let mut taken = vec![second];
    for _ in 0..3 {
        taken.push(delivery(&mut broker_events).await.tag);
    }
    subject.ready(&lane, 4).await;

    broker.set_prefetch(&lane, 1);
    // What was handed out stays so, and nothing more comes before all of it is acknowledged.
    for tag in taken {
        assert!(broker_events.is_empty());
        subject.ready(&lane, 4).await;
        broker.ack(tag);
    }
    assert_eq!(bodies(&mut broker_events, 1).await, ["6"]);
    subject.ready(&lane, 3).await;

    subject.cut().await;
    down(&mut broker_events).await;
    up(&mut broker_events).await;
    assert_eq!(bodies(&mut broker_events, 1).await, ["6"]);
    subject.ready(&lane, 3).await;
    assert!(broker_events.is_empty());
}

async fn a_pause_outlives_the_connection(subject: Subject) {
    let topology = &subject.topology;
    let (broker, mut broker_events) = subject.connect(queue(topology.interactive(), 10)).await;
    broker.pause(&topology.interactive(), true);
    subject.cut().await;
    down(&mut broker_events).await;
    up(&mut broker_events).await;
    let sent = outgoing(topology.commands(), "interactive", "body");
    broker.publish(vec![sent]).await.unwrap();
    subject.ready(&topology.interactive(), 1).await;
    subject.unattended(&topology.interactive()).await;
    assert!(broker_events.is_empty());

    broker.pause(&topology.interactive(), false);
    assert!(matches!(next(&mut broker_events).await, BrokerEvent::Delivery(_)));
}
