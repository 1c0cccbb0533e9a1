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
            "How many refreshes a worker has in flight before it takes no more background commands, and parks what has to wait.",
        );
        list.within(
            "hold_wait_max",
            self.hold_wait_max,
            Duration::ZERO..=5 * MINUTE,
            "The longest wait that is held in memory; longer ones are parked. While background commands wait for room, waits of more \
             than 5s are parked too.",
        );
        list.within(
            "hold_max",
            self.hold_max,
            Duration::ZERO..=5 * MINUTE,
            "The longest time that one delivery is held over several waits. Keep it well below the broker's `consumer_timeout`.",
        );
        list.within(
            "drain_timeout",
            self.drain_timeout,
            Duration::ZERO..=5 * MINUTE,
            "How long the calls in progress may take to end when the worker is asked to stop.",
        );
    }
}
