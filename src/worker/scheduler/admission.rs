//! What happens to a delivery when it arrives, and to a refresh that may have to wait.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::job::{Job, Now, Origin, Receipt};
use super::shares::has_begun;
use super::{Action, DUPLICATE_WAIT, First, Scheduler};
use crate::broker::topology::DELAYS;
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Phase, Refresh, later};
use crate::worker::publication::{Forward, Publication};

/// While background commands wait for room, the worker holds only shorter waits. Refreshes that wait for their users would otherwise keep
/// that room for minutes.
const CROWDED_WAIT_MAX: Duration = Duration::from_secs(5);

/// A message of the quarantine that is due later than this is parked.
const TRIAL_WAIT_MAX: Duration = Duration::from_secs(5);

/// A delivery as the codec read it.
#[derive(Debug)]
pub(in crate::worker) enum Content {
    /// A refresh to continue.
    Refresh {
        refresh: Box<Refresh>,
        /// Until when another worker may have worked on it, if one may have.
        released_at: Option<Timestamp>,
    },
    /// A refresh that is cancelled: it ends as soon as it runs.
    Cancelled(Box<Refresh>),
    /// A command that does not say when it was sent. Its `requested_at` has to be published before anything else happens.
    MissingRequestedAt(Box<Refresh>),
    /// A message that is only forwarded.
    Forward(Box<Forward>),
}

impl Scheduler {
    /// A delivery came in.
    pub(in crate::worker) fn on_delivery(&mut self, receipt: Receipt, content: Content, now: Now) {
        match content {
            Content::Forward(forward) => {
                if receipt.came_back_too_often() {
                    self.on_forward(now);
                }
                self.publish(receipt, None, Publication::Forward(forward));
            }
            Content::MissingRequestedAt(refresh) => {
                let publication = match receipt.redeliveries() {
                    0 => Publication::Requeue(refresh),
                    kept => Publication::Park(refresh, kept),
                };
                self.publish(receipt, None, publication);
            }
            Content::Cancelled(mut refresh) => {
                hasten(&mut refresh, now);
                let is_cancelled = true;
                let job = Job::new(refresh, receipt);
                self.on_refresh(Job { is_cancelled, ..job }, now);
            }
            Content::Refresh { refresh, released_at } => {
                let mut job = Job::new(refresh, receipt);
                delay_after_release(&mut job.refresh, released_at);
                self.on_refresh(job, now);
            }
        }
    }

    /// Orders have changed: what waits here and is to end runs next.
    pub(in crate::worker) fn end_waiting(&mut self, is_over: impl Fn(&Refresh) -> bool, now: Now) {
        if self.draining {
            return;
        }
        let mut over = self.held.take_if(&is_over);
        over.extend(take_if(&mut self.backlog, |job| is_over(&job.refresh)));
        for waiting in self.awaiting_token.values_mut() {
            over.extend(waiting.extract_if(.., |job| is_over(&job.refresh)));
        }
        for mut job in over {
            hasten(&mut job.refresh, now);
            self.runnable.push(job);
        }
    }

    fn on_refresh(&mut self, job: Job, now: Now) {
        match self.firsts.get(job.refresh.command.refresh_id()) {
            Some(first) => self.on_duplicate(job, *first, now),
            None => self.admit(job, now),
        }
    }

    fn admit(&mut self, job: Job, now: Now) {
        let is_command = matches!(job.receipt.origin(), Origin::Interactive | Origin::Background);
        let waits_for_room = job.receipt.origin() == Origin::Background && !self.has_room();
        let is_above_share = self.enter(&job) && !has_begun(&job) && !job.receipt.is_quarantined();
        if is_command && self.draining {
            self.requeue(job);
        } else if job.is_cancelled {
            self.place(job, now);
        } else if is_above_share {
            self.park_in_line(job, now);
        } else if waits_for_room {
            self.backlog.push_back(job);
        } else {
            self.place(job, now);
        }
    }

    /// Of several deliveries of a command the one that is furthest is worked on, and the others are dropped, because the broker keeps it
    /// until something still further is confirmed.
    fn on_duplicate(&mut self, mut job: Job, first: First, now: Now) {
        let is_behind = job.refresh.progress() <= first.progress;
        // The worker still works on the first, but has lost it: this may be the same message, delivered again.
        let is_lost = self.generation != Some(first.tag.generation);
        if is_behind && !is_lost {
            return self.drop_duplicate(job);
        }
        // While the first is busy, this may be what it has just published.
        let Some(waiting) = self.take_waiting(job.refresh.command.refresh_id(), first.tag) else {
            return self.park_duplicate(job, now);
        };
        // The first may have polled just before.
        job.refresh.due_at = job.refresh.due_at.max(later(now.time, POLL_INTERVAL_MIN));
        self.drop_duplicate(waiting);
        self.admit(job, now);
    }

    fn drop_duplicate(&mut self, job: Job) {
        self.actions.push_back(Action::ReportDuplicate(job.refresh));
        self.actions.push_back(Action::Acknowledge(job.receipt));
    }

    fn park_duplicate(&mut self, mut job: Job, now: Now) {
        job.refresh.due_at = later(now.time, DUPLICATE_WAIT);
        let redeliveries = job.redeliveries_to_keep();
        self.publish(job.receipt, None, Publication::Park(job.refresh, redeliveries));
    }

    /// Lets a refresh run, or lets it wait: held if possible, else parked.
    pub(super) fn place(&mut self, job: Job, now: Now) {
        if self.draining {
            return self.park(job);
        }
        let due = now.until(job.refresh.due_at);
        let waits_until = self.waits_until(&job, now).filter(|until| due <= *until);
        if let Some(until) = waits_until {
            self.hold(job, until, now);
        } else if due <= now.since_start {
            self.runnable.push(job);
        } else if self.may_hold(&job, due, now) {
            self.hold(job, due, now);
        } else {
            self.park(job);
        }
    }

    fn may_hold(&self, job: &Job, due: Duration, now: Now) -> bool {
        let wait = due.saturating_sub(now.since_start);
        if job.receipt.is_quarantined() {
            // Parked before its trial, it would be tried among others. After it, the next one is to be tried.
            return wait <= TRIAL_WAIT_MAX && !job.is_tried;
        }
        let age = job.receipt.age(now) + wait;
        // No delay queue is that short: if it was parked, it would come back at once, again and again.
        if wait < DELAYS[0].1 && age <= self.settings.hold_max {
            return true;
        }
        let wait_max = match self.backlog.is_empty() {
            true => self.settings.hold_wait_max,
            false => self.settings.hold_wait_max.min(CROWDED_WAIT_MAX),
        };
        wait <= wait_max && age <= self.settings.hold_max && self.held.len() < usize::from(self.settings.in_flight)
    }

    /// Lets background commands in, as far as there is room.
    pub(super) fn admit_backlog(&mut self, now: Now) {
        while self.has_room() && !self.outage {
            let Some(job) = self.backlog.pop_front() else {
                return;
            };
            self.place(job, now);
        }
    }

    /// Nothing waits here much longer than it may be held, because the broker takes back what is not acknowledged.
    pub(in crate::worker) fn evict_overdue(&mut self, now: Now) {
        self.users.forget_lines(now);
        let hold_max = self.settings.hold_max;
        let is_over = |job: &Job| job.receipt.age(now) > hold_max;
        for job in take_if(&mut self.backlog, is_over) {
            self.requeue(job);
        }
        for job in self.runnable.take_if(is_over) {
            self.park(job);
        }
        let mut overdue = Vec::new();
        for waiting in self.awaiting_token.values_mut() {
            overdue.extend(waiting.extract_if(.., |job| is_over(job)));
        }
        for job in overdue {
            self.park(job);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let in_flight = self.held.len() + self.busy.len() + self.runnable() + self.awaiting_token();
        in_flight < usize::from(self.settings.in_flight)
    }
}

/// The worker that had it may have polled the task just before, or its start of a task may not be visible yet.
fn delay_after_release(refresh: &mut Refresh, released_at: Option<Timestamp>) {
    if let (Phase::Locating { .. } | Phase::Updating { .. }, Some(released_at)) = (&refresh.phase, released_at) {
        refresh.due_at = refresh.due_at.max(later(released_at, POLL_INTERVAL_MIN));
    }
}

fn take_if(queue: &mut VecDeque<Job>, taken: impl Fn(&Job) -> bool) -> VecDeque<Job> {
    let (over, kept) = std::mem::take(queue).into_iter().partition(taken);
    *queue = kept;
    over
}

/// A cancelled refresh ends at once, unless finAPI is to cancel its web form and may have asked for the wait.
fn hasten(refresh: &mut Refresh, now: Now) {
    if refresh.web_form().is_none() || refresh.failures == 0 {
        refresh.due_at = refresh.due_at.min(now.time);
    }
}
