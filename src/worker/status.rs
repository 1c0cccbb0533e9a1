//! What a worker says of itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Worker;
use super::orders::{Counts, Pauses};
use crate::finapi::Outage;
use crate::finapi::body_budget::Bodies;
use crate::finapi::concurrency::Calls;
use crate::telemetry::metrics::Gauges;

/// A loop that takes longer to answer is stuck.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the gauges show what a worker has in flight.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(5);

/// What a worker holds, without anything personal.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Status {
    /// It is stopping.
    pub draining: bool,
    /// finAPI counts as down.
    pub finapi_down: bool,
    /// Why it is not known which version of finAPI the client is bound to, so that no command is taken; none where it is known.
    pub finapi_unproven: Option<String>,
    /// The broker has no ephemeral queue for this worker, so it sees no callbacks and finds out by its own polls.
    pub wake_ups_off: bool,
    /// It could not read all orders, so it may not know what is paused.
    pub orders_unknown: bool,
    /// What is paused, as far as it knows.
    pub paused: Pauses,
    /// A queue has messages and delivers none, although there is room for them.
    pub stuck: bool,
    /// Refreshes that run: each holds a permit for finAPI.
    pub running: usize,
    /// Refreshes that are due and wait for a permit.
    pub runnable: usize,
    /// Refreshes that wait for their user's token.
    pub awaiting_token: usize,
    /// Deliveries that wait for the confirm of what follows from them.
    pub publishing: usize,
    /// Background commands that wait for room.
    pub backlog: usize,
    /// How long ago the oldest of them was requested, in seconds.
    pub backlog_oldest_seconds: i64,
    /// How long ago the command was requested that was taken last from each lane, in seconds, when it was taken.
    pub taken_after_seconds: Taken,
    /// The calls of finAPI.
    pub finapi_calls: Calls,
    /// The bytes that its responses have in memory.
    pub finapi_bodies: Bodies,
    /// How often, since the worker started, the broker refused an event and its refresh was parked.
    pub refusals: u64,
    /// Refreshes held, by phase.
    pub held: BTreeMap<Cow<'static, str>, Held>,
}

/// How long commands waited in their lanes, in seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Taken {
    /// In the interactive lane.
    pub interactive: i64,
    /// In the background lane.
    pub background: i64,
}

/// Refreshes held in one phase.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// How long the oldest has been in the phase, in seconds.
    pub oldest_seconds: i64,
}

/// Asks a worker for its status. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) mpsc::Sender<oneshot::Sender<Status>>);

impl Handle {
    /// The worker's status; none when its loop does not answer within 5 s.
    pub async fn status(&self) -> Option<Status> {
        let (reply, response) = oneshot::channel();
        let ask = async {
            self.0.send(reply).await.ok()?;
            response.await.ok()
        };
        timeout(RESPONSE_TIMEOUT, ask).await.ok().flatten()
    }
}

impl Status {
    /// Shows it in the metrics.
    pub(crate) fn record(&self, gauges: &Gauges) {
        gauges.in_flight([
            ("held", self.held.values().map(|held| held.count).sum()),
            ("running", self.running),
            ("runnable", self.runnable),
            ("awaiting_token", self.awaiting_token),
            ("publishing", self.publishing),
            ("backlog", self.backlog),
        ]);
        gauges.backlog_age(self.backlog_oldest_seconds);
        let Calls {
            running,
            waiting,
            limit,
        } = self.finapi_calls;
        gauges.finapi_calls([("running", running), ("waiting", waiting)], limit);
        gauges.finapi_down(self.finapi_down);
        gauges.draining(self.draining);
        gauges.wake_ups_off(self.wake_ups_off);
        gauges.orders_unknown(self.orders_unknown);
        let Counts {
            everything,
            lane,
            bank,
            user,
        } = self.paused.counts;
        gauges.paused([
            ("everything", everything),
            ("lane", lane),
            ("bank", bank),
            ("user", user),
        ]);
    }
}

impl Worker {
    pub(super) fn status(&self) -> Status {
        let scheduler = &self.scheduler;
        let time = self.context.clock.now();
        let mut status = Status {
            draining: scheduler.is_draining(),
            finapi_down: *self.outage.borrow() != Outage::None,
            finapi_unproven: self.context.finapi.unproven(),
            wake_ups_off: !self.context.broker.consumes(&self.context.topology.wake()),
            // While it reads them at first, it runs nothing.
            orders_unknown: self.reading.has_begun() && !self.reading.is_up_to_date(),
            paused: self.pauses(),
            stuck: self.watchdog.is_stuck(),
            running: scheduler.running(),
            runnable: scheduler.runnable(),
            awaiting_token: scheduler.awaiting_token(),
            publishing: scheduler.publishing(),
            backlog: scheduler.backlog().len(),
            backlog_oldest_seconds: scheduler
                .backlog()
                .next()
                .map_or(0, |refresh| time.duration_since(refresh.requested_at).as_secs()),
            taken_after_seconds: self.taken,
            finapi_calls: self.context.finapi.calls(),
            finapi_bodies: self.context.finapi.bodies(),
            refusals: self.context.refusals.load(Ordering::Relaxed),
            ..Status::default()
        };
        for refresh in scheduler.held() {
            let phase = status.held.entry(refresh.phase.name().into()).or_default();
            phase.count += 1;
            let age = time.duration_since(refresh.phase_since).as_secs();
            phase.oldest_seconds = phase.oldest_seconds.max(age);
        }
        status
    }
}

/// Shows what a worker has in flight, until it ends.
pub async fn observe(worker: Handle) {
    let gauges = Gauges::default();
    loop {
        tokio::time::sleep(OBSERVE_INTERVAL).await;
        if let Some(status) = worker.status().await {
            status.record(&gauges);
        }
    }
}
