//! When to look at a task first: learned from how long updates of its bank took.
//!
//! finAPI says when an update began (the task's `createdAt`) and when it succeeded (the connection's `lastManualUpdate`), so
//! what is learned does not depend on when anybody looked. The first look is put where, over the last updates, the calls and the
//! time until the end was noticed would have cost least together.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::refresh::schedule::{LOOK_INTERVAL_MIN, Polling};

/// How many updates of a bank are remembered.
const SAMPLES_MAX: usize = 32;
/// From how many on they are gone by.
const SAMPLES_MIN: usize = 4;
/// The most banks, and the most connections whose bank is known.
const BANKS_MAX: NonZeroUsize = NonZeroUsize::new(5_000).unwrap();
const CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// Updates that took longer say more about the user than about the bank.
const DURATION_MAX: Duration = Duration::from_secs(300);
/// What a look costs, as time until the end is noticed.
const LOOK_COST: Duration = Duration::from_millis(300);
/// A look comes so much after the end it expects: finAPI writes its times down a little before others can read them.
const SLACK: Duration = Duration::from_millis(30);

/// A small memory of how long updates take.
#[derive(Debug)]
pub(super) struct Learned {
    polling: Polling,
    banks: LruCache<i64, Bank>,
    connections: LruCache<i64, i64>,
    /// For connections whose bank is not known yet.
    all: Bank,
}

/// The last durations of a bank, and the first look that follows from them.
#[derive(Debug, Default)]
struct Bank {
    durations: Vec<Duration>,
    next: usize,
    first_look: Option<Duration>,
}

impl Learned {
    pub(super) fn new(polling: Polling) -> Self {
        Self {
            polling,
            banks: LruCache::new(BANKS_MAX),
            connections: LruCache::new(CONNECTIONS_MAX),
            all: Bank::default(),
        }
    }

    /// An update of a connection took so long.
    pub(super) fn record(&mut self, connection_id: i64, bank_id: i64, duration: Duration) {
        if duration > DURATION_MAX {
            return;
        }
        self.connections.put(connection_id, bank_id);
        let bank = self.banks.get_or_insert_mut(bank_id, Bank::default);
        bank.record(duration, &self.polling);
        self.all.record(duration, &self.polling);
    }

    /// When, after its start, a connection's update is usually done.
    pub(super) fn first_look(&mut self, connection_id: i64) -> Option<Duration> {
        let bank = self
            .connections
            .get(&connection_id)
            .and_then(|bank_id| self.banks.get(bank_id));
        bank.and_then(|bank| bank.first_look).or(self.all.first_look)
    }
}

impl Bank {
    fn record(&mut self, duration: Duration, polling: &Polling) {
        if self.durations.len() < SAMPLES_MAX {
            self.durations.push(duration);
        } else {
            self.durations[self.next] = duration;
            self.next = (self.next + 1) % SAMPLES_MAX;
        }
        if self.durations.len() >= SAMPLES_MIN {
            self.first_look = best_first_look(&self.durations, polling);
        }
    }
}

/// The best time is right after one of the ends: any other could be earlier without missing one.
fn best_first_look(durations: &[Duration], polling: &Polling) -> Option<Duration> {
    let candidates = durations.iter().map(|end| (*end + SLACK).max(LOOK_INTERVAL_MIN));
    candidates.min_by_key(|first| {
        durations
            .iter()
            .map(|end| cost(*first, *end, polling))
            .sum::<Duration>()
    })
}

/// What it costs to look first at `first` when the end is at `end`.
fn cost(first: Duration, end: Duration, polling: &Polling) -> Duration {
    let mut at = first;
    let mut looks = 0;
    while at < end {
        at += polling.wait(looks, polling.max, 0.5);
        looks += 1;
    }
    at.saturating_sub(end) + LOOK_COST * (looks + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(millis: impl IntoIterator<Item = u64>) -> Learned {
        let mut learned = Learned::new(Polling::default());
        for duration in millis {
            learned.record(1, 10, Duration::from_millis(duration));
        }
        learned
    }

    #[test]
    fn nothing_is_learned_from_little() {
        assert_eq!(learned([2000, 2000, 2000]).first_look(1), None);
    }

    #[test]
    fn a_steady_bank_is_looked_at_right_after_its_usual_end() {
        assert_eq!(learned([3100; 8]).first_look(1), Some(Duration::from_millis(3130)));
    }

    #[test]
    fn a_bank_that_varies_a_little_is_looked_at_once() {
        let first = learned((0..32).map(|n| 2000 + n * 31))
            .first_look(1)
            .expect("a first look");
        assert!(first >= Duration::from_millis(2700), "{first:?}");
    }

    #[test]
    fn banks_are_told_apart_and_unknown_ones_go_by_all() {
        let mut learned = learned([8000; 32]);
        for connection in 2..40 {
            learned.record(connection, 20, Duration::from_millis(1500));
        }
        assert_eq!(learned.first_look(1), Some(Duration::from_millis(8030)));
        assert_eq!(learned.first_look(2), Some(Duration::from_millis(1530)));
        assert_eq!(learned.first_look(999), Some(Duration::from_millis(1530)));
    }

    #[test]
    fn the_memory_is_of_the_last_updates() {
        let mut learned = learned([9000; 32]);
        for _ in 0..SAMPLES_MAX {
            learned.record(1, 10, Duration::from_millis(2000));
        }
        assert_eq!(learned.first_look(1), Some(Duration::from_millis(2030)));
    }
}
