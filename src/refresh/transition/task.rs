//! A task: whether one is needed, and where it stands.

use std::time::Duration;

use super::Transition;
use crate::proto::{FailureReason, UpdateOrigin, UserActionReason};
use crate::refresh::failure::{Failure, FailureDetails};
use crate::refresh::model::{Connection, Task, TaskStatus};
use crate::refresh::query::Response;
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Lookup, Phase, Refresh, Step, TaskRef, Update, earlier, later};

/// How far the time of a task may be from a command's, and from our clock.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

impl Transition<'_> {
    pub(super) fn on_connection(&self, refresh: Refresh, connection: &Connection, locked: bool) -> Step {
        let last = connection.last_success_at();
        let fresh = match (refresh.fresh_since(locked), last) {
            (Some(since), Some(last)) => last >= self.at_access(since),
            (None, _) | (_, None) => false,
        };
        if !fresh {
            return self.query_next(refresh, Lookup::Find);
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
                let runs_for = self.at_web_form(self.context.now).duration_since(task.created_at);
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
}
