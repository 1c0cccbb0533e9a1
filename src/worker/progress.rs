//! Whether a worker gets on: what it says of itself, and a watchdog for the consumer that lives and brings nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::broker::{Broker, ROOM_PARTS, Subscription};
use crate::finapi::gate::Calls;

/// A loop that takes longer to answer does not get on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(15);

/// So many looks in a row that find a queue unserved mean that it is.
const STRIKES_MAX: u32 = 2;

/// What a worker holds, without anything personal.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// It has been told to stop.
    pub draining: bool,
    /// finAPI counts as down.
    pub finapi_down: bool,
    /// A queue has messages and brings none, though there is room for them.
    pub stuck: bool,
    /// Refreshes whose step runs now.
    pub running: usize,
    /// Background commands that wait for room.
    pub waiting: usize,
    /// How long ago the oldest of them was requested, in seconds.
    pub waiting_oldest_seconds: i64,
    /// The calls of finAPI.
    pub finapi_calls: Calls,
    /// Refreshes held, by phase.
    pub held: BTreeMap<&'static str, Held>,
}

/// Refreshes held in one phase.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// How long the oldest has been in the phase, in seconds.
    pub oldest_seconds: i64,
}

/// Asks a worker how it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) mpsc::Sender<oneshot::Sender<Status>>);

impl Handle {
    /// The worker's own word; none when its loop does not answer within 5 s.
    pub async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.0.send(reply).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_TIMEOUT, ask).await.ok().flatten()
    }
}

/// What the worker's loop and the watchdog both see of each subscription.
#[derive(Debug)]
pub(super) struct Progress {
    queues: Vec<Queue>,
    stuck: AtomicBool,
}

#[derive(Debug)]
struct Queue {
    name: String,
    prefetch: i64,
    delivered: AtomicU64,
    outstanding: AtomicI64,
    paused: AtomicBool,
}

impl Progress {
    pub(super) fn new(subscriptions: &[Subscription]) -> Self {
        let queue = |subscription: &Subscription| {
            let (name, prefetch) = match subscription {
                Subscription::Queue { name, prefetch } => (name.clone(), i64::from(*prefetch)),
                // Nobody waits in a tap's queue.
                Subscription::Tap { exchange, .. } => (exchange.clone(), 0),
            };
            Queue {
                name,
                prefetch,
                delivered: AtomicU64::new(0),
                outstanding: AtomicI64::new(0),
                paused: AtomicBool::new(false),
            }
        };
        Self {
            queues: subscriptions.iter().map(queue).collect(),
            stuck: AtomicBool::new(false),
        }
    }

    pub(super) fn delivered(&self, subscription: u32) {
        if let Some(queue) = self.queues.get(subscription as usize) {
            queue.delivered.fetch_add(1, Ordering::Relaxed);
            queue.outstanding.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn settled(&self, subscription: u32) {
        if let Some(queue) = self.queues.get(subscription as usize) {
            queue.outstanding.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A new connection begins with nothing outstanding.
    pub(super) fn began_anew(&self) {
        for queue in &self.queues {
            queue.outstanding.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn paused(&self, name: &str, paused: bool) {
        for queue in self.queues.iter().filter(|queue| queue.name == name) {
            queue.paused.store(paused, Ordering::Relaxed);
        }
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Looks after the queues for ever. One that has messages and brings none though it may is a dead consumer on a
    /// living connection: everything is built anew, and until it brings something the worker does not count as alive.
    pub(super) async fn watch(self: Arc<Self>, broker: Broker) {
        let mut strikes = vec![0; self.queues.len()];
        let mut before: Vec<u64> = self.queues.iter().map(Queue::count).collect();
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            for (at, queue) in self.queues.iter().enumerate() {
                let may_bring = queue.count() == before[at] && queue.may_bring() && broker.is_ready().is_ok();
                let unserved = may_bring && broker.ready(&queue.name).await > Some(0);
                strikes[at] = if unserved { strikes[at] + 1 } else { 0 };
                before[at] = queue.count();
                if strikes[at] == STRIKES_MAX {
                    tracing::error!(queue = queue.name, "has messages and brings none; connecting anew");
                    broker.reconnect("a queue has messages and brings none");
                }
            }
            let stuck = strikes.iter().any(|strikes| *strikes >= STRIKES_MAX);
            self.stuck.store(stuck, Ordering::Relaxed);
        }
    }
}

impl Queue {
    fn count(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    fn may_bring(&self) -> bool {
        let room = self.prefetch - self.outstanding.load(Ordering::Relaxed);
        let is_enough = room > 0 && room >= self.prefetch / i64::from(ROOM_PARTS);
        is_enough && !self.paused.load(Ordering::Relaxed)
    }
}
