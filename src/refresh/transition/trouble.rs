//! A call that failed: whether to wait, to try again or to give up.

use std::time::Duration;

use super::Transition;
use crate::proto::FailureReason;
use crate::refresh::failure::{Failure, FailureClass, FailureDetails};
use crate::refresh::model::{WebForm, WebFormStatus};
use crate::refresh::policy::{INTERACTIVE_PATIENCE, OUTAGE_WAIT_MAX};
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Lookup, Phase, Refresh, Step, later};

impl Transition<'_> {
    pub(in crate::refresh) fn on_call_failed(&self, refresh: Refresh, failure: Failure) -> Step {
        let refresh = self.note_start(refresh, &failure);
        // The user is notified even when the web form can't be polled; what is wrong shows at the next poll.
        if let Phase::NotifyingUser { task, form, reason } = refresh.phase.clone() {
            let unknown = WebForm {
                status: WebFormStatus::Open,
                expires_at: None,
                error: None,
            };
            return self.notify_user(refresh, task, &form, reason, &unknown);
        }
        match failure.class {
            FailureClass::NotSent(after) => self.retry_spread(refresh, after),
            FailureClass::MaybeDown if self.is_patient(&refresh) => self.wait_out(refresh),
            FailureClass::RateLimited(after) => self.retry_after(refresh, after),
            FailureClass::Locked if matches!(refresh.phase, Phase::Locating { .. }) => self.follow_lock(refresh),
            FailureClass::Unavailable | FailureClass::MaybeDown | FailureClass::Unexpected | FailureClass::Internal => {
                self.retry_with_backoff(refresh, failure)
            }
            FailureClass::NotFound if matches!(refresh.phase, Phase::AwaitingUser { .. }) => {
                let details = FailureDetails::of(
                    FailureReason::WebFormExpired,
                    "finAPI no longer knows the web form",
                    false,
                );
                self.finish_failed(refresh, &details)
            }
            FailureClass::Locked
            | FailureClass::Rejected
            | FailureClass::NotFound
            | FailureClass::NotSupported
            | FailureClass::UserUnauthorized
            | FailureClass::UserLocked
            | FailureClass::ClientUnauthorized => self.finish_failed(refresh, &failure.into()),
        }
    }

    /// Whether it waits for a host that may be down: for as long as a refresh may take, but where somebody waits, not for long.
    fn is_patient(&self, refresh: &Refresh) -> bool {
        !refresh.envelope.interactive || self.context.now < later(refresh.requested_at, INTERACTIVE_PATIENCE)
    }

    /// Tries again without an end, less and less often: after a quarter of the time that the phase has lasted, so that an outage of an hour is asked
    /// some twenty times and found to be over within minutes.
    fn wait_out(&self, refresh: Refresh) -> Step {
        let failures = refresh.failures.saturating_add(1);
        let lasted = self.context.now.duration_since(refresh.phase_since);
        let quarter = Duration::try_from(lasted).unwrap_or_default() / 4;
        let after = self
            .policy
            .retry
            .wait(failures, self.context.jitter)
            .max(quarter.min(OUTAGE_WAIT_MAX));
        let failures = failures.min(self.policy.retry.attempts / 2).max(refresh.failures);
        self.retry_spread(Refresh { failures, ..refresh }, after)
    }

    /// Tries again after a time, up to a tenth later, so that those who wait for a host together come in another order each time.
    fn retry_spread(&self, refresh: Refresh, after: Duration) -> Step {
        self.retry_in(refresh, after + after.mul_f64(self.context.jitter / 10.0))
    }

    /// Waits for as long as finAPI says, else longer and longer. However often that happens, half of the attempts are left.
    pub(super) fn retry_after(&self, refresh: Refresh, after: Option<Duration>) -> Step {
        let counted = refresh.failures.saturating_add(1).min(self.policy.retry.attempts / 2);
        let failures = refresh.failures.max(counted);
        let backoff = self.policy.retry.wait(failures, self.context.jitter);
        let after = match after {
            Some(after) => (after + backoff.mul_f64(0.1)).max(POLL_INTERVAL_MIN),
            None => backoff,
        };
        self.retry_in(Refresh { failures, ..refresh }, after)
    }

    /// Tries again, a bounded number of times.
    pub(super) fn retry_with_backoff(&self, refresh: Refresh, failure: Failure) -> Step {
        let failures = refresh.failures.saturating_add(1);
        if failures >= self.policy.retry.attempts {
            return self.finish_failed(refresh, &failure.into());
        }
        let after = self.policy.retry.wait(failures, self.context.jitter);
        self.retry_in(Refresh { failures, ..refresh }, after)
    }

    /// Retries in the same phase. After a start without a response, it searches for the task first.
    pub(super) fn retry_in(&self, refresh: Refresh, after: Duration) -> Step {
        let phase = match refresh.phase {
            Phase::Locating {
                lookup: Lookup::Start,
                locked,
                asked,
            } => Phase::Locating {
                lookup: Lookup::Find,
                locked,
                asked,
            },
            phase => phase,
        };
        let due_at = later(self.context.now, after);
        self.schedule(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }
}
