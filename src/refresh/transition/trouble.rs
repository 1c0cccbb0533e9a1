//! A call that failed: whether to wait, to try again or to give up.
//!
//! | class | it is tried again | and ends as |
//! | --- | --- | --- |
//! | `NotSent`, `RateLimited` | after the wait that was asked for, until the refresh's deadline | finAPI is unavailable |
//! | `MaybeDown` | less and less often, until the deadline; where somebody waits, for 15 minutes, then as `Unavailable` | finAPI is unavailable |
//! | `Unavailable`, `Foreign` | `retry.attempts` times in a row, at most `retry.max` apart | finAPI is unavailable |
//! | `Unexpected`, `Internal` | the same | an unexpected response, an internal failure |
//! | `Locked` | a start: when the update that runs is over; else as `RateLimited` | the connection is locked |
//! | `NotFound` of a task, within 10 s of its start | until those are over | - |
//! | `NotFound` of a web form | until finAPI has said so three times in a row, more than 10 s after its start | the user cancelled |
//! | `TokenRefused` | until finAPI has said so three times in a row | the user is not authorized |
//! | any other | never | what finAPI said |

use std::time::Duration;

use super::Transition;
use crate::proto::FailureReason;
use crate::refresh::failure::{Doubts, Failure, FailureClass, FailureDetails};
use crate::refresh::model::{WebForm, WebFormStatus};
use crate::refresh::policy::{INTERACTIVE_PATIENCE, OUTAGE_WAIT_MAX};
use crate::refresh::query::{Query, Wanted};
use crate::refresh::{Lookup, Phase, Refresh, Step, later};

/// What was not there so soon after it was made is only not to be seen yet.
const NOT_YET_SEEN: Duration = Duration::from_secs(10);

/// How often in a row finAPI says what is hard to believe before it is believed.
const BELIEVED_AT: u32 = 3;

impl Transition<'_> {
    pub(in crate::refresh) fn on_call_failed(&self, refresh: Refresh, failure: Failure) -> Step {
        let mut refresh = self.note_start(refresh, &failure);
        // The user is notified even when the web form can't be polled; what is wrong shows at the next poll.
        if let Phase::NotifyingUser { task, form, reason } = refresh.phase.clone() {
            let unknown = WebForm {
                status: WebFormStatus::Open,
                expires_at: None,
                error: None,
                unreadable: Vec::new(),
            };
            // Notifying is no call, so it obeys no wait; the next poll does.
            let polls_from = match failure.class {
                FailureClass::RateLimited(Some(after)) | FailureClass::NotSent(after) => later(self.context.now, after),
                _ => self.context.now,
            };
            return self.notify_user(refresh, task, &form, reason, &unknown, polls_from);
        }
        refresh.doubts = refresh.doubts.after(failure.class);
        if let Phase::Collecting(collecting) = &mut refresh.phase {
            collecting.reading.interrupt();
        }
        match failure.class {
            FailureClass::Rejected | FailureClass::NotFound if asks_for_page(&refresh) => self.on_page_refused(refresh),
            FailureClass::NotSent(after) => self.retry_spread(refresh, after),
            FailureClass::MaybeDown if self.is_patient(&refresh) => self.wait_out(refresh),
            FailureClass::RateLimited(after) => self.retry_after(refresh, after),
            FailureClass::Locked => match refresh.phase {
                Phase::Locating {
                    lookup: Lookup::Start, ..
                } => self.follow_lock(refresh),
                _ => self.retry_after(refresh, None),
            },
            FailureClass::Unavailable
            | FailureClass::MaybeDown
            | FailureClass::Unexpected
            | FailureClass::Foreign
            | FailureClass::Internal => self.retry_with_backoff(refresh, failure),
            FailureClass::NotFound => self.on_not_found(refresh, failure),
            FailureClass::TokenRefused if refresh.doubts.token_refused < BELIEVED_AT => {
                let doubts = refresh.doubts.token_refused;
                self.retry_doubted(refresh, doubts)
            }
            FailureClass::Rejected
            | FailureClass::TokenRefused
            | FailureClass::NotSupported
            | FailureClass::UserUnauthorized
            | FailureClass::UserLocked
            | FailureClass::ClientUnauthorized => self.finish_failed(refresh, &failure.into()),
        }
    }

    /// The list of a user's tasks knows a new task, and another of finAPI's machines need not know it yet. A client may delete a web form.
    fn on_not_found(&self, mut refresh: Refresh, failure: Failure) -> Step {
        let is_new = self.context.now < later(refresh.phase_since, NOT_YET_SEEN);
        match refresh.phase {
            Phase::Updating { .. } | Phase::AwaitingUser { .. } if is_new => {
                refresh.doubts = Doubts::default();
                self.retry_doubted(refresh, 1)
            }
            Phase::AwaitingUser { .. } if refresh.doubts.not_found < BELIEVED_AT => {
                let doubts = refresh.doubts.not_found;
                self.retry_doubted(refresh, doubts)
            }
            Phase::AwaitingUser { .. } => {
                let message = "finAPI no longer knows the web form";
                self.finish_failed(refresh, &FailureDetails::of(FailureReason::UserAborted, message, false))
            }
            _ => self.finish_failed(refresh, &failure.into()),
        }
    }

    /// Tries again what has a bound of its own, so that it is no attempt.
    fn retry_doubted(&self, refresh: Refresh, doubts: u32) -> Step {
        let after = self.policy.retry.wait(doubts, self.context.jitter);
        self.retry_in(refresh, after)
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
            // Never sooner than without it: many are asked for the same wait.
            Some(after) => (after + backoff.mul_f64(0.1)).max(backoff),
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

/// Whether it asked for transactions of accounts that may be gone.
fn asks_for_page(refresh: &Refresh) -> bool {
    matches!(refresh.query(), Query::Collect(Wanted { page: Some(_), .. }))
}
