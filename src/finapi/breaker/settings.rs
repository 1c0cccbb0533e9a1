//! When a host counts as down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::setting::{DAY, Declared, MINUTE, SECOND, Section};

/// When a host counts as down (section `breaker`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub users: usize,
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            users: 3,
            initial: Duration::from_secs(2),
            // Who waits so long is held, and so continues as soon as the breaker closes.
            max: Duration::from_secs(20),
        }
    }
}

impl Section for Settings {
    const NAME: &'static str = "breaker";
    const TITLE: &'static str = "when a host counts as down";

    fn declare(&self, list: &mut Declared) {
        list.within(
            "users",
            self.users,
            1..=500,
            "A host counts as down when the last calls of this number of users failed, and these are at least half of the users that called \
             it lately. If fewer users than that called it within ten minutes, server errors and time-outs use up at most half of \
             `retry.attempts`.",
        );
        // A trial may be the poll of a task, and finAPI allows one of those a second.
        list.within(
            "initial",
            self.initial,
            SECOND..=60 * MINUTE,
            "How long the worker sends nothing to a host that went down. Then a few users may call it. If all their calls fail, the worker \
             sends nothing for twice as long.",
        );
        list.within(
            "max",
            self.max,
            SECOND..=DAY,
            "The longest time for which the worker sends nothing to such a host.",
        )
        .and(self.initial <= self.max, "at least `breaker.initial`");
    }
}
