//! Pauses: what a worker does not begin.

use super::*;
use crate::proto::{PauseRefreshes, PauseTarget, ResumeRefreshes};
use crate::refresh::order::Target;

impl Alone {
    fn pause_order(&self, target: &Target, until: Option<Duration>) -> PauseRefreshes {
        let now = self.clock.now();
        PauseRefreshes {
            target: Some(PauseTarget::from(target.clone())),
            paused_at: Some(from_timestamp(now)),
            until: until.map(|until| from_timestamp(now + until)),
            by: "anna@desk".into(),
            reason: "a test".into(),
        }
    }

    async fn pause(&self, target: &Target) {
        let order = self.pause_order(target, None);
        let pause = message::pause(&self.topology, &order, self.clock.now());
        self.client.publish(vec![pause]).await.expect("it is taken");
    }

    async fn resume(&self, target: &Target) {
        let order = ResumeRefreshes {
            target: Some(target.clone().into()),
            resumed_at: Some(from_timestamp(self.clock.now())),
            by: "anna@desk".into(),
        };
        let resume = message::resume(&self.topology, &order, self.clock.now());
        self.client.publish(vec![resume]).await.expect("it is taken");
    }

    /// How many messages of a queue wait.
    fn depth(&self, queue: &str) -> (usize, usize) {
        self.server.depths()[queue]
    }
}

fn user() -> Target {
    Target::User("user".parse().expect("a user"))
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_is_not_consumed_also_by_a_worker_that_starts_later() {
    let alone = Alone::new();
    let lane = alone.topology.background();
    let background = Target::Lane { interactive: false };
    alone.pause(&background).await;
    alone.send("background", 1).await;
    alone.start(NOT_FOUND);
    seconds(60).await;
    assert_eq!((alone.depth(&lane), alone.calls()), ((1, 0), 0));
    alone.send("interactive", 2).await;
    seconds(1).await;
    assert!(alone.calls() > 0, "the other lane is");
    let calls = alone.calls();
    alone.resume(&background).await;
    seconds(1).await;
    assert_eq!(alone.depth(&lane), (0, 0));
    assert!(alone.calls() > calls);
}

#[tokio::test(start_paused = true)]
async fn a_paused_user_waits_parked_and_is_no_older_when_it_continues() {
    let alone = Alone::new();
    alone.start(NOT_FOUND);
    seconds(1).await;
    alone.pause(&user()).await;
    alone.send("interactive", 1).await;
    alone.send("background", 2).await;
    seconds(2).await;
    assert_eq!((alone.calls(), alone.parked()), (0, 2));
    // Longer than a refresh may take.
    seconds(25 * 3600).await;
    assert_eq!(alone.calls(), 0);
    let events = alone.server.peek(&alone.topology.unrouted_events());
    assert!(events.is_empty(), "time is not up");
    alone.resume(&user()).await;
    seconds(340).await;
    assert!(alone.calls() >= 2);
    let events = alone.server.peek(&alone.topology.unrouted_events());
    let failed = events
        .iter()
        .map(|event| crate::proto::RefreshFailed::decode(event.body.clone()).expect("it failed"));
    // What finAPI says, and not that its time is over.
    let reasons: Vec<_> = failed.map(|failed| failed.reason()).collect();
    assert_eq!(reasons, [crate::proto::FailureReason::NotFound; 2]);
}

/// The worker has to ask for the bank, so it is a run that finds out.
#[tokio::test(start_paused = true)]
async fn what_turns_out_to_be_paused_while_it_runs_is_parked_and_not_held() {
    let alone = Alone::new();
    let bank = Target::Bank(5.into());
    alone.pause(&bank).await;
    // A list of tasks, and a connection.
    let answer = json!({"items": [], "paging": {"page": 1, "pageCount": 1}, "id": 1, "bank": {"id": 5}});
    let handle = alone.start(axum::Json(answer));
    alone.send("interactive", 1).await;
    seconds(2).await;
    let status = handle.status().await.expect("it lives");
    assert_eq!((status.held.len(), alone.parked()), (0, 1));
    let calls = alone.calls();
    seconds(3600).await;
    assert_eq!(
        (alone.calls(), alone.parked()),
        (calls, 1),
        "it waits and costs nothing"
    );
    alone.resume(&bank).await;
    seconds(340).await;
    assert!(alone.calls() > calls);
}

#[tokio::test(start_paused = true)]
async fn a_pause_for_a_time_ends_by_itself() {
    let alone = Alone::new();
    let lane = alone.topology.interactive();
    alone.start(NOT_FOUND);
    seconds(1).await;
    let order = alone.pause_order(&Target::Everything, Some(Duration::from_secs(60)));
    let pause = message::pause(&alone.topology, &order, alone.clock.now());
    alone.client.publish(vec![pause]).await.expect("it is taken");
    // The worker has read it.
    seconds(1).await;
    alone.send("interactive", 1).await;
    seconds(58).await;
    assert_eq!((alone.depth(&lane), alone.calls()), ((1, 0), 0));
    seconds(2).await;
    assert_eq!(alone.depth(&lane), (0, 0));
    assert!(alone.calls() > 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_a_task_continues() {
    let alone = Alone::new();
    alone.pause(&Target::Everything).await;
    alone.quarantine().await;
    alone.start(NOT_FOUND);
    seconds(30).await;
    assert!(alone.calls() > 0);
}

/// It may be what kills workers, so it is read nowhere else, however long the pause.
#[tokio::test(start_paused = true)]
async fn what_is_paused_in_the_quarantine_returns_there() {
    let alone = Alone::new();
    let quarantine = alone.topology.quarantine();
    alone.pause(&user()).await;
    alone.send("interactive", 1).await;
    for _ in 0..QUARANTINE_REDELIVERIES {
        alone.server.connect(alone.consumed(&Settings::default())).0.kill();
    }
    let handle = alone.start(NOT_FOUND);
    seconds(3).await;
    let kept = |message: &Message| {
        let headers = &message.properties.headers;
        headers.get("bankrefresh_redeliveries").cloned()
    };
    let parked = alone.server.peek(&alone.topology.delay_queue("5s"));
    let count = i64::from(QUARANTINE_REDELIVERIES);
    assert_eq!(
        parked.iter().map(kept).collect::<Vec<_>>(),
        [Some(Header::Integer(count))]
    );
    seconds(3600).await;
    assert_eq!(alone.calls(), 0);
    let status = handle.status().await.expect("it lives");
    assert_eq!((status.paused.counts.user, status.held.len()), (1, 0));
    assert_eq!(alone.depth(&quarantine), (0, 0));
    alone.resume(&user()).await;
    seconds(340).await;
    assert!(alone.calls() > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_order_is_skipped_and_the_status_names_the_pauses() {
    let alone = Alone::new();
    let noise = |kind: &str, body: &'static [u8]| Outgoing {
        exchange: alone.topology.control(),
        routing_key: String::new(),
        message: Message {
            body: body.into(),
            properties: Properties {
                kind: Some(kind.to_owned()),
                ..Properties::default()
            },
        },
    };
    let noise = vec![
        noise("bankrefresh.v1.PauseRefreshes", b"\xff\xff"),
        noise("bankrefresh.v1.PauseRefreshes", &[0; 5000]),
        noise("bankrefresh.v1.PauseRefreshes", b""),
        noise("bankrefresh.v1.RefreshConnection", b""),
    ];
    alone.client.publish(noise).await.expect("they are taken");
    alone.pause(&user()).await;
    alone.pause(&Target::Bank(5.into())).await;
    let handle = alone.start(NOT_FOUND);
    seconds(1).await;
    let status = handle.status().await.expect("it lives");
    assert!(!status.orders_unknown);
    let named: Vec<_> = status
        .paused
        .first
        .iter()
        .map(|it| (it.what.as_str(), it.by.as_str()))
        .collect();
    // A user's id is personal.
    assert_eq!(named, [("bank 5", "anna@desk"), ("a user", "anna@desk")]);
}

/// An order as the stream delivers it.
fn delivered(alone: &Alone, order: Outgoing) -> Delivery {
    Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: alone.topology.control(),
        redeliveries: 0,
        flaw: None,
        message: order.message,
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_that_starts_has_read_counts_at_once_and_later_only_when_all_is_read() {
    let alone = Alone::new();
    let (mut worker, _events) = alone.worker(Router::new(), Credentials::default(), Settings::default());
    let order = alone.pause_order(&user(), None);
    let pause = delivered(&alone, message::pause(&alone.topology, &order, alone.clock.now()));
    worker.read_orders(worker.now());
    worker.on_order(&pause, worker.now());
    seconds(30).await;
    // It can't read the rest in time.
    worker.on_orders_due();
    assert!(worker.reading.has_begun() && !worker.reading.is_up_to_date());
    assert_eq!(worker.pauses().counts.user, 1);
    // It lost the broker, and the stream has nothing any more.
    worker.read_orders(worker.now());
    assert_eq!(worker.pauses().counts.user, 1, "what was known before");
    worker.on_caught_up();
    assert_eq!(worker.pauses().counts.user, 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_does_not_have_a_worker_that_stops_take_commands_again() {
    for (drains, depth) in [(false, (0, 1)), (true, (1, 0))] {
        let alone = Alone::new();
        let (mut worker, _events) = alone.worker(Router::new(), Credentials::default(), Settings::default());
        worker.is_down = false;
        if drains {
            worker.scheduler.drain(worker.now());
        }
        worker.on_caught_up();
        alone.send("interactive", 1).await;
        assert_eq!(alone.depth(&alone.topology.interactive()), depth, "drains: {drains}");
    }
}
