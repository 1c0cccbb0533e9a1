//! A task: whether one is needed, which one satisfies the command, and where it stands.

use std::time::Duration;

use super::Transition;
use crate::proto::{FailureReason, UpdateOrigin, UserActionReason};
use crate::refresh::failure::{Failure, FailureDetails};
use crate::refresh::model::{Connection, Task, TaskStatus};
use crate::refresh::query::Response;
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Lookup, Phase, Refresh, Step, TaskRef, Update, WEB_FORM_LIFETIME, earlier, later};

/// How far the time of a task may be from a command's, and from our clock.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

impl Transition<'_> {
    pub(super) fn on_connection(&self, refresh: Refresh, connection: &Connection, locked: bool) -> Step {
        let last = connection.last_success_at();
        let fresh = match (refresh.fresh_since(locked), last) {
            (Some(since), Some(last)) => last >= since,
            (None, _) | (_, None) => false,
        };
        if !fresh {
            return self.query_next(refresh, Lookup::Find, locked);
        }
        let update = Update {
            task: None,
            origin: UpdateOrigin::AlreadyFresh,
        };
        self.on_response(
            Refresh {
                phase: Phase::Settling { update },
                phase_since: self.context.now,
                polls: 0,
                ..refresh
            },
            Response::Connection(connection.clone()),
        )
    }

    pub(super) fn on_task_list(&self, refresh: Refresh, tasks: Vec<Task>, lookup: Lookup, locked: bool) -> Step {
        let satisfies = |task: &Task| self.satisfies(&refresh, task, lookup);
        match tasks.into_iter().find(satisfies) {
            Some(task) => self.follow_task(refresh, task),
            None if lookup == Lookup::Follow => {
                let polls = refresh.polls.saturating_add(1);
                let phase = refresh.locating(true);
                let polling = &self.policy.polling;
                let refresh = Refresh {
                    polls,
                    phase,
                    ..refresh
                };
                self.poll_later(refresh, polling, polling.locked_max)
            }
            None => self.query_next(refresh, Lookup::Start, locked),
        }
    }

    /// Whether a task of the user does what the command asks for. One that began after the command does, whoever
    /// began it; so does one that is running anyway, unless the command asks for more than that.
    pub(super) fn satisfies(&self, refresh: &Refresh, task: &Task, lookup: Lookup) -> bool {
        if task.bank_connection_id != Some(refresh.command.connection_id()) {
            return false;
        }
        let by_web_form = task.status == TaskStatus::WebFormRequired;
        if refresh.command.edits_saved_settings() && !by_web_form {
            return false;
        }
        let skew = self.policy.limits.clock_skew;
        if later(task.created_at, skew) >= refresh.requested_at {
            return true;
        }
        let form_is_open = later(task.created_at, WEB_FORM_LIFETIME) > self.context.now;
        let runs = task.status == TaskStatus::Running || (lookup == Lookup::Follow && by_web_form && form_is_open);
        runs && !refresh.command.asks_for_more()
    }

    /// Enters the phase that the task is in.
    pub(super) fn follow_task(&self, refresh: Refresh, task: Task) -> Step {
        // A time that no checkpoint may have is finAPI's mistake.
        let (first, last) = (earlier(refresh.requested_at, DAY), later(self.context.now, DAY));
        let reference = TaskRef {
            id: task.id,
            created_at: task.created_at.max(first).min(last),
        };
        match task.status {
            TaskStatus::Running => self.on_task_running(refresh, reference),
            TaskStatus::WebFormRequired => {
                let Some(form) = task.web_form else {
                    let failure = Failure::unexpected("a task in WEB_FORM_REQUIRED without its web form");
                    return self.on_call_failed(refresh, failure);
                };
                let reason = self.why_user(&refresh);
                let phase = Phase::NotifyingUser {
                    task: reference,
                    form,
                    reason,
                };
                self.enter_now(refresh, phase)
            }
            TaskStatus::Completed => {
                let update = Update::of(reference, UpdateOrigin::Silent);
                self.enter_now(refresh, Phase::Settling { update })
            }
            TaskStatus::Failed => {
                let details = FailureDetails::by_bank(task.error, FailureReason::UpdateFailed, "the task");
                let phase = Phase::Updating { task: reference };
                self.finish_failed(Refresh { phase, ..refresh }, &details)
            }
        }
    }

    pub(super) fn on_task_running(&self, refresh: Refresh, task: TaskRef) -> Step {
        let Phase::Updating { .. } = refresh.phase else {
            let due_at = later(self.context.now, self.until_next_poll(&task, 0));
            return self.enter(refresh, Phase::Updating { task }, due_at);
        };
        let deadline = later(refresh.phase_since, self.policy.limits.updating);
        if self.context.now >= deadline {
            let message = "finAPI still called the task running at its deadline";
            return self.finish_failed(refresh, &FailureDetails::of(FailureReason::TimedOut, message, true));
        }
        let polls = refresh.polls.saturating_add(1);
        let due_at = later(self.context.now, self.until_next_poll(&task, polls));
        self.schedule(Refresh {
            due_at,
            polls,
            failures: 0,
            ..refresh
        })
    }

    /// By what is known of the bank, else on a growing interval; while callbacks are on, always by that.
    pub(super) fn until_next_poll(&self, task: &TaskRef, polls: u32) -> Duration {
        match self.context.next_poll {
            Some(poll) if self.policy.fallback_polling.is_none() => {
                let runs_for = self.context.now.duration_since(task.created_at);
                let left = poll.saturating_sub(runs_for.try_into().unwrap_or_default());
                left.max(POLL_INTERVAL_MIN)
            }
            _ => self.polling().wait(polls, self.polling().max, self.context.jitter),
        }
    }

    pub(super) fn why_user(&self, refresh: &Refresh) -> UserActionReason {
        if refresh.command.edits_saved_settings() {
            UserActionReason::EditSavedSettings
        } else if let Phase::Updating { .. } = refresh.phase {
            UserActionReason::DuringUpdate
        } else {
            UserActionReason::Immediate
        }
    }

    /// Sends the next query of a refresh that has no task. That is no progress: between two starts that fail, finding
    /// nothing is what is expected.
    pub(super) fn query_next(&self, refresh: Refresh, lookup: Lookup, locked: bool) -> Step {
        let phase = Phase::Locating { lookup, locked };
        let due_at = self.context.now;
        self.schedule(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }
}
