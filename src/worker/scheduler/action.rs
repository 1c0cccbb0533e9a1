//! What the scheduler has the loop do, and what the loop reports.

use super::job::Receipt;
use crate::broker::Tag;
use crate::id::UserId;
use crate::refresh::Refresh;
use crate::refresh::failure::Failure;
use crate::worker::publication::Publication;

/// Names a run, or a publication, from its start to its end.
pub(in crate::worker) type RunId = u64;

/// What the loop is to do.
#[derive(Debug)]
pub(in crate::worker) enum Action {
    /// Publish what takes the place of a delivery, or what a run led to, over the connection of that delivery.
    Publish(RunId, Tag, Publication),
    /// Fetch a token of this user.
    FetchToken(UserId),
    /// Acknowledge: everything that follows from the delivery is confirmed.
    Acknowledge(Receipt),
    /// Pause or resume the consumer of the quarantine.
    PauseQuarantine(bool),
    /// Report that a delivery is a duplicate.
    ReportDuplicate(Box<Refresh>),
    /// Report that a refresh is held.
    ReportHeld,
    /// Report this many deliveries of a connection that was lost.
    ReportAbandoned(usize),
}

/// A run to start.
#[derive(Debug)]
pub(in crate::worker) struct Run {
    pub(in crate::worker) id: RunId,
    pub(in crate::worker) tag: Tag,
    pub(in crate::worker) refresh: Box<Refresh>,
    /// How often the user's token was fetched for this query.
    pub(in crate::worker) renewals: u8,
    /// What the query failed with before it could be sent.
    pub(in crate::worker) failure: Option<Failure>,
}

/// How a run ended.
#[derive(Debug)]
pub(in crate::worker) enum RunEnd {
    /// The refresh waits until it is due.
    Waits(Box<Refresh>),
    /// It waits for a host that is down, until it is due at the latest.
    Blocked(Box<Refresh>),
    /// Something is to be published.
    Publishes(Publication),
    /// The user's token is missing, or finAPI refused it; and how often it was fetched for this query.
    NeedsToken(Box<Refresh>, u8),
    /// The worker stopped it: it drains, it lost the broker, or it can't prove that it has not.
    Stopped(Box<Refresh>),
}

/// How a publication ended.
#[derive(Debug)]
pub(in crate::worker) enum PublishEnd {
    /// Confirmed, and nothing follows: the delivery is to be acknowledged.
    Done,
    /// Confirmed, and the refresh continues.
    Continues(Box<Refresh>),
    /// The broker does not take it now; the refresh, to be parked.
    Refused(Box<Refresh>),
    /// It is to be published again.
    Again(Publication),
    /// The connection that brought the delivery was lost.
    Lost,
}
