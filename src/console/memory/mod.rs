//! What the console remembers. It is bounded: in refreshes, in what is kept of each, in workers and in minutes.

mod minutes;
mod orders;
mod refreshes;
mod workers;

use jiff::Timestamp;

use super::event::Seen;
use crate::refresh::order::Order;
use crate::worker::Report;
pub(super) use minutes::{MINUTES_MAX, Minute, Minutes, Sample, percentile};
pub(super) use orders::ReadOrders;
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
    pub(super) orders: ReadOrders,
    /// Messages that were no events, or no reports, of this release.
    pub(super) unreadable_events: u64,
    pub(super) unreadable_reports: u64,
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
            orders: ReadOrders::default(),
            unreadable_events: 0,
            unreadable_reports: 0,
        }
    }

    /// An event came; none where it was not readable. Answers with what it counts as.
    pub(super) fn seen(&mut self, seen: Option<Seen>, now: Timestamp) -> &'static str {
        let Some(change) = seen.and_then(|seen| self.refreshes.seen(seen, now)) else {
            self.unreadable_events += 1;
            return "unreadable_event";
        };
        self.minutes.count(change, now);
        "event"
    }

    /// A worker reported; the same.
    pub(super) fn reported(&mut self, report: Option<Report>, now: Timestamp) -> &'static str {
        let Some(report) = report else {
            self.unreadable_reports += 1;
            return "unreadable_report";
        };
        self.workers.reported(report, now);
        self.minutes.sample(self.workers.sample(now), now);
        "report"
    }
    /// An order came; the same.
    pub(super) fn ordered(&mut self, order: Option<Order>, now: Timestamp) -> &'static str {
        let Some(order) = order else { return "unreadable_order" };
        self.orders.follow(order, now);
        "order"
    }
}
