//! Cancelled refreshes.

use super::*;
use crate::proto::{CancelRefresh, FailureReason, RefreshFailed};

impl Alone {
    async fn cancel(&self, connection: Option<i64>) {
        self.cancel_as_of(connection, self.clock.now()).await;
    }

    async fn cancel_as_of(&self, connection: Option<i64>, requested_at: Timestamp) {
        let now = self.clock.now();
        let command = connection.map(command).unwrap_or_default();
        let order = CancelRefresh {
            user_id: "user".to_owned(),
            command_id: command.command_id,
            bank_connection_id: command.bank_connection_id,
            requested_at: Some(from_timestamp(requested_at)),
            by: String::new(),
        };
        let cancel = message::cancel(&self.topology, &order, now);
        self.client.publish(vec![cancel]).await.expect("it is taken");
    }

    /// The reason of each failure, by connection.
    pub(super) fn failures(&self) -> Vec<(i64, FailureReason)> {
        let events = self.server.peek(&self.topology.unrouted_events());
        let failed = events
            .iter()
            .map(|event| RefreshFailed::decode(event.body.clone()).expect("it failed"));
        let of = |failed: &RefreshFailed| {
            failed
                .refresh
                .as_ref()
                .map(|it| it.bank_connection_id)
                .unwrap_or_default()
        };
        let mut failures: Vec<_> = failed.map(|failed| (of(&failed), failed.reason())).collect();
        failures.sort_unstable_by_key(|(connection, _)| *connection);
        failures
    }

    /// A refresh whose user has a web form, on its way to a worker.
    async fn with_form(&self, connection: i64, wait: Duration) {
        let now = self.clock.now();
        let task = TaskRef {
            id: "0190f1c0-0000-7000-8000-000000000002".into(),
            created_at: now,
        };
        let refresh = Refresh {
            phase: Phase::AwaitingUser {
                task,
                web_form_id: "form-1".into(),
                expires_at: now + Duration::from_secs(1200),
            },
            due_at: now + wait,
            ..Refresh::new(parsed(command(connection)), now, Envelope::default(), now)
        };
        let checkpoint = message::checkpoint(&self.topology, &refresh, now);
        self.client.publish(vec![checkpoint]).await.expect("it is taken");
    }
}

const CANCELLED: FailureReason = FailureReason::Cancelled;

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Says 429 for ten minutes, so that refreshes wait.
fn waits() -> (StatusCode, [(axum::http::HeaderName, &'static str); 1]) {
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "25")])
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_held_or_waits_for_room_ends_at_once_and_no_other_does() {
    let alone = Alone::new();
    alone.start_with(
        waits(),
        Settings {
            in_flight: 2,
            ..Settings::default()
        },
    );
    alone.send("interactive", 1).await;
    alone.send("interactive", 2).await;
    seconds(2).await;
    alone.send("background", 3).await;
    seconds(1).await;
    let calls = alone.calls();
    alone.cancel(Some(1)).await;
    alone.cancel(Some(3)).await;
    seconds(1).await;
    assert_eq!(alone.failures(), [(1, CANCELLED), (3, CANCELLED)]);
    assert_eq!(alone.calls(), calls, "finAPI is asked nothing for it");
    alone.cancel(Some(1)).await;
    alone.cancel(None).await;
    seconds(1).await;
    assert_eq!(
        alone.failures(),
        [(1, CANCELLED), (2, CANCELLED), (3, CANCELLED)],
        "once each"
    );
}

#[tokio::test(start_paused = true)]
async fn commands_that_arrive_later_are_cancelled_and_those_that_were_sent_later_are_not() {
    let alone = Alone::new();
    let early = |connection| {
        message::command(
            &alone.topology,
            command(connection),
            &Envelope::default(),
            alone.clock.now(),
        )
    };
    let late_to_arrive = early(1);
    seconds(5).await;
    alone.cancel(None).await;
    seconds(5).await;
    alone.start(NOT_FOUND);
    seconds(1).await;
    alone.publish("background", late_to_arrive.message.clone()).await;
    alone.send("background", 2).await;
    seconds(5).await;
    assert_eq!(alone.failures(), [(1, CANCELLED), (2, FailureReason::NotFound)]);
    // Long after its time is up, it is forgotten.
    seconds(25 * 3600).await;
    alone.publish("background", late_to_arrive.message).await;
    seconds(5).await;
    assert_eq!(alone.failures()[1], (1, FailureReason::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_parked_refresh_ends_when_it_comes_back_and_a_paused_one_too() {
    let alone = Alone::new();
    alone.with_form(1, Duration::from_secs(60)).await;
    let handle = alone.start(StatusCode::OK);
    seconds(1).await;
    alone.cancel(Some(1)).await;
    seconds(70).await;
    assert_eq!(alone.failures(), [(1, CANCELLED)]);
    assert_eq!(alone.calls(), 1, "its web form is cancelled");
    let status = handle.status().await.expect("it lives");
    assert!(status.held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_web_form_that_finapi_does_not_cancel_keeps_the_outcome_for_a_minute_at_most() {
    let alone = Alone::new();
    alone.with_form(1, Duration::ZERO).await;
    alone.start(StatusCode::SERVICE_UNAVAILABLE);
    seconds(1).await;
    alone.cancel(Some(1)).await;
    seconds(30).await;
    assert_eq!(alone.failures(), []);
    seconds(40).await;
    assert_eq!(alone.failures(), [(1, CANCELLED)]);

    let refused = Alone::new();
    refused.with_form(1, Duration::ZERO).await;
    refused.cancel(Some(1)).await;
    refused.start(NOT_FOUND);
    seconds(2).await;
    assert_eq!((refused.failures(), refused.calls()), (vec![(1, CANCELLED)], 1));
}

#[tokio::test(start_paused = true)]
async fn a_web_form_keeps_the_outcome_as_long_whatever_the_date_of_the_cancellation_says() {
    let ahead = Alone::new();
    ahead.with_form(1, Duration::ZERO).await;
    ahead.start(StatusCode::SERVICE_UNAVAILABLE);
    seconds(1).await;
    let requested_at = ahead.clock.now() + Duration::from_secs(47 * 3600);
    ahead.cancel_as_of(Some(1), requested_at).await;
    seconds(30).await;
    assert_eq!(ahead.failures(), []);
    seconds(40).await;
    assert_eq!(ahead.failures(), [(1, CANCELLED)]);

    // It was cancelled while no worker ran: the form is cancelled all the same, if finAPI does it at once.
    let long_ago = Alone::new();
    let requested_at = long_ago.clock.now();
    long_ago.with_form(1, Duration::ZERO).await;
    seconds(600).await;
    long_ago.cancel_as_of(Some(1), requested_at).await;
    long_ago.start(StatusCode::SERVICE_UNAVAILABLE);
    seconds(2).await;
    assert_eq!((long_ago.failures(), long_ago.calls()), (vec![(1, CANCELLED)], 1));
}

#[tokio::test(start_paused = true)]
async fn a_web_form_that_is_cancelled_just_before_the_refresh_is_over_keeps_it_no_longer() {
    let alone = Alone::new();
    let limit = Policy::default().limits.refresh;
    alone.with_form(1, Duration::ZERO).await;
    tokio::time::sleep(limit - Duration::from_secs(20)).await;
    alone.start(StatusCode::SERVICE_UNAVAILABLE);
    alone.cancel(Some(1)).await;
    seconds(21).await;
    assert_eq!(alone.failures(), [(1, CANCELLED)]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_message_of_the_quarantine_ends() {
    let alone = Alone::new();
    alone.quarantine().await;
    alone.cancel(None).await;
    alone.start(NOT_FOUND);
    seconds(5).await;
    assert_eq!(alone.failures(), [(1, CANCELLED)]);
    assert_eq!(alone.calls(), 0);
}
