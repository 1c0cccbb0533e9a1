//! The pauses that there are and were.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::{Pause, Target};
use crate::id::BankId;
use crate::refresh::Refresh;

/// The most targets that are paused at a time.
pub(super) const PAUSES_MAX: usize = 1_000;

/// How many pauses that are over are remembered, for the age of those that they kept waiting.
const OVER_MAX: usize = 10_000;

/// Pauses in force by target, and those that are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses {
    current: BTreeMap<Target, Pause>,
    over: VecDeque<Over>,
}

/// A pause that is over.
#[derive(Clone, Debug)]
struct Over {
    target: Target,
    from: Timestamp,
    to: Timestamp,
    /// When somebody resumed, if it ended so.
    resumed_at: Option<Timestamp>,
}

impl Pauses {
    /// Whether there is room for it, beside those that are in force. One that is known already changes nothing: its sender published it again,
    /// and it may come after its end.
    pub(super) fn pause(&mut self, pause: Pause, now: Timestamp) -> bool {
        if self.knows(&pause) {
            return true;
        }
        self.end(&pause.target, pause.since, None);
        if self.current.len() >= PAUSES_MAX {
            self.end_overdue(now);
        }
        let fits = self.current.len() < PAUSES_MAX;
        if fits {
            self.current.insert(pause.target.clone(), pause);
        }
        fits
    }

    fn knows(&self, pause: &Pause) -> bool {
        let is_in_force = self
            .current
            .get(&pause.target)
            .is_some_and(|it| it.since == pause.since);
        let is_same = |over: &Over| over.target == pause.target && over.from == pause.since;
        is_in_force || self.over.iter().any(is_same)
    }

    /// Ends the pause of a target. A resume that has ended one already ends no other: its sender published it again.
    pub(super) fn resume(&mut self, target: &Target, at: Timestamp) {
        let is_same = |over: &Over| over.target == *target && over.resumed_at == Some(at);
        if !self.over.iter().any(is_same) {
            self.end(target, at, Some(at));
        }
    }

    fn end(&mut self, target: &Target, at: Timestamp, resumed_at: Option<Timestamp>) {
        if let Some(pause) = self.current.remove(target) {
            let to = pause.ends_at().min(at);
            self.over.push_back(Over {
                from: pause.since,
                target: pause.target,
                to,
                resumed_at,
            });
            if self.over.len() > OVER_MAX {
                self.over.pop_front();
            }
        }
    }

    /// Ends what is over by itself.
    pub(super) fn end_overdue(&mut self, now: Timestamp) {
        let overdue = self.current.values().filter(|pause| pause.ends_at() <= now);
        let overdue: Vec<Target> = overdue.map(|pause| pause.target.clone()).collect();
        for target in overdue {
            self.end(&target, now, None);
        }
    }

    /// Forgets what was over before a moment.
    pub(super) fn forget(&mut self, before: Timestamp) {
        self.over.retain(|over| before <= over.to);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.is_empty() && self.over.is_empty()
    }

    pub(super) fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Pause> {
        let is_in_force = move |pause: &&Pause| now < pause.ends_at();
        self.current.values().filter(is_in_force)
    }

    /// When the next of them is over.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.in_force(now).map(Pause::ends_at).min()
    }

    /// How long pauses kept a refresh waiting, from one moment to another; two at once count once.
    pub(super) fn kept_waiting(
        &self,
        refresh: &Refresh,
        bank: Option<BankId>,
        from: Timestamp,
        to: Timestamp,
    ) -> Duration {
        self.lasted(|target| target.matches(refresh, bank), from, to)
    }

    /// The same of any refresh.
    pub(super) fn kept_any_waiting(&self, from: Timestamp, to: Timestamp) -> Duration {
        self.lasted(|_| true, from, to)
    }

    fn lasted(&self, matches: impl Fn(&Target) -> bool, from: Timestamp, to: Timestamp) -> Duration {
        let over = self.over.iter().map(|over| (&over.target, over.from, over.to));
        let current = self.current.values();
        let current = current.map(|pause| (&pause.target, pause.since, pause.ends_at()));
        let all = over.chain(current).filter(|(target, ..)| matches(target));
        let mut times: Vec<_> = all.map(|(_, begin, end)| (begin.max(from), end.min(to))).collect();
        times.sort_unstable();
        let mut sum = Duration::ZERO;
        let mut counted = from;
        for (begin, end) in times {
            let begin = begin.max(counted);
            if begin < end {
                sum += Duration::try_from(end.duration_since(begin)).unwrap_or_default();
                counted = end;
            }
        }
        sum
    }
}
