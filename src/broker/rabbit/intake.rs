//! How much a subscription takes.

use crate::broker::Subscription;

/// To AMQP, 0 means no limit, so a queue's prefetch is at least 1.
const PREFETCH_MIN: u16 = 1;

/// How many messages of an ephemeral queue are on their way at a time.
pub(super) const EPHEMERAL_PREFETCH: u16 = 256;

/// The same of a stream, which is short and read as fast as it goes.
const STREAM_PREFETCH: u16 = 1000;

/// What a subscription takes now. It holds for later generations, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Intake {
    pub(super) paused: bool,
    /// The most deliveries that may be unacknowledged.
    pub(super) prefetch: u16,
    prefetch_max: u16,
}

impl Intake {
    /// Before anybody changes it.
    pub(super) fn first(subscription: &Subscription) -> Self {
        let (paused, prefetch) = match subscription {
            Subscription::Queue { prefetch, paused, .. } => (*paused, (*prefetch).max(PREFETCH_MIN)),
            Subscription::Ephemeral { .. } => (false, EPHEMERAL_PREFETCH),
            Subscription::Stream { .. } => (false, STREAM_PREFETCH),
        };
        Self {
            paused,
            prefetch,
            prefetch_max: prefetch,
        }
    }

    pub(super) fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch = prefetch.clamp(PREFETCH_MIN, self.prefetch_max);
    }
}
