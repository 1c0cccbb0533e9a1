//! How fast commands are published.

use std::time::Duration;

/// How many commands are published together at most.
pub(super) const GROUP_MAX: usize = 100;

/// The shortest time between two groups, if there is a pace: each costs a sync of the results file.
pub(super) const GROUP_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A number of commands for each second, minute or hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    interval: Duration,
}

/// Reads `5/s`, `300/min` or `20/h`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || "must be a number for each s, min or h, such as 5/s or 300/min".to_owned();
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    match count.trim().parse::<u32>() {
        Ok(count @ 1..=100_000) => Ok(Rate {
            interval: Duration::from_secs(seconds) / count,
        }),
        _ => Err(wrong()),
    }
}

/// When which command is due. The first one is due at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    interval: Duration,
}

impl Pace {
    /// A time for all commands together, or a rate, or as fast as the broker takes them. What is left of a batch keeps its pace.
    pub(super) fn new(spread: Option<Duration>, rate: Option<Rate>, commands: usize) -> Self {
        let spread = spread.map(|spread| spread / u32::try_from(commands.max(1)).unwrap_or(u32::MAX));
        let interval = rate.map(|rate| rate.interval).or(spread).unwrap_or_default();
        Self { interval }
    }

    /// How many commands may be published now, when some have been since the start.
    pub(super) fn room(self, since_start: Duration, published: usize) -> usize {
        if self.interval.is_zero() {
            return GROUP_MAX;
        }
        let due = since_start.as_nanos() / self.interval.as_nanos() + 1;
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        due.saturating_sub(published).min(GROUP_MAX)
    }

    pub(super) fn is_limited(self) -> bool {
        !self.interval.is_zero()
    }

    /// When the next one is due, since the start.
    pub(super) fn next(self, published: usize) -> Duration {
        self.interval
            .saturating_mul(u32::try_from(published).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_takes_its_time_and_a_rate_its_own() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let pace = Pace::new(Some(minutes(10)), None, 20_000);
        assert_eq!(pace.room(Duration::ZERO, 0), 1);
        assert_eq!(pace.room(Duration::from_secs(1), 0), 34);
        assert_eq!(pace.room(Duration::from_secs(1), 34), 0);
        assert_eq!(pace.next(34), Duration::from_millis(1020));
        assert_eq!(pace.next(19_999), minutes(10) - Duration::from_millis(30));
        // Who was away catches up group by group.
        assert_eq!(pace.room(minutes(5), 10), GROUP_MAX);
        let pace = Pace::new(None, Some(rate("300/min").expect("a rate")), 7);
        assert_eq!(pace.next(1), Duration::from_millis(200));
        assert_eq!(Pace::default().room(Duration::ZERO, 1_000_000), GROUP_MAX);
    }

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        assert_eq!(rate("20/h").expect("a rate").interval, minutes_3());
        for wrong in ["5", "5/d", "0/s", "-1/s", "fast/s", "1000000/s", ""] {
            assert!(rate(wrong).is_err(), "{wrong:?}");
        }
    }

    fn minutes_3() -> Duration {
        Duration::from_secs(180)
    }
}
