//! Deliveries that came back from a worker that died.

use super::*;
use crate::worker::scheduler::QUARANTINE_WAIT;

/// To the broker a parked message is a new one. One that kills every worker would do so for ever if it did not keep its count.
#[tokio::test(start_paused = true)]
async fn what_came_back_and_is_parked_before_it_runs_keeps_its_count() {
    let alone = Alone::new();
    let lane = alone.topology.interactive();
    alone.send("interactive", 1).await;
    let settings = Settings {
        hold_wait_max: Duration::ZERO,
        ..Settings::default()
    };
    for _ in 0..2 {
        let (dying, broker_events) = alone.server.connect(subscriptions(&alone.topology, &settings));
        assert_eq!(alone.server.depths()[&lane], (0, 1));
        dying.kill();
        drop(broker_events);
    }
    alone.start_with(StatusCode::NOT_FOUND, settings);
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The worker that died may have polled just before.
    assert_eq!((alone.calls(), alone.parked()), (0, 1));
    let parked = alone.server.peek(&alone.topology.delay_queue("1s"));
    let delivery = Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: alone.topology.steps(),
        redeliveries: 1,
        message: parked[0].clone(),
    };
    assert_eq!(message::redeliveries(&delivery), 3);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_refresh_that_waited_for_its_turn_waits_no_longer() {
    let alone = Alone::new();
    alone.quarantine().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    alone.start(StatusCode::NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_quarantined_waits_until_what_came_back_with_it_is_passed_on() {
    let alone = Alone::new();
    let lane = alone.topology.interactive();
    alone.send("interactive", 2).await;
    for _ in 0..QUARANTINE_REDELIVERIES {
        let of_lane = Subscription::Queue {
            name: lane.clone(),
            prefetch: 1,
        };
        alone.server.connect(vec![of_lane]).0.kill();
    }
    alone.quarantine().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let slow = Duration::from_millis(1500);
    let latency = crate::broker::memory::Latency {
        publish: slow,
        confirm: slow,
        ack: slow,
    };
    alone.server.slow_down(latency, 1);
    alone.start(StatusCode::NOT_FOUND);
    tokio::time::sleep(QUARANTINE_WAIT - Duration::from_millis(50)).await;
    assert_eq!(alone.calls(), 0);
    // The other one waits behind it, and is nowhere else.
    assert_eq!(alone.server.depths()[&lane], (0, 0));
    assert_eq!(alone.server.depths()[&alone.topology.quarantine()], (1, 1));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alone.calls(), 1);
}
