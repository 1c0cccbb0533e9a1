//! How much a worker takes on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::setting::{Declared, MINUTE, Section};

/// How much a worker takes on (section `worker`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub in_flight: u16,
    #[serde(with = "humantime_serde")]
    pub hold_wait_max: Duration,
    #[serde(with = "humantime_serde")]
    pub hold_max: Duration,
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_flight: 2000,
            hold_wait_max: Duration::from_secs(30),
            hold_max: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(6),
        }
    }
}

impl Section for Settings {
    const NAME: &'static str = "worker";
    const TITLE: &'static str = "how much a worker takes on";

    fn declare(&self, list: &mut Declared) {
        list.within(
            "in_flight",
            self.in_flight,
            1..=60_000,
            "The number of refreshes in flight from which on a worker takes no more background commands, and parks each refresh that has to wait.",
        );
        list.within(
            "hold_wait_max",
            self.hold_wait_max,
            Duration::ZERO..=5 * MINUTE,
            "The longest wait for which the worker holds a refresh in memory. For a longer wait it parks the refresh. While background \
             commands wait for room, it also parks a refresh for a wait of more than 5s.",
        );
        list.within(
            "hold_max",
            self.hold_max,
            Duration::ZERO..=5 * MINUTE,
            "The longest time for which the worker holds one delivery, all its waits together. Keep it well below the broker's `consumer_timeout`.",
        );
        list.within(
            "drain_timeout",
            self.drain_timeout,
            Duration::ZERO..=5 * MINUTE,
            "When the worker is asked to stop: how long it waits for calls that are in progress.",
        );
    }
}
