//! How much a worker takes on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a worker takes on (section `worker`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many refreshes it has in hand before it takes no more background commands, and parks what has to wait instead of
    /// holding it. 1 to 60000.
    pub in_flight: u16,
    /// The longest wait that is held; longer ones are parked.
    #[serde(with = "humantime_serde")]
    pub hold_wait_max: Duration,
    /// The longest one delivery is held over several waits, well under the broker's `consumer_timeout`.
    #[serde(with = "humantime_serde")]
    pub hold_max: Duration,
    /// How long calls that are under way may take to end when the worker is told to stop.
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
