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
            "How much later after the start each poll comes than the one before. With 1.4 the worker detects the end of an update at most \
             40 % of its duration late, or a second. With 1 it polls every second.",
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
            "Whether a task is polled first when updates of its bank are usually done, instead of after `polling.initial`.",
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
            "The longest wait before a locked connection is tried again.",
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
            "No wait is longer, unless finAPI asks for a longer one by `Retry-After`.",
        )
        .and(self.initial <= self.max, "at least `retry.initial`");
        list.within(
            "attempts",
            self.attempts,
            1..=1000,
            "How often in a row a call may fail before the refresh fails. While a host is down, nothing is counted.",
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
            "How long the worker waits for this update's data while the connection is READY but its own update times are from before the \
             task. Then it reads what there is. If `lastManualUpdate` is of this update, it does not wait.",
        );
        list.within(
            "start_visible",
            self.start_visible,
            SECOND..=DAY,
            "How long the list of tasks may lack a start whose answer was lost. Only after that time the worker asks for another start.",
        );
        list.within(
            "web_form_grace",
            self.web_form_grace,
            Duration::ZERO..=DAY,
            "How long after a web form's end finAPI may still report it as open.",
        );
        list.within(
            "clock_skew",
            self.clock_skew,
            Duration::ZERO..=MINUTE,
            "How far a sender's clock may be from finAPI's clock. A task is recognized by its time. The worker measures finAPI's clock; \
             until it has, the same limit holds for the worker's clock.",
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
            "Whether events carry the transactions themselves, or only how many there are and since when, to keep transactions off the \
             broker.",
        );
        list.within(
            "size_max",
            self.size_max,
            64 * 1024..=EVENT_BYTES_MAX,
            "The most bytes of one event; the rest goes into further parts. Keep it below the broker's `max_message_size`.",
        );
        list.within(
            "margin",
            self.margin,
            Duration::ZERO..=7 * DAY,
            "How late finAPI may store what it imported. `covered_until` is this long before the reading. Without `transactions_since`, \
             `covered_from` is this long before the update. A longer margin publishes more transactions twice.",
        );
        list.within(
            "consent_warning",
            self.consent_warning,
            Duration::ZERO..=365 * DAY,
            "How long before its end a consent is reported to expire soon.",
        );
    }
}
