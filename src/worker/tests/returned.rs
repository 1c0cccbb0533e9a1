//! Deliveries that came back from a worker that died.

use super::*;
use crate::proto::FailureReason;
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
        let (dying, broker_events) = alone.server.connect(alone.consumed(&settings));
        assert_eq!(alone.server.depths()[&lane], (0, 1));
        dying.kill();
        drop(broker_events);
    }
    alone.start_with(NOT_FOUND, settings);
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
        flaw: None,
        message: parked[0].clone(),
    };
    assert_eq!(message::redeliveries(&delivery, &Topology::new("bankrefresh")), 3);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(alone.calls(), 1);
}

/// What came back with it may be among the first deliveries.
#[tokio::test(start_paused = true)]
async fn the_quarantine_is_consumed_soon_after_the_worker_connected() {
    let alone = Alone::new();
    let quarantine = alone.topology.quarantine();
    alone.quarantine().await;
    alone.start(NOT_FOUND);
    tokio::time::sleep(QUARANTINE_WAIT - Duration::from_millis(50)).await;
    assert_eq!(alone.server.depths()[&quarantine], (1, 0));
    assert_eq!(alone.calls(), 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_quarantine_is_not_consumed_while_others_go_there() {
    let alone = Alone::new();
    let (lane, quarantine) = (alone.topology.interactive(), alone.topology.quarantine());
    alone.quarantine().await;
    let slow = Duration::from_millis(1500);
    let latency = crate::broker::memory::Latency {
        publish: slow,
        confirm: slow,
        ack: slow,
    };
    alone.send("interactive", 2).await;
    for _ in 0..QUARANTINE_REDELIVERIES {
        let of_lane = Subscription::Queue {
            name: lane.clone(),
            prefetch: 1,
            paused: false,
        };
        alone.server.connect(vec![of_lane]).0.kill();
    }
    alone.server.slow_down(latency, 1);
    alone.start(NOT_FOUND);
    tokio::time::sleep(QUARANTINE_WAIT + Duration::from_millis(200)).await;
    assert_eq!(alone.server.depths()[&lane], (0, 1), "it is not acknowledged yet");
    assert_eq!((alone.server.depths()[&quarantine].1, alone.calls()), (0, 0));
    tokio::time::sleep(2 * slow + QUARANTINE_WAIT).await;
    assert_eq!(alone.server.depths()[&lane], (0, 0));
    assert!(alone.calls() > 0);
}

/// It waited for us and not for finAPI, which `TIMED_OUT` would say.
#[tokio::test(start_paused = true)]
async fn what_was_in_the_quarantine_until_its_time_was_up_ends_as_our_failure() {
    let alone = Alone::new();
    alone.quarantine().await;
    tokio::time::sleep(Policy::default().limits.refresh + Duration::from_secs(60)).await;
    alone.start(NOT_FOUND);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(alone.failures(), [(1, FailureReason::Internal)]);
    assert_eq!(alone.calls(), 0);
    assert_eq!(alone.server.depths()[&alone.topology.quarantine()], (0, 0));
}
