//! What the scheduler moves around: a refresh, and the right to acknowledge the delivery that brought it.

use std::time::Duration;

use jiff::Timestamp;

use crate::broker::Tag;
use crate::broker::topology::DELIVERY_LIMIT;
use crate::refresh::Refresh;
use crate::refresh::failure::Failure;

/// A message that came back this often goes to the quarantine, so that the others survive if it kills workers.
pub(in crate::worker) const QUARANTINE_REDELIVERIES: u32 = 3;

/// A message that came back this often does not run while others go to the quarantine.
const CAREFUL_REDELIVERIES: u32 = QUARANTINE_REDELIVERIES - 1;

/// A message that came back this often from the quarantine is a dead letter. It is tried alone there, but workers die for other
/// reasons too: chaos, which kills two workers a second, made a healthy message a dead letter at six.
pub(in crate::worker) const QUARANTINE_TRIES: u32 = DELIVERY_LIMIT;

/// The current time, as an argument.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Now {
    /// Since the worker started; never goes back.
    pub(in crate::worker) since_start: Duration,
    /// The time of day.
    pub(in crate::worker) time: Timestamp,
}

impl Now {
    /// When a time of day will have come, as time since the worker started. Now, if it has passed.
    pub(super) fn until(self, time: Timestamp) -> Duration {
        let wait = time.duration_since(self.time);
        self.since_start.saturating_add(wait.try_into().unwrap_or_default())
    }
}

/// Where a delivery came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Origin {
    /// The lane of commands that somebody waits for.
    Interactive,
    /// The lane of commands that nobody waits for.
    Background,
    /// The steps queue.
    Steps,
    /// The quarantine, where messages are tried that came back often.
    Quarantine,
}

/// The right to acknowledge one delivery, once: it can't be cloned, and acknowledging consumes it.
#[derive(Debug)]
#[must_use]
pub(in crate::worker) struct Receipt {
    tag: Tag,
    origin: Origin,
    redeliveries: u32,
    /// When the worker received it.
    received: Duration,
}

impl Receipt {
    pub(in crate::worker) fn new(tag: Tag, origin: Origin, redeliveries: u32, now: Now) -> Self {
        let received = now.since_start;
        Self {
            tag,
            origin,
            redeliveries,
            received,
        }
    }

    /// Names the delivery; does not acknowledge it.
    pub(in crate::worker) fn tag(&self) -> Tag {
        self.tag
    }

    pub(in crate::worker) fn origin(&self) -> Origin {
        self.origin
    }

    pub(in crate::worker) fn redeliveries(&self) -> u32 {
        self.redeliveries
    }

    /// Consumes the right. What is returned goes to the broker.
    pub(in crate::worker) fn into_tag(self) -> Tag {
        self.tag
    }

    /// Whether the message goes to the quarantine unread.
    pub(in crate::worker) fn came_back_too_often(&self) -> bool {
        !self.is_quarantined() && self.redeliveries >= QUARANTINE_REDELIVERIES
    }

    /// Whether it came back from the quarantine so often that it must be what kills its workers.
    pub(in crate::worker) fn kills_workers(&self) -> bool {
        self.is_quarantined() && self.redeliveries >= QUARANTINE_TRIES
    }

    pub(super) fn is_quarantined(&self) -> bool {
        self.origin == Origin::Quarantine
    }

    /// Whether it waits while others go to the quarantine.
    pub(super) fn is_careful(&self) -> bool {
        !self.is_quarantined() && self.redeliveries >= CAREFUL_REDELIVERIES
    }

    /// How long the broker has been waiting for the acknowledgement.
    pub(super) fn age(&self, now: Now) -> Duration {
        now.since_start.saturating_sub(self.received)
    }
}

/// A refresh and the delivery that brought it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) refresh: Box<Refresh>,
    pub(super) receipt: Receipt,
    /// It has run here.
    pub(super) is_tried: bool,
    /// How often the user's token was fetched for this query.
    pub(super) renewals: u8,
    /// What the query failed with before it was sent: the user's token could not be fetched.
    pub(super) failure: Option<Failure>,
    /// It waits for a host that is down.
    pub(super) is_blocked: bool,
    /// It is paused.
    pub(super) is_paused: bool,
    /// It is to end, for which it needs no room and no share.
    pub(super) is_cancelled: bool,
}

impl Job {
    pub(super) fn new(refresh: Box<Refresh>, receipt: Receipt) -> Self {
        Self {
            refresh,
            receipt,
            is_tried: false,
            renewals: 0,
            failure: None,
            is_blocked: false,
            is_paused: false,
            is_cancelled: false,
        }
    }

    /// What is published before it ran keeps its count, because it may be what kills workers.
    pub(super) fn redeliveries_to_keep(&self) -> u32 {
        match (self.is_tried, self.receipt.is_quarantined()) {
            // It has not been tried, so it is no safer than before.
            (false, true) if self.is_paused => QUARANTINE_REDELIVERIES,
            (true, _) | (_, true) => 0,
            (false, false) => self.receipt.redeliveries(),
        }
    }

    /// After a run, or after what it led to was published.
    pub(super) fn tried(refresh: Box<Refresh>, receipt: Receipt) -> Self {
        let is_tried = true;
        Self {
            is_tried,
            ..Self::new(refresh, receipt)
        }
    }
}
