//! A task: whether one is needed, which one serves the command, and where it stands.

use std::time::Duration;

use super::At;
use crate::proto::{FailureReason, UpdateOrigin, UserActionReason};
use crate::refresh::failure::{Fail, Failure};
use crate::refresh::model::{Connection, Task, TaskStatus};
use crate::refresh::query::Answer;
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{First, Phase, Refresh, Step, TaskRef, Update, WEB_FORM_LIFETIME, command, earlier, later};

impl At<'_> {
    pub(super) fn checked(&self, refresh: Refresh, connection: &Connection, locked: bool) -> Step {
        let last = connection.last_success_at();
        let fresh = match (refresh.fresh_since(locked), last) {
            (Some(since), Some(last)) => last >= since,
            (None, _) | (_, None) => false,
        };
        if !fresh {
            return self.ask(refresh, First::Find, locked);
        }
        // An update since the command may be its own, started by a worker that was killed. What that brought is published.
        let since = earlier(refresh.requested_at, self.policy.limits.clock_skew);
        let updated = locked || last.is_some_and(|last| last >= since);
        let update = Update {
            task: None,
            origin: UpdateOrigin::AlreadyFresh,
            since: updated.then_some(since),
            until: None,
            next_part: 1,
            published_up_to: 0,
        };
        self.answered(
            Refresh {
                phase: Phase::Settling { update },
                phase_since: self.moment.now,
                polls: 0,
                ..refresh
            },
            Answer::Connection(connection.clone()),
        )
    }

    pub(super) fn looked(&self, refresh: Refresh, tasks: Vec<Task>, first: First, locked: bool) -> Step {
        let serves = |task: &Task| self.serves(&refresh, task, first);
        match tasks.into_iter().find(serves) {
            Some(task) => self.stands(refresh, task),
            None if first == First::Follow => {
                let polls = refresh.polls + 1;
                let phase = refresh.requested(true);
                let polling = &self.policy.polling;
                let refresh = Refresh {
                    polls,
                    phase,
                    ..refresh
                };
                self.wait(refresh, polling, polling.locked_max)
            }
            None => self.ask(refresh, First::Start, locked),
        }
    }

    /// Whether a task of the user does what the command asks for. One that began after the command does, whoever
    /// began it; so does one that is running anyway, unless the command asks for more than that.
    pub(super) fn serves(&self, refresh: &Refresh, task: &Task, first: First) -> bool {
        if task.bank_connection_id != Some(refresh.command.bank_connection_id) {
            return false;
        }
        let by_web_form = task.status == TaskStatus::WebFormRequired;
        if !refresh.command.edit_saved_settings.is_empty() && !by_web_form {
            return false;
        }
        let skew = self.policy.limits.clock_skew;
        if later(task.created_at, skew) >= refresh.requested_at {
            return true;
        }
        let form_is_open = later(task.created_at, WEB_FORM_LIFETIME) > self.moment.now;
        let runs = task.status == TaskStatus::Running || (first == First::Follow && by_web_form && form_is_open);
        runs && !command::asks_for_more(&refresh.command)
    }

    /// Goes to wherever a task stands.
    pub(super) fn stands(&self, refresh: Refresh, task: Task) -> Step {
        let reference = TaskRef {
            id: task.id,
            created_at: task.created_at,
        };
        match task.status {
            TaskStatus::Running => self.runs(refresh, reference),
            TaskStatus::WebFormRequired => {
                let Some(form) = task.web_form else {
                    let failure = Failure::unexpected("a task in WEB_FORM_REQUIRED without its web form");
                    return self.failed(refresh, failure);
                };
                let reason = self.why_user(&refresh);
                let phase = Phase::NotifyingUser {
                    task: reference,
                    form,
                    reason,
                };
                self.at_once(refresh, phase)
            }
            TaskStatus::Completed => {
                let update = Update::of(reference, UpdateOrigin::Silent);
                self.at_once(refresh, Phase::Settling { update })
            }
            TaskStatus::Failed => {
                let fail = Fail::by_bank(task.error, FailureReason::UpdateFailed, "the task");
                let phase = Phase::Updating { task: reference };
                self.fail(Refresh { phase, ..refresh }, &fail)
            }
        }
    }

    pub(super) fn runs(&self, refresh: Refresh, task: TaskRef) -> Step {
        let Phase::Updating { .. } = refresh.phase else {
            let due_at = later(self.moment.now, self.until_next_poll(&task, 0));
            return self.enter(refresh, Phase::Updating { task }, due_at);
        };
        let deadline = later(refresh.phase_since, self.policy.limits.updating);
        if self.moment.now >= deadline {
            let message = "finAPI still called the task running at its deadline";
            return self.fail(refresh, &Fail::of(FailureReason::TimedOut, message, true));
        }
        let polls = refresh.polls + 1;
        let due_at = later(self.moment.now, self.until_next_poll(&task, polls));
        self.go_on(Refresh {
            due_at,
            polls,
            failures: 0,
            ..refresh
        })
    }

    /// By what is known of the bank, else on a growing interval; beside callbacks always by that.
    pub(super) fn until_next_poll(&self, task: &TaskRef, polls: u32) -> Duration {
        match self.moment.next_poll {
            Some(poll) if self.policy.beside_callbacks.is_none() => {
                let runs_for = self.moment.now.duration_since(task.created_at);
                let left = poll.saturating_sub(runs_for.try_into().unwrap_or_default());
                left.max(POLL_INTERVAL_MIN)
            }
            _ => self.polling().wait(polls, self.polling().max, self.moment.jitter),
        }
    }

    pub(super) fn why_user(&self, refresh: &Refresh) -> UserActionReason {
        if !refresh.command.edit_saved_settings.is_empty() {
            UserActionReason::EditSavedSettings
        } else if let Phase::Updating { .. } = refresh.phase {
            UserActionReason::DuringUpdate
        } else {
            UserActionReason::Immediate
        }
    }

    /// Asks the next thing of a refresh that has no task. That is no progress: between two starts that fail, finding
    /// nothing is what is expected.
    pub(super) fn ask(&self, refresh: Refresh, first: First, locked: bool) -> Step {
        let phase = Phase::Requested { first, locked };
        let due_at = self.moment.now;
        self.go_on(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }
}
