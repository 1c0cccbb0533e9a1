//! The rules a refresh follows: every number that the workflow obeys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Transactions;
use super::schedule::{Polling, Retry};

/// How long a web form can be opened, in finAPI's words.
pub const WEB_FORM_LIFETIME: Duration = Duration::from_secs(20 * 60);

/// The rules a refresh follows.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// When to look again.
    pub polling: Polling,
    /// The same for tasks and web forms that finAPI calls back about: a safety net.
    pub beside_callbacks: Option<Polling>,
    /// How to retry.
    pub retry: Retry,
    /// The deadlines.
    pub limits: Limits,
    /// What events say.
    pub events: Transactions,
}

/// How long things may take (section `limits`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From the command's `requested_at` to its outcome. At least 1 m.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
    /// How long finAPI may call a task running. At least 1 s.
    #[serde(with = "humantime_serde")]
    pub updating: Duration,
    /// How long after a web form's end finAPI may still call it open.
    #[serde(with = "humantime_serde")]
    pub web_form_grace: Duration,
    /// How long finAPI may take to store what a task brought. At least 1 s.
    #[serde(with = "humantime_serde")]
    pub settling: Duration,
    /// How far finAPI's clock may be behind ours when tasks are recognised by their time. At most 1 m.
    #[serde(with = "humantime_serde")]
    pub clock_skew: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(24 * 3600),
            updating: Duration::from_secs(30 * 60),
            web_form_grace: Duration::from_secs(5 * 60),
            settling: Duration::from_secs(30 * 60),
            clock_skew: Duration::from_secs(2),
        }
    }
}
