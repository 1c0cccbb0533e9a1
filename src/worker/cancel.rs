//! How a cancelled refresh ends: its web form is cancelled, if it has one, and then its outcome is published.

use std::time::Duration;

use jiff::Timestamp;

use super::context::Context;
use super::run::RunStop;
use crate::finapi::{Control, FormCancel};
use crate::refresh::failure::Failure;
use crate::refresh::{Next, Refresh, Step, later};

/// How long after it was cancelled a refresh waits for finAPI to cancel its web form, and never beyond its own deadline. The form ends by itself
/// after 20 minutes.
const FORM_PATIENCE: Duration = Duration::from_secs(60);

/// How long it waits before finAPI is asked again.
const FORM_WAIT: Duration = Duration::from_secs(5);

impl Context {
    /// Ends a refresh if it is cancelled. With a failure its user's token could not be fetched.
    pub(super) async fn end_cancelled(
        &self,
        refresh: &mut Refresh,
        failure: Option<&Failure>,
        control: &Control,
    ) -> Option<RunStop> {
        let now = self.clock.now();
        let since = self.orders().cancel(refresh)?;
        let Some(form) = refresh.web_form() else {
            return Some(ends(refresh, now, false));
        };
        let gives_up_at = later(since, FORM_PATIENCE).min(refresh.deadline(&self.policy));
        if refresh.failures > 0 && refresh.due_at > now {
            // finAPI may have asked for this wait.
            return Some(match refresh.due_at < gives_up_at {
                true => RunStop::Waits,
                false => ends(refresh, now, false),
            });
        }
        // At least once, however long ago it was cancelled: workers may have been away, and the user still has the form.
        let cancel = match failure {
            Some(_) => FormCancel::Failed(FORM_WAIT),
            None => self.finapi.cancel_web_form(refresh, form, control).await,
        };
        let now = self.clock.now();
        let is_too_late = |wait: Duration| later(now, wait) >= gives_up_at;
        Some(match cancel {
            FormCancel::Done => ends(refresh, now, true),
            FormCancel::Failed(wait) if !is_too_late(wait.max(FORM_WAIT)) => {
                refresh.due_at = later(now, wait.max(FORM_WAIT));
                refresh.failures = refresh.failures.saturating_add(1);
                RunStop::Waits
            }
            FormCancel::NeedsRoom(wait) if !is_too_late(wait) => RunStop::NeedsRoom(wait),
            FormCancel::Failed(_) | FormCancel::NeedsRoom(_) | FormCancel::Refused => ends(refresh, now, false),
            FormCancel::NeedsToken => RunStop::NeedsToken,
            FormCancel::Stopped => RunStop::Stopped,
        })
    }
}

fn ends(refresh: &Refresh, now: Timestamp, is_form_cancelled: bool) -> RunStop {
    RunStop::Publishes(Step {
        events: vec![refresh.cancelled(now, is_form_cancelled)],
        next: Next::Done,
    })
}
