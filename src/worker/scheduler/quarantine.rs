//! When messages that may kill workers are tried: not while others are on their way to the quarantine, because a worker that dies then leaves two
//! messages of each. Nothing is consumed from the quarantine meanwhile: each worker that dies of something else would count against what it has.

use std::time::Duration;

use super::job::{Job, Now};
use super::{Action, Scheduler};

/// How long nothing that may kill workers runs after the last confirm of what was forwarded to the quarantine, until the broker has the
/// acknowledgement. And how long after a connection, until the broker has delivered what is to be forwarded.
pub(in crate::worker) const QUARANTINE_WAIT: Duration = Duration::from_millis(1500);

impl Scheduler {
    /// Something is on its way to the quarantine, or has just arrived there.
    pub(super) fn on_forward(&mut self, now: Now) {
        self.quarantined_by = now.since_start + QUARANTINE_WAIT;
        self.pause_quarantine(self.quarantined_by);
    }

    pub(super) fn pause_quarantine(&mut self, until: Duration) {
        if self.quarantine_resumes.replace(until).is_none() {
            self.actions.push_back(Action::PauseQuarantine(true));
        }
    }

    pub(super) fn resume_quarantine(&mut self, now: Now) {
        if self.forwards > 0 {
            self.on_forward(now);
        } else if self.resumes_at().is_some_and(|resumes| resumes <= now.since_start) {
            self.quarantine_resumes = None;
            self.actions.push_back(Action::PauseQuarantine(false));
        }
    }

    /// When the consumer is to resume.
    pub(super) fn resumes_at(&self) -> Option<Duration> {
        self.quarantine_resumes.filter(|_| self.generation.is_some())
    }

    /// Until when it waits because it may kill workers, and others are on their way to the quarantine.
    pub(super) fn waits_until(&self, job: &Job, now: Now) -> Option<Duration> {
        if job.is_tried || job.receipt.age(now) > self.settings.hold_max {
            return None;
        }
        let quarantined_by = match self.forwards {
            0 => self.quarantined_by,
            _ => now.since_start + QUARANTINE_WAIT,
        };
        let until = match job.receipt.is_quarantined() {
            // Delivered just before the pause.
            true => self.quarantine_resumes.map(|resumes| resumes.max(quarantined_by)),
            false => job.receipt.is_careful().then_some(quarantined_by),
        };
        until.filter(|until| now.since_start < *until)
    }
}
