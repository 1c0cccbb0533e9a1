//! A call that failed: whether to wait, to try again or to give up.

use std::time::Duration;

use super::At;
use crate::proto::FailureReason;
use crate::refresh::failure::{Fail, Failure, FailureKind};
use crate::refresh::model::{WebForm, WebFormStatus};
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{First, Phase, Refresh, Step, later};

impl At<'_> {
    pub(in crate::refresh) fn failed(&self, refresh: Refresh, failure: Failure) -> Step {
        // The user is notified even when the web form can't be polled; what is wrong shows at the next poll.
        if let Phase::NotifyingUser { task, form, reason } = refresh.phase.clone() {
            let unknown = WebForm {
                status: WebFormStatus::Open,
                expires_at: None,
                error: None,
            };
            return self.notify_user(refresh, task, &form, reason, &unknown);
        }
        match failure.kind {
            FailureKind::NotAsked(after) => self.again(refresh, after),
            FailureKind::RateLimited(after) => self.limited(refresh, after),
            FailureKind::Locked if matches!(refresh.phase, Phase::Requested { .. }) => {
                self.ask(refresh, First::Follow, true)
            }
            FailureKind::Unavailable | FailureKind::Unexpected | FailureKind::Internal => self.retry(refresh, failure),
            FailureKind::NotFound if matches!(refresh.phase, Phase::AwaitingUser { .. }) => {
                let fail = Fail::of(
                    FailureReason::WebFormExpired,
                    "finAPI no longer knows the web form",
                    false,
                );
                self.fail(refresh, &fail)
            }
            FailureKind::Locked
            | FailureKind::Rejected
            | FailureKind::NotFound
            | FailureKind::NotSupported
            | FailureKind::UserUnauthorized
            | FailureKind::UserLocked
            | FailureKind::ClientUnauthorized => self.fail(refresh, &failure.into()),
        }
    }

    /// Waits for as long as finAPI says, else longer and longer. However often that happens, half of the attempts are left.
    pub(super) fn limited(&self, refresh: Refresh, after: Option<Duration>) -> Step {
        let counted = (refresh.failures + 1).min(self.policy.retry.attempts / 2);
        let failures = refresh.failures.max(counted);
        let backoff = self.policy.retry.wait(failures, self.moment.jitter);
        let after = match after {
            Some(after) => (after + backoff.mul_f64(0.1)).max(POLL_INTERVAL_MIN),
            None => backoff,
        };
        self.again(Refresh { failures, ..refresh }, after)
    }

    /// Tries again, a bounded number of times.
    pub(super) fn retry(&self, refresh: Refresh, failure: Failure) -> Step {
        let failures = refresh.failures + 1;
        if failures >= self.policy.retry.attempts {
            return self.fail(refresh, &failure.into());
        }
        let after = self.policy.retry.wait(failures, self.moment.jitter);
        self.again(Refresh { failures, ..refresh }, after)
    }

    /// Waits in the same phase; but after a start whose answer is not known, it searches for the task first.
    pub(super) fn again(&self, refresh: Refresh, after: Duration) -> Step {
        let phase = match refresh.phase {
            Phase::Requested {
                first: First::Start,
                locked,
            } => Phase::Requested {
                first: First::Find,
                locked,
            },
            phase => phase,
        };
        let due_at = later(self.moment.now, after);
        self.go_on(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }
}
