//! The last hour, minute by minute: outcomes, the time to them, and how full the queues were.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::refreshes::Change;

/// How many minutes are kept.
pub(in crate::console) const MINUTES_MAX: usize = 60;

/// How many buckets times to outcome are counted in. The last one begins at about nine hours.
const BUCKETS: usize = 64;

/// The first bucket ends here; each one is a quarter longer than the one before.
const FIRST_BUCKET_SECONDS: f64 = 0.05;
const GROWTH: f64 = 1.25;

/// The minutes, the oldest first. A minute in which nothing came is missing.
#[derive(Debug, Default)]
pub(in crate::console) struct Minutes(VecDeque<Minute>);

/// One minute.
#[derive(Clone, Debug)]
pub(in crate::console) struct Minute {
    /// Since 1970.
    pub(in crate::console) number: i64,
    /// Outcomes by their names.
    pub(in crate::console) outcomes: BTreeMap<&'static str, u64>,
    pub(in crate::console) failed: u64,
    pub(in crate::console) updated: u64,
    /// How often a user was asked.
    pub(in crate::console) asked: u64,
    times: [u32; BUCKETS],
    /// The last one.
    pub(in crate::console) sample: Option<Sample>,
}

/// How all workers and the queues were at one moment. A depth that nobody knows is none.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::console) struct Sample {
    pub(in crate::console) interactive: Option<u32>,
    pub(in crate::console) background: Option<u32>,
    pub(in crate::console) in_flight: u64,
    pub(in crate::console) parked: Option<u32>,
    /// Calls of finAPI that run, and how many may.
    pub(in crate::console) calls: usize,
    pub(in crate::console) calls_limit: usize,
}

impl Minute {
    fn new(number: i64) -> Self {
        Self {
            number,
            outcomes: BTreeMap::new(),
            failed: 0,
            updated: 0,
            asked: 0,
            times: [0; BUCKETS],
            sample: None,
        }
    }
}

impl Minutes {
    fn at(&mut self, now: Timestamp) -> &mut Minute {
        let number = number(now);
        if self.0.back().is_none_or(|last| last.number < number) {
            self.0.push_back(Minute::new(number));
        }
        while self.0.len() > MINUTES_MAX {
            self.0.pop_front();
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    pub(super) fn count(&mut self, change: Change, now: Timestamp) {
        let minute = self.at(now);
        match change {
            Change::None => {}
            Change::Asked => minute.asked += 1,
            Change::Ended { name, is_failure, took } => {
                *minute.outcomes.entry(name).or_default() += 1;
                match is_failure {
                    true => minute.failed += 1,
                    false => minute.updated += 1,
                }
                if let Some(took) = took {
                    minute.times[bucket(took)] += 1;
                }
            }
        }
    }

    pub(super) fn sample(&mut self, sample: Sample, now: Timestamp) {
        self.at(now).sample = Some(sample);
    }

    /// The last minutes up to now, the oldest first; none for one in which nothing came.
    pub(in crate::console) fn last_hour(&self, now: Timestamp) -> Vec<Option<&Minute>> {
        let last = number(now);
        let first = last - i64::try_from(MINUTES_MAX).unwrap_or(0) + 1;
        let find = |number| self.0.iter().find(|minute| minute.number == number);
        (first..=last).map(find).collect()
    }
}

fn number(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn bucket(took: Duration) -> usize {
    let steps = (took.as_secs_f64().max(FIRST_BUCKET_SECONDS) / FIRST_BUCKET_SECONDS).log(GROWTH);
    (steps.ceil() as usize).min(BUCKETS - 1)
}

/// About how long this share of refreshes took at most, in seconds, over some minutes.
pub(in crate::console) fn percentile<'a>(minutes: impl Iterator<Item = &'a Minute>, share: f64) -> Option<f64> {
    let mut times = [0u64; BUCKETS];
    for minute in minutes {
        for (sum, count) in times.iter_mut().zip(minute.times) {
            *sum += u64::from(count);
        }
    }
    let all: u64 = times.iter().sum();
    let wanted = ((all as f64) * share).ceil() as u64;
    let mut below = 0;
    for (steps, count) in (0..).zip(times) {
        below += count;
        if count > 0 && below >= wanted {
            return Some(FIRST_BUCKET_SECONDS * GROWTH.powi(steps));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_quarter() {
        let now = Timestamp::from_second(600).expect("a time");
        let mut minutes = Minutes::default();
        for milliseconds in 1..=1000 {
            let took = Some(Duration::from_millis(milliseconds * 10));
            minutes.count(
                Change::Ended {
                    name: "silent",
                    is_failure: false,
                    took,
                },
                now,
            );
        }
        let hour = minutes.last_hour(now);
        assert_eq!(hour.len(), MINUTES_MAX);
        assert_eq!(hour.iter().flatten().map(|minute| minute.updated).sum::<u64>(), 1000);
        for (share, exact) in [(0.5, 5.0), (0.95, 9.5)] {
            let found = percentile(hour.iter().copied().flatten(), share).expect("some");
            assert!((exact..exact * GROWTH).contains(&found), "{share}: {found}");
        }
        assert_eq!(percentile(std::iter::empty(), 0.5), None);
    }

    #[test]
    fn an_hour_is_kept_however_long_it_runs() {
        let mut minutes = Minutes::default();
        for minute in 0..200 {
            let now = Timestamp::from_second(minute * 60).expect("a time");
            minutes.count(Change::Asked, now);
        }
        assert_eq!(minutes.0.len(), MINUTES_MAX);
    }
}
