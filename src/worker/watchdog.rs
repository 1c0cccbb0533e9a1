//! A watchdog for the consumer that lives and delivers nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::broker::{Broker, ROOM_PARTS, Subscription};

/// How often the watchdog checks every queue.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// Consecutive checks that must find a queue unserved.
const STRIKES_MAX: u32 = 2;

/// What the worker's loop and the watchdog both see of each subscription.
#[derive(Debug)]
pub(super) struct Watchdog {
    queues: Vec<Queue>,
    stuck: AtomicBool,
}

#[derive(Debug)]
struct Queue {
    name: String,
    prefetch: AtomicI64,
    delivered: AtomicU64,
    outstanding: AtomicI64,
    paused: AtomicBool,
}

impl Watchdog {
    pub(super) fn new(subscriptions: &[Subscription]) -> Self {
        let queue = |subscription: &Subscription| {
            let (name, prefetch, paused) = match subscription {
                Subscription::Queue { name, prefetch, paused } => (name.clone(), i64::from(*prefetch), *paused),
                // Nobody waits in an ephemeral queue, or in a stream.
                Subscription::Ephemeral { .. } | Subscription::Stream { .. } => {
                    (subscription.name().to_owned(), 0, false)
                }
            };
            Queue {
                name,
                prefetch: AtomicI64::new(prefetch),
                delivered: AtomicU64::new(0),
                outstanding: AtomicI64::new(0),
                paused: AtomicBool::new(paused),
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

    pub(super) fn acknowledged(&self, subscription: u32) {
        if let Some(queue) = self.queues.get(subscription as usize) {
            queue.outstanding.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A new connection begins with nothing outstanding.
    pub(super) fn connected(&self) {
        for queue in &self.queues {
            queue.outstanding.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn paused(&self, name: &str, paused: bool) {
        for queue in self.queues.iter().filter(|queue| queue.name == name) {
            queue.paused.store(paused, Ordering::Relaxed);
        }
    }

    pub(super) fn prefetch(&self, name: &str, prefetch: u16) {
        for queue in self.queues.iter().filter(|queue| queue.name == name) {
            queue.prefetch.store(prefetch.into(), Ordering::Relaxed);
        }
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Checks the queues for ever. A queue that has messages and delivers none, although there is room, has a dead consumer on a living
    /// connection. The worker then connects again, and does not count as alive until that queue delivers.
    pub(super) async fn watch(self: Arc<Self>, broker: Broker) {
        let mut strikes = vec![0; self.queues.len()];
        let mut before: Vec<u64> = self.queues.iter().map(Queue::count).collect();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            for (at, queue) in self.queues.iter().enumerate() {
                let may_deliver = queue.count() == before[at] && queue.may_deliver() && broker.is_ready().is_ok();
                let unserved = may_deliver && broker.ready(&queue.name).await > Some(0);
                strikes[at] = if unserved { strikes[at] + 1 } else { 0 };
                before[at] = queue.count();
                if strikes[at] == STRIKES_MAX {
                    tracing::error!(
                        queue = queue.name,
                        "a queue has messages and delivers none, so the worker connects again"
                    );
                    broker.reconnect("a queue has messages and delivers none");
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

    fn may_deliver(&self) -> bool {
        let prefetch = self.prefetch.load(Ordering::Relaxed);
        let room = prefetch - self.outstanding.load(Ordering::Relaxed);
        let is_enough = room > 0 && room >= prefetch / i64::from(ROOM_PARTS);
        is_enough && !self.paused.load(Ordering::Relaxed)
    }
}
