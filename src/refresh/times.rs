//! The moments of a refresh, for whoever watches it. Nothing is decided by them.

use jiff::Timestamp;

use super::{Phase, Refresh};
use crate::proto::{RefreshTimes, from_timestamp, timestamp};

/// The moments that nothing else remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// A worker first ran it.
    pub first_run: Option<Timestamp>,
    /// There was a web form to put before the user.
    pub user_asked: Option<Timestamp>,
    /// A poll found that the user was done with it.
    pub web_form_ended: Option<Timestamp>,
    /// A poll found that finAPI had stored the data.
    pub data_stored: Option<Timestamp>,
}

impl Times {
    /// It is in this phase.
    pub(super) fn on_phase(&mut self, phase: &Phase, now: Timestamp) {
        match phase {
            Phase::NotifyingUser { .. } => {
                self.user_asked.get_or_insert(now);
            }
            Phase::Collecting { .. } => {
                self.data_stored.get_or_insert(now);
            }
            Phase::Locating { .. }
            | Phase::Updating { .. }
            | Phase::AwaitingUser { .. }
            | Phase::Settling { .. }
            | Phase::Failing { .. } => {}
        }
    }

    /// As a checkpoint has them.
    pub(super) fn written(&self) -> RefreshTimes {
        RefreshTimes {
            requested_at: None,
            first_run_at: self.first_run.map(from_timestamp),
            task_created_at: None,
            user_asked_at: self.user_asked.map(from_timestamp),
            web_form_ended_at: self.web_form_ended.map(from_timestamp),
            data_stored_at: self.data_stored.map(from_timestamp),
        }
    }

    /// Reads them back. One that cannot be is missing: it is not worth the refresh.
    pub(super) fn read(written: Option<RefreshTimes>, last: Timestamp) -> Self {
        let written = written.unwrap_or_default();
        let read = |at: Option<prost_types::Timestamp>| at.as_ref().and_then(timestamp).filter(|at| *at <= last);
        Self {
            first_run: read(written.first_run_at),
            user_asked: read(written.user_asked_at),
            web_form_ended: read(written.web_form_ended_at),
            data_stored: read(written.data_stored_at),
        }
    }
}

impl Refresh {
    /// A worker runs it.
    pub fn on_run(&mut self, now: Timestamp) {
        self.times.first_run.get_or_insert(now);
    }

    /// Its moments, as events have them.
    pub(super) fn all_times(&self) -> RefreshTimes {
        RefreshTimes {
            requested_at: Some(from_timestamp(self.requested_at)),
            task_created_at: self.task().map(|task| from_timestamp(task.created_at)),
            ..self.times.written()
        }
    }
}
