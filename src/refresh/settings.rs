//! Every number that the workflow obeys and an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::EVENT_BYTES_MAX;
use crate::setting::{DAY, Declared, MINUTE, SECOND, Section, Value};

/// How often finAPI is asked about something that is not over yet (section `polling`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Polling {
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    pub factor: f32,
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    pub learn: bool,
    #[serde(with = "humantime_serde")]
    pub web_form_max: Duration,
    #[serde(with = "humantime_serde")]
    pub locked_max: Duration,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(1500),
            factor: 1.4,
            learn: true,
            max: Duration::from_secs(10),
            web_form_max: Duration::from_secs(30),
            locked_max: Duration::from_secs(60),
        }
    }
}

impl Section for Polling {
    const NAME: &'static str = "polling";
    const TITLE: &'static str = "when to poll again";

    fn declare(&self, list: &mut Declared) {
        let not_shorter = "at least `polling.initial`";
        list.within(
            "initial",
            self.initial,
            SECOND..=MINUTE,
            "The wait before a task is polled for the first time.",
        );
        list.within(
            "factor",
            self.factor,
            1.0..=10.0,
            "The factor by which the time since the start grows from one poll to the next. With 1.4 the worker detects the end of an update \
             late by at most 40 % of the update's duration, or by a second. With 1 it polls every second.",
        );
        list.within(
            "max",
            self.max,
            SECOND..=DAY,
            "The longest wait between two polls of a task, or of a connection that is not ready.",
        )
        .and(self.initial <= self.max, not_shorter);
        list.any(
            "learn",
            &self.learn,
            "Whether the worker first polls a task when updates of that bank are usually over, instead of after `polling.initial`.",
        );
        list.within(
            "web_form_max",
            self.web_form_max,
            SECOND..=20 * MINUTE,
            "The longest wait between two polls of a web form.",
        )
        .and(self.initial <= self.web_form_max, not_shorter);
        list.within(
            "locked_max",
            self.locked_max,
            SECOND..=DAY,
            "While another update locks a connection: the longest wait before the worker tries again to start an update.",
        )
        .and(self.initial <= self.locked_max, not_shorter);
    }
}

/// How transient trouble is retried (section `retry`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Retry {
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(2),
            max: Duration::from_secs(60),
            attempts: 12,
        }
    }
}

impl Section for Retry {
    const NAME: &'static str = "retry";
    const TITLE: &'static str = "how transient trouble is retried";

    fn declare(&self, list: &mut Declared) {
        list.within(
            "initial",
            self.initial,
            Duration::from_millis(1)..=MINUTE,
            "The longest wait before the first retry. The waits are random, and their limit doubles with each failure in a row.",
        );
        list.within(
            "max",
            self.max,
            Duration::from_millis(1)..=DAY,
            "The longest wait before any retry, unless finAPI asks for a longer one by `Retry-After`.",
        )
        .and(self.initial <= self.max, "at least `retry.initial`");
        list.within(
            "attempts",
            self.attempts,
            1..=1000,
            "How often in a row a call may fail before the refresh fails. Failures while the host is down do not count.",
        );
    }
}

/// How long things may take (section `limits`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Limits {
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
    #[serde(with = "humantime_serde")]
    pub updating: Duration,
    #[serde(with = "humantime_serde")]
    pub settling: Duration,
    #[serde(with = "humantime_serde")]
    pub settling_quiet: Duration,
    #[serde(with = "humantime_serde")]
    pub start_visible: Duration,
    #[serde(with = "humantime_serde")]
    pub web_form_grace: Duration,
    #[serde(with = "humantime_serde")]
    pub clock_skew: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(24 * 3600),
            updating: Duration::from_secs(30 * 60),
            settling: Duration::from_secs(30 * 60),
            settling_quiet: Duration::from_secs(15),
            start_visible: Duration::from_secs(45),
            web_form_grace: Duration::from_secs(5 * 60),
            clock_skew: Duration::from_secs(2),
        }
    }
}

impl Section for Limits {
    const NAME: &'static str = "limits";
    const TITLE: &'static str = "how long things may take";

    fn declare(&self, list: &mut Declared) {
        list.within(
            "refresh",
            self.refresh,
            MINUTE..=30 * DAY,
            "How long a refresh may take, from the command's `requested_at` to its outcome.",
        );
        list.within(
            "updating",
            self.updating,
            SECOND..=DAY,
            "How long finAPI may report a task as running.",
        );
        list.within(
            "settling",
            self.settling,
            SECOND..=DAY,
            "How long finAPI may take to store what a task imported.",
        );
        list.within(
            "settling_quiet",
            self.settling_quiet,
            Duration::ZERO..=MINUTE,
            "How long the worker waits for this update's data if the connection is READY, but the times of its last updates are from before \
             the task. After this time the worker reads what there is. If `lastManualUpdate` is of this update, the worker does not wait.",
        );
        list.within(
            "start_visible",
            self.start_visible,
            SECOND..=DAY,
            "When the answer to a start was lost: how long the task may be missing in finAPI's list of tasks. Only after that time the \
             worker starts the update again.",
        );
        list.within(
            "web_form_grace",
            self.web_form_grace,
            Duration::ZERO..=DAY,
            "How long finAPI may report a web form as open after the form has expired.",
        );
        list.within(
            "clock_skew",
            self.clock_skew,
            Duration::ZERO..=MINUTE,
            "How far a sender's clock may differ from finAPI's clock. The worker compares times of both to find the task of a command. It \
             measures finAPI's clock. Until it has done so, its own clock may differ by as much.",
        );
    }
}

/// What `TransactionsUpdated` says (section `events`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Transactions {
    pub transactions: Detail,
    pub size_max: usize,
    #[serde(with = "humantime_serde")]
    pub margin: Duration,
    #[serde(with = "humantime_serde")]
    pub consent_warning: Duration,
}

/// How much of the transactions an event carries.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// All of it.
    #[default]
    Inline,
    /// Only how many there are and since when, for platforms that keep personal data off the bus.
    Summary,
}

impl Value for Detail {
    const KIND: &'static str = "`inline` or `summary`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            transactions: Detail::Inline,
            size_max: 512 * 1024,
            margin: Duration::from_secs(3600),
            consent_warning: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

impl Section for Transactions {
    const NAME: &'static str = "events";
    const TITLE: &'static str = "what events say";

    fn declare(&self, list: &mut Declared) {
        list.any(
            "transactions",
            &self.transactions,
            "With `inline`, events have the transactions themselves. With `summary`, they have only how many transactions there are and from \
             which date on, so that no transaction is on the broker.",
        );
        list.within(
            "size_max",
            self.size_max,
            64 * 1024..=EVENT_BYTES_MAX,
            "The most bytes of one event. A larger outcome goes into several parts. Keep it below the broker's `max_message_size`.",
        );
        list.within(
            "margin",
            self.margin,
            Duration::ZERO..=7 * DAY,
            "How long after its import date finAPI may store a transaction. `covered_until` is this long before the worker began to read. \
             Without `transactions_since`, `covered_from` is this long before the update. With a longer margin, workers publish more \
             transactions twice.",
        );
        list.within(
            "consent_warning",
            self.consent_warning,
            Duration::ZERO..=365 * DAY,
            "From this long before a consent ends, events say that it expires soon.",
        );
    }
}
