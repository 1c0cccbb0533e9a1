//! Whether a worker gets on: a watchdog for the consumer that lives and brings nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::broker::{Broker, ROOM_PARTS, Subscription};

/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(15);

/// So many looks in a row that find a queue unserved mean that it is.
const STRIKES_MAX: u32 = 2;

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
