//! What the console remembers. It is bounded: in refreshes, in what is kept of each, in workers and in minutes.

mod minutes;
mod refreshes;
mod workers;

use jiff::Timestamp;

use super::event::Seen;
use crate::worker::Report;
pub(super) use minutes::{MINUTES_MAX, Minute, Minutes, Sample, percentile};
pub(super) use refreshes::{Outcome, Refresh, Refreshes, Search, Which};
pub(super) use workers::{Life, Worker, Workers};

/// All of it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) started_at: Timestamp,
    pub(super) feed: Feed,
    pub(super) refreshes: Refreshes,
    pub(super) minutes: Minutes,
    pub(super) workers: Workers,
    /// Messages that were no events and no reports of this release.
    pub(super) unreadable: u64,
}

/// Where the connection to the broker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    Up { since: Timestamp },
    Down { reason: String, since: Timestamp },
}

impl Feed {
    /// The connection is lost, or still not there.
    pub(super) fn lost(&self, reason: String, now: Timestamp) -> Self {
        let since = match self {
            Self::Up { .. } => now,
            Self::Down { since, .. } => *since,
        };
        Self::Down { reason, since }
    }
}

impl Memory {
    pub(super) fn new(refreshes_max: usize) -> Self {
        let now = Timestamp::now();
        Self {
            started_at: now,
            feed: Feed::Down {
                reason: "connecting".to_owned(),
                since: now,
            },
            refreshes: Refreshes::new(refreshes_max),
            minutes: Minutes::default(),
            workers: Workers::default(),
            unreadable: 0,
        }
    }

    /// An event came.
    pub(super) fn seen(&mut self, seen: Seen, now: Timestamp) {
        let Some(ended) = self.refreshes.seen(seen, now) else {
            self.unreadable += 1;
            return;
        };
        self.minutes.count(ended, now);
    }

    /// A worker reported.
    pub(super) fn reported(&mut self, report: Report, now: Timestamp) {
        self.workers.reported(report, now);
        self.minutes.sample(self.workers.sample(now), now);
    }
}
