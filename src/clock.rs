//! The time of day, real or simulated. Only the outermost code reads it; the workflow gets it as an argument.

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};
use tokio::time::Instant;

/// German time, in which finAPI writes its times and counts its days. Compiled in, so it can't be missing.
pub static GERMANY: TimeZone = tz::get!("Europe/Berlin");

/// Knows the time of day. Cheap to copy.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// A time of day that advances as fast as tokio's clock, which tests can pause.
    Tokio {
        /// The time of day at `origin`.
        start: Timestamp,
        /// The moment `start` names.
        origin: Instant,
    },
}

impl Clock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        let origin = Instant::now();
        Self::Tokio { start, origin }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Tokio { start, origin } => start.saturating_add(origin.elapsed()).unwrap_or(Timestamp::MAX),
        }
    }

    /// When tokio's clock will have reached a time of day; now, if that has passed.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        let wait = at.duration_since(self.now());
        Instant::now() + wait.try_into().unwrap_or_default()
    }
}
