//! When to poll again. Pure: the jitter is an argument, a fraction from 0 up to but not including 1.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;

pub use super::settings::{Polling, Retry};

/// finAPI allows one poll of a task a second.
pub const POLL_INTERVAL_MIN: Duration = Duration::from_secs(1);

impl Polling {
    /// The wait after a number of polls, growing up to `max`, up to a tenth of it later by jitter so that refreshes that
    /// began together drift apart.
    #[must_use]
    pub fn wait(&self, polls: u32, max: Duration, jitter: f64) -> Duration {
        let wait = match polls.checked_sub(1) {
            None => self.initial.min(max),
            Some(grown) => exponential(self.initial.mul_f32(self.factor - 1.0), self.factor, max, grown),
        };
        (wait + wait.mul_f64(jitter / 10.0)).max(POLL_INTERVAL_MIN)
    }
}

impl Retry {
    /// The wait after the n-th failure in a row (from 1): exponential with full jitter, but never so short that one task would
    /// be polled twice within a second.
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        exponential(self.initial, 2.0, self.max, failures.saturating_sub(1))
            .mul_f64(jitter)
            .max(POLL_INTERVAL_MIN)
    }
}

/// A moment earlier, or the first there is.
pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// A moment later, or the last there is.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn exponential(initial: Duration, factor: f32, max: Duration, step: u32) -> Duration {
    ExponentialBuilder::new()
        .with_min_delay(initial)
        .with_factor(factor)
        .with_max_delay(max)
        .without_max_times()
        .build()
        .nth(step.min(64) as usize)
        .unwrap_or(max)
        .min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_grow_from_the_first_wait_to_the_longest_and_never_come_within_a_second() {
        let polling = Polling::default();
        assert_eq!(polling.wait(0, polling.max, 0.0), Duration::from_millis(1500));
        let mut at = Duration::ZERO;
        for polls in 0..8 {
            let wait = polling.wait(polls, polling.max, 0.0);
            at += wait;
            assert!(
                wait <= POLL_INTERVAL_MIN.max(at.mul_f32(0.4)) || polls == 0,
                "{polls}: {wait:?} of {at:?}"
            );
        }
        assert!(at > Duration::from_secs(15));
        assert_eq!(polling.wait(1000, polling.max, 0.0), Duration::from_secs(10));
        assert!(polling.wait(1000, polling.max, 0.99) < Duration::from_secs(11));
        let hasty = Polling {
            initial: Duration::from_millis(1),
            ..Polling::default()
        };
        assert_eq!(hasty.wait(0, hasty.max, 0.0), POLL_INTERVAL_MIN);
    }

    #[test]
    fn retries_spread_over_the_whole_of_a_growing_wait() {
        let retry = Retry::default();
        assert_eq!(retry.wait(1, 0.0), POLL_INTERVAL_MIN);
        assert_eq!(retry.wait(3, 0.5), Duration::from_secs(4));
        assert_eq!(retry.wait(99, 0.5), Duration::from_secs(30));
    }
}
