//! The rules a refresh follows: every number that the workflow obeys.

use std::time::Duration;

use super::settings::{Limits, Polling, Retry, Transactions};

/// How long a web form can be opened, in finAPI's words.
pub const WEB_FORM_LIFETIME: Duration = Duration::from_secs(20 * 60);

/// How long after its command an interactive refresh waits for a host that may be down. Then failures count as attempts.
pub(super) const INTERACTIVE_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The longest wait for a host that may be down.
pub(super) const OUTAGE_WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// The rules a refresh follows.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// When to poll again.
    pub polling: Polling,
    /// The same for tasks and web forms that finAPI calls back about: a safety net.
    pub fallback_polling: Option<Polling>,
    /// How to retry.
    pub retry: Retry,
    /// The deadlines.
    pub limits: Limits,
    /// What events say.
    pub events: Transactions,
    /// The name of the finAPI client, where it has one.
    pub client: Option<String>,
}
