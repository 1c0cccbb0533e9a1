//! Which task serves a command, and when one may be started.

use std::time::Duration;

use jiff::Timestamp;

use super::Transition;
use crate::refresh::clocks::ClockOffset;
use crate::refresh::failure::Failure;
use crate::refresh::model::{Task, TaskStatus};
use crate::refresh::{Asked, Lookup, Phase, Refresh, Step, WEB_FORM_LIFETIME, later};

/// A clock is not known better than this: finAPI has more than one machine.
const CLOCK_UNCERTAINTY_MIN: Duration = Duration::from_millis(500);

/// What is known while no task is.
#[derive(Clone, Copy)]
pub(super) struct Search {
    pub(super) lookup: Lookup,
    pub(super) asked: Option<Asked>,
}

impl Transition<'_> {
    pub(super) fn on_task_list(&self, refresh: Refresh, tasks: Vec<Task>, search: Search) -> Step {
        let may_be_named = tasks.iter().any(|task| self.may_be_named(&refresh, task, search));
        let serves = |task: &Task| self.serves(&refresh, task, search);
        let visible_at = search
            .asked
            .map(|asked| later(asked.last, self.policy.limits.start_visible));
        match tasks.into_iter().find(serves) {
            Some(task) => self.follow_task(refresh, task),
            None if search.lookup == Lookup::Follow => {
                let polls = refresh.polls.saturating_add(1);
                let phase = refresh.locating(true, search.asked);
                let polling = &self.policy.polling;
                let refresh = Refresh {
                    polls,
                    phase,
                    ..refresh
                };
                self.poll_later(refresh, polling, polling.locked_max)
            }
            None if may_be_named => self.search_again(refresh, None),
            None if visible_at.is_some_and(|visible_at| self.context.now < visible_at) => {
                self.search_again(refresh, visible_at)
            }
            None => self.query_next(refresh, Lookup::Start),
        }
    }

    /// Whether a task of the user does what the command asks for.
    ///
    /// One that began after the command was sent does, whoever began it; so does one that is running anyway. What a task was asked for does not
    /// show, so a command that asks for more takes only what may be its own: one that began when a start of its own may have been made.
    fn serves(&self, refresh: &Refresh, task: &Task, search: Search) -> bool {
        if task.bank_connection_id != Some(refresh.command.connection_id()) {
            return false;
        }
        let by_web_form = task.status == TaskStatus::WebFormRequired;
        if refresh.command.asks_for_more() {
            // Who edits settings is always led to a web form.
            let is_other = refresh.command.edits_saved_settings() && task.status == TaskStatus::Completed;
            return !is_other && self.may_be_own(task, search);
        }
        if self.may_be_own(task, search) || task.created_at >= self.sent_at(refresh, &task.status) {
            return true;
        }
        let form_is_open = later(task.created_at, WEB_FORM_LIFETIME) > self.at_web_form(self.context.now);
        task.status == TaskStatus::Running || (search.lookup == Lookup::Follow && by_web_form && form_is_open)
    }

    fn may_be_own(&self, task: &Task, search: Search) -> bool {
        let asked = search.asked.map(|asked| self.in_doubt().earliest(asked.first));
        asked.is_some_and(|asked| task.created_at >= asked)
    }

    /// When the command was sent, at the earliest, by finAPI's clock. A failure that clearly came from before it is somebody else's; an update
    /// that brought something is as good, so there the sender's clock may be wrong, too.
    fn sent_at(&self, refresh: &Refresh, status: &TaskStatus) -> Timestamp {
        let offset = match status {
            TaskStatus::Failed => self.web_form_clock(),
            TaskStatus::Running | TaskStatus::WebFormRequired | TaskStatus::Completed => self.in_doubt(),
        };
        offset.earliest(refresh.requested_at)
    }

    /// Whether it is too young to say whose it is, and may be what is searched for.
    fn may_be_named(&self, refresh: &Refresh, task: &Task, search: Search) -> bool {
        let is_unnamed = task.bank_connection_id.is_none() && task.status == TaskStatus::Running;
        let is_young = later(task.created_at, self.policy.limits.start_visible) > self.at_web_form(self.context.now);
        let may_serve = match refresh.command.asks_for_more() {
            true => self.may_be_own(task, search),
            false => task.created_at >= self.sent_at(refresh, &task.status),
        };
        is_unnamed && is_young && may_serve
    }

    /// Searches again after a while, and once more at `last`. That ends no row of failures.
    fn search_again(&self, refresh: Refresh, last: Option<Timestamp>) -> Step {
        let polling = &self.policy.polling;
        let wait = polling.wait(refresh.polls, polling.max, self.context.jitter);
        let due_at = later(self.context.now, wait);
        self.schedule(Refresh {
            due_at: last.map_or(due_at, |last| due_at.min(last)),
            polls: refresh.polls.saturating_add(1),
            ..refresh
        })
    }

    /// A start that failed like this may have been made all the same.
    pub(super) fn note_start(&self, mut refresh: Refresh, failure: &Failure) -> Refresh {
        if let Phase::Locating {
            lookup: Lookup::Start, ..
        } = refresh.phase
            && failure.class.may_have_arrived()
        {
            refresh.may_have_started(refresh.due_at.min(self.context.now), self.context.now);
        }
        refresh
    }

    /// Searches for the task that holds the connection.
    pub(super) fn follow_lock(&self, mut refresh: Refresh) -> Step {
        if let Phase::Locating { locked, .. } = &mut refresh.phase {
            *locked = true;
        }
        self.query_next(refresh, Lookup::Follow)
    }

    /// Sends the next query of a refresh that has no task. That is no progress: between two starts that fail, finding
    /// nothing is what is expected.
    pub(super) fn query_next(&self, refresh: Refresh, lookup: Lookup) -> Step {
        let phase = match refresh.phase {
            Phase::Locating { locked, asked, .. } => Phase::Locating { lookup, locked, asked },
            phase => phase,
        };
        let due_at = self.context.now;
        self.schedule(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }

    /// The clock by which tasks begin.
    fn web_form_clock(&self) -> ClockOffset {
        let assumed = ClockOffset::within(self.policy.limits.clock_skew);
        let offset = self.context.clocks.web_form.unwrap_or(assumed);
        offset.uncertain_by(CLOCK_UNCERTAINTY_MIN)
    }

    /// The same where the sender's clock may be wrong as well.
    fn in_doubt(&self) -> ClockOffset {
        self.web_form_clock().uncertain_by(self.policy.limits.clock_skew)
    }

    /// A moment by the clock of tasks, which is ours unless that is known to be wrong.
    pub(super) fn at_web_form(&self, at: Timestamp) -> Timestamp {
        self.context.clocks.web_form.map_or(at, |clock| clock.nearest(at))
    }

    /// A moment by the clock of connections, which is ours unless that is known to be wrong.
    pub(super) fn at_access(&self, at: Timestamp) -> Timestamp {
        self.context.clocks.access.map_or(at, |clock| clock.nearest(at))
    }
}
