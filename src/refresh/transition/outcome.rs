//! From the user's web form to the outcome that is published.

use jiff::Timestamp;

use super::Transition;
use super::task::DAY;
use crate::proto::{FailureReason, UpdateOrigin, UserActionReason};
use crate::refresh::failure::FailureDetails;
use crate::refresh::model::{Connection, WebForm, WebFormLink, WebFormStatus};
use crate::refresh::{Phase, Refresh, Step, TaskRef, Update, WEB_FORM_LIFETIME, earlier, event, later};

impl Transition<'_> {
    /// Notifies the user of the web form, then continues from what the form says already. It is not polled before `polls_from`.
    pub(super) fn notify_user(
        &self,
        refresh: Refresh,
        task: TaskRef,
        form: &WebFormLink,
        reason: UserActionReason,
        web_form: &WebForm,
        polls_from: Timestamp,
    ) -> Step {
        let now = self.context.now;
        let expires_at = web_form.expires_at.unwrap_or_else(|| later(now, WEB_FORM_LIFETIME));
        let expires_at = expires_at.min(later(now, DAY));
        let notification = event::user_action_required(&refresh, now, form, expires_at, reason);
        let phase = Phase::AwaitingUser {
            task: task.clone(),
            web_form_id: form.id.clone(),
            expires_at,
        };
        let refresh = Refresh {
            phase,
            phase_since: now,
            due_at: polls_from,
            polls: 0,
            failures: 0,
            ..refresh
        };
        let mut step = self.on_web_form(refresh, task, expires_at, web_form.clone());
        step.events.insert(0, notification);
        step
    }

    pub(super) fn on_web_form(&self, refresh: Refresh, task: TaskRef, expires_at: Timestamp, form: WebForm) -> Step {
        let expired = || {
            FailureDetails::of(
                FailureReason::WebFormExpired,
                "the web form ended before the user completed it",
                false,
            )
        };
        match form.status {
            WebFormStatus::Open => {
                if self.context.now >= later(expires_at, self.policy.limits.web_form_grace) {
                    return self.finish_failed(refresh, &expired());
                }
                let polls = refresh.polls.saturating_add(1);
                let max = self.polling().web_form_max;
                self.poll_later(Refresh { polls, ..refresh }, self.polling(), max)
            }
            WebFormStatus::Completed => {
                let update = Update::of(task, UpdateOrigin::UserActed);
                self.enter_now(refresh, Phase::Settling { update })
            }
            WebFormStatus::Failed => {
                let details = FailureDetails::by_bank(form.error, FailureReason::WebFormFailed, "the web form");
                self.finish_failed(refresh, &details)
            }
            WebFormStatus::Expired => self.finish_failed(refresh, &expired()),
            WebFormStatus::Aborted => {
                let message = "the user cancelled the web form";
                self.finish_failed(refresh, &FailureDetails::of(FailureReason::UserAborted, message, false))
            }
        }
    }

    pub(super) fn on_connection_settling(&self, refresh: Refresh, update: Update, connection: Connection) -> Step {
        let late = self.context.now >= later(refresh.phase_since, self.policy.limits.settling);
        if !connection.ready && late {
            let message = "finAPI had not stored the update's data at the deadline";
            return self.finish_failed(refresh, &FailureDetails::of(FailureReason::TimedOut, message, true));
        }
        // Categories are an extra: past the deadline the transactions are published without them.
        let categorized = connection.categorized || !refresh.command.wait_for_categorization() || late;
        if !connection.ready || !categorized || self.is_stale(&refresh, &update, &connection) {
            let polls = refresh.polls.saturating_add(1);
            let polling = &self.policy.polling;
            return self.poll_later(Refresh { polls, ..refresh }, polling, polling.max);
        }
        self.enter_collecting(refresh, update, connection)
    }

    /// Whether what the connection says is from before this update: none of its own times is as late as the task. That is believed only for a while.
    fn is_stale(&self, refresh: &Refresh, update: &Update, connection: &Connection) -> bool {
        let Some(task) = &update.task else {
            return false;
        };
        let since = earlier(task.created_at, self.policy.limits.clock_skew);
        let is_of_task = connection.last_manual_update_at().is_some_and(|at| at >= since);
        !is_of_task && self.context.now < later(refresh.phase_since, self.policy.limits.settling_quiet)
    }
}
