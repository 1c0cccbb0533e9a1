//! When to poll a task, learned from how long updates of its bank took.
//!
//! finAPI says when an update began (the task's `createdAt`) and when it succeeded (the connection's `lastManualUpdate`), so
//! what is learned does not depend on when anybody polled. The polls are put where, over the last updates, the calls and the time
//! until the end was detected would have cost least together.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::id::{BankId, ConnectionId};
use crate::refresh::schedule::{POLL_INTERVAL_MIN, Polling};

/// How many updates of a bank are remembered. A new one takes the place of any of them: updates that began together end in the order of
/// their durations, so the last ones alone would be the longest.
const SAMPLES_MAX: usize = 128;
/// From how many on they are gone by.
const SAMPLES_MIN: usize = 4;
/// The most banks, and the most connections whose bank is known.
const BANKS_MAX: NonZeroUsize = NonZeroUsize::new(5_000).unwrap();
const CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// Updates that took longer say more about the user than about the bank.
const DURATION_MAX: Duration = Duration::from_secs(300);
/// What a poll costs, as seconds until the end is detected.
const POLL_COST: f64 = 0.12;
/// A poll comes so many seconds after the end it expects: finAPI writes its times down a little before others can read them.
const SLACK: f64 = 0.03;

/// A small memory of how long updates take.
#[derive(Debug)]
pub(super) struct PollPlanner {
    polling: Polling,
    banks: LruCache<BankId, Bank>,
    connections: LruCache<ConnectionId, BankId>,
    /// For connections whose bank is not known yet.
    all: Bank,
    random: fastrand::Rng,
}

/// The last durations of a bank, and the polls that follow from them, as times after the start.
#[derive(Debug, Default)]
struct Bank {
    durations: Vec<Duration>,
    since_plan: usize,
    polls: Vec<Duration>,
}

impl PollPlanner {
    pub(super) fn new(polling: Polling) -> Self {
        Self {
            polling,
            banks: LruCache::new(BANKS_MAX),
            connections: LruCache::new(CONNECTIONS_MAX),
            all: Bank::default(),
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// A connection is one to this bank.
    pub(super) fn learn_bank(&mut self, connection_id: ConnectionId, bank_id: BankId) {
        self.connections.put(connection_id, bank_id);
    }

    /// The bank of a connection, where it is known.
    pub(super) fn bank_of(&mut self, connection_id: ConnectionId) -> Option<BankId> {
        self.connections.get(&connection_id).copied()
    }

    /// An update of a bank's connection took so long.
    pub(super) fn observe(&mut self, bank_id: BankId, duration: Duration) {
        if duration > DURATION_MAX {
            return;
        }
        let bank = self.banks.get_or_insert_mut(bank_id, Bank::default);
        bank.record(duration, &mut self.random);
        self.all.record(duration, &mut self.random);
    }

    /// When, after its start, a connection's update that has run for so long is best polled next; none where nothing is
    /// known of that.
    pub(super) fn next_poll(&mut self, connection_id: ConnectionId, runs_for: Duration) -> Option<Duration> {
        if !self.polling.learn {
            return None;
        }
        let bank = self
            .connections
            .get(&connection_id)
            .and_then(|bank_id| self.banks.get(bank_id));
        let bank = bank.filter(|bank| !bank.polls.is_empty()).unwrap_or(&self.all);
        // A poll a second after this one is still the next, though this response took a moment to come.
        let earliest = runs_for + POLL_INTERVAL_MIN.mul_f64(0.8);
        bank.polls.iter().copied().find(|poll| *poll >= earliest)
    }
}

impl Bank {
    fn record(&mut self, duration: Duration, random: &mut fastrand::Rng) {
        if self.durations.len() < SAMPLES_MAX {
            self.durations.push(duration);
        } else if let Some(any) = random.choice(&mut self.durations) {
            *any = duration;
        }
        self.since_plan += 1;
        // Planning goes through all pairs of them, so it waits until up to half of them are new.
        let known = self.durations.len();
        if known >= SAMPLES_MIN && self.since_plan >= known / 2 {
            self.polls = best_polls(&self.durations);
            self.since_plan = 0;
        }
    }
}

/// The polls that would have cost least over some updates: each at the end of one of them, at least a second apart, the
/// last after all. Found from the back, as if what is best after a poll did not depend on those before it, which it hardly does.
fn best_polls(durations: &[Duration]) -> Vec<Duration> {
    let mut ends: Vec<f64> = durations.iter().map(Duration::as_secs_f64).collect();
    ends.sort_by(f64::total_cmp);
    let apart = POLL_INTERVAL_MIN.as_secs_f64();
    let polls: Vec<f64> = ends.iter().map(|end| (end + SLACK).max(apart)).collect();
    let count = ends.len();
    // best[n]: what the updates from n on cost when the poll before was at the end of n - 1, and which poll is next.
    let mut best = vec![(0.0, count); count + 1];
    for from in (0..count).rev() {
        let before = if from == 0 { f64::NEG_INFINITY } else { polls[from - 1] };
        let mut waited = 0.0;
        let mut cheapest = (f64::INFINITY, count - 1);
        for next in from..count {
            let at = polls[next].max(before + apart);
            waited += ends[next];
            let late = at * (next + 1 - from) as f64 - waited;
            let cost = late + POLL_COST * (count - from) as f64 + best[next + 1].0;
            if cost < cheapest.0 {
                cheapest = (cost, next);
            }
        }
        best[from] = cheapest;
    }
    let mut chosen = Vec::new();
    let mut from = 0;
    while from < count {
        let next = best[from].1;
        let at = polls[next].max(chosen.last().map_or(0.0, |last: &Duration| last.as_secs_f64() + apart));
        chosen.push(Duration::from_secs_f64(at));
        from = next + 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planner(millis: impl IntoIterator<Item = u64>) -> PollPlanner {
        let mut planner = PollPlanner::new(Polling::default());
        for duration in millis {
            planner.learn_bank(1.into(), 10.into());
            planner.observe(10.into(), Duration::from_millis(duration));
        }
        planner
    }

    fn polls(planner: &mut PollPlanner, connection_id: i64) -> Vec<u64> {
        let mut polls = Vec::new();
        let mut runs_for = Duration::ZERO;
        while let Some(poll) = planner.next_poll(connection_id.into(), runs_for) {
            polls.push(u64::try_from(poll.as_millis()).expect("few"));
            runs_for = poll;
        }
        polls
    }

    #[test]
    fn nothing_is_learned_from_little() {
        assert_eq!(polls(&mut planner([2000, 2000, 2000]), 1), [0; 0]);
    }

    #[test]
    fn a_steady_bank_is_polled_right_after_its_usual_end() {
        assert_eq!(polls(&mut planner([3100; 8]), 1), [3130]);
    }

    #[test]
    fn a_bank_that_varies_is_polled_often_enough_and_never_twice_a_second() {
        let polls = polls(&mut planner((0..32).map(|n| 1000 + n * 280)), 1);
        assert!((4..=9).contains(&polls.len()), "{polls:?}");
        assert!(polls.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{polls:?}");
    }

    #[test]
    fn two_kinds_of_update_are_polled_after_either() {
        let polls = polls(&mut planner((0..32).map(|n| if n % 2 == 0 { 2000 } else { 9000 })), 1);
        assert_eq!(polls, [2030, 9030]);
    }

    #[test]
    fn the_polls_are_nearly_the_best_there_are() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let durations: Vec<Duration> = (0..7).map(|_| Duration::from_millis(random.u64(1000..9000))).collect();
            let chosen = best_polls(&durations);
            let mut ends: Vec<f64> = durations.iter().map(Duration::as_secs_f64).collect();
            ends.sort_by(f64::total_cmp);
            let cheapest = (0..1_u32 << 6)
                .map(|mask| {
                    let some = ends.iter().enumerate().filter(|(n, _)| *n == 6 || mask >> n & 1 == 1);
                    cost(some.map(|(_, end)| end + SLACK), &ends)
                })
                .fold(f64::INFINITY, f64::min);
            let cost = cost(chosen.iter().map(Duration::as_secs_f64), &ends);
            assert!(cost <= cheapest * 1.15, "{cost} for {cheapest}: {durations:?}");
        }
    }

    /// What polls cost over updates with these ends.
    fn cost(polls: impl Iterator<Item = f64>, ends: &[f64]) -> f64 {
        let mut at = f64::NEG_INFINITY;
        let mut cost = 0.0;
        let mut left = ends.to_vec();
        for poll in polls {
            at = poll.max(at + POLL_INTERVAL_MIN.as_secs_f64());
            cost += POLL_COST * left.len() as f64;
            cost += left.iter().filter(|end| **end <= at).map(|end| at - end).sum::<f64>();
            left.retain(|end| *end > at);
        }
        assert!(left.is_empty());
        cost
    }

    #[test]
    fn banks_are_distinguished_and_unknown_ones_go_by_all() {
        let mut planner = planner([8000; 32]);
        for connection in 2..40 {
            planner.learn_bank(connection.into(), 20.into());
            planner.observe(20.into(), Duration::from_millis(1500));
        }
        assert_eq!(polls(&mut planner, 1), [8030]);
        assert_eq!(polls(&mut planner, 2), [1530]);
        assert_eq!(polls(&mut planner, 999), [1530, 8030]);
    }

    #[test]
    fn the_memory_fades() {
        let mut planner = planner([9000; 32]);
        for _ in 0..20 * SAMPLES_MAX {
            planner.learn_bank(1.into(), 10.into());
            planner.observe(10.into(), Duration::from_millis(2000));
        }
        assert_eq!(polls(&mut planner, 1), [2030]);
    }
}
