//! The messages of the quarantine that this worker has, and which of them is tried next.
//!
//! Most of them kill nobody, so those that never came back from the quarantine are tried together. One that came back is tried alone, after
//! the others. It is not even read before, because reading may be what kills workers.
//!
//! If one of them kills the worker, all that the worker has of the quarantine comes back, and the broker counts one more return of each. So if
//! several of them kill, a healthy one could be given up with them. Against that, a worker takes one message first, and more only if that one
//! came back a few times at most. What came back more often is tried before the others.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use fastrand::Rng;

use crate::broker::{Delivery, Tag};

use super::scheduler::{Now, QUARANTINE_TRIES, Receipt};

/// How many messages of the quarantine a worker has at once. Each of them comes back when one of them kills the worker.
pub(super) const TRIALS_MAX: u16 = 16;

/// If the first message came back this often, the worker takes no other one before it has tried it. If others did, they are tried before the
/// rest. A healthy message can still be given up, if it is taken together with several that kill and loses each draw. In a model with twenty
/// that kill, this happened with a third of [`QUARANTINE_TRIES`], and not with a sixth.
const OFTEN: u32 = QUARANTINE_TRIES / 6;

/// When a message is tried, then its place among those. When one that kills workers is tried, those that wait behind it come back as
/// well, so the places are drawn: each life of a worker has another order.
type Turn = (Returns, u64, Tag);

/// How often a message came back from the quarantine, in the order of the trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Returns {
    Often,
    Never,
    Rarely,
}

/// How long one that came back waits for those that the broker delivers with it. Else the first in the queue would always be tried first.
const COMPANY_WAIT: Duration = Duration::from_millis(250);

/// A message whose trial has not begun.
#[derive(Debug)]
pub(super) struct Untried {
    pub(super) delivery: Delivery,
    pub(super) receipt: Receipt,
    /// When it came in.
    pub(super) arrived: Now,
}

/// What this worker has not acknowledged of the quarantine.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// Decides on the order.
    seed: u64,
    waiting: BTreeMap<Turn, Untried>,
    /// When the last one came in.
    last: Duration,
    tried: HashSet<Tag>,
    /// The one that is tried came back from there.
    is_alone: bool,
    /// One that came back a few times at most has come over this connection.
    is_wide: bool,
}

impl Trials {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// How many messages this worker may have now.
    pub(super) fn prefetch(&self) -> u16 {
        if self.is_wide { TRIALS_MAX } else { 1 }
    }

    pub(super) fn push(&mut self, untried: Untried) {
        let tag = untried.receipt.tag();
        let returns = match untried.receipt.redeliveries() {
            0 => Returns::Never,
            1..OFTEN => Returns::Rarely,
            OFTEN.. => Returns::Often,
        };
        self.is_wide |= returns != Returns::Often;
        let mut random = Rng::with_seed(self.seed ^ tag.generation.rotate_left(32) ^ tag.number);
        let turn = (returns, random.u64(..), tag);
        self.last = untried.arrived.since_start;
        self.waiting.insert(turn, untried);
    }

    /// When the next trial may begin, if no other one keeps it waiting.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let ((returns, ..), _) = self.waiting.first_key_value()?;
        match returns {
            Returns::Never if !self.is_alone => Some(Duration::ZERO),
            Returns::Often | Returns::Rarely if self.tried.is_empty() => Some(self.last + COMPANY_WAIT),
            _ => None,
        }
    }

    /// The next one, if its trial may begin.
    pub(super) fn next(&mut self, now: Now) -> Option<Untried> {
        self.next_due().filter(|due| *due <= now.since_start)?;
        let first = self.waiting.first_entry()?;
        let (returns, ..) = *first.key();
        let untried = first.remove();
        self.is_alone = returns != Returns::Never;
        self.tried.insert(untried.receipt.tag());
        Some(untried)
    }

    /// A trial is over: what it led to is confirmed.
    pub(super) fn on_acknowledge(&mut self, tag: Tag) {
        if self.tried.remove(&tag) {
            self.is_alone = false;
        }
    }

    /// All that wait, where none is tried any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Untried> + use<> {
        let empty = Self::new(self.seed);
        std::mem::replace(self, empty).waiting.into_values()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::scheduler::Origin;
    use super::*;
    use crate::broker::Message;

    fn push(trials: &mut Trials, number: u64, redeliveries: u32) {
        let tag = Tag {
            generation: 1,
            subscription: 3,
            number,
        };
        let arrived = at(Duration::ZERO);
        trials.push(Untried {
            delivery: Delivery {
                tag,
                queue: "quarantine".to_owned(),
                redeliveries,
                flaw: None,
                message: Message::default(),
            },
            receipt: Receipt::new(tag, Origin::Quarantine, redeliveries, arrived),
            arrived,
        });
    }

    fn at(since_start: Duration) -> Now {
        let time = Timestamp::UNIX_EPOCH;
        Now { since_start, time }
    }

    /// What begins a moment later.
    fn begin(trials: &mut Trials) -> Vec<u64> {
        std::iter::from_fn(|| trials.next(at(COMPANY_WAIT)))
            .map(|untried| untried.receipt.into_tag().number)
            .collect()
    }

    fn end(trials: &mut Trials, number: u64) {
        trials.on_acknowledge(Tag {
            generation: 1,
            subscription: 3,
            number,
        });
    }

    #[test]
    fn what_came_back_is_tried_alone_and_last() {
        let mut trials = Trials::new(7);
        for (number, redeliveries) in [(1, 2), (2, 0), (3, 0)] {
            push(&mut trials, number, redeliveries);
        }
        let mut both = begin(&mut trials);
        both.sort_unstable();
        assert_eq!(both, [2, 3]);
        end(&mut trials, 2);
        assert!(begin(&mut trials).is_empty());
        end(&mut trials, 3);
        assert_eq!(begin(&mut trials), [1]);
        push(&mut trials, 4, 0);
        assert!(begin(&mut trials).is_empty(), "it waits for the one that is alone");
        end(&mut trials, 1);
        assert_eq!(begin(&mut trials), [4]);
    }

    /// One that kills workers takes along what waits behind it, so it may not be in front in each life of a worker, however often each came back.
    #[test]
    fn what_came_back_has_another_order_in_each_life() {
        let mut first = [0; 5];
        for seed in 0..1_000 {
            let mut trials = Trials::new(seed);
            for number in 1..=4 {
                push(&mut trials, number, if number < 3 { 1 } else { OFTEN - 1 });
            }
            let began = begin(&mut trials);
            assert_eq!(began.len(), 1);
            first[usize::try_from(began[0]).expect("a number")] += 1;
        }
        assert!(first[1..].iter().all(|count| (150..350).contains(count)), "{first:?}");
    }

    #[test]
    fn what_came_back_waits_for_those_that_are_delivered_with_it() {
        let mut trials = Trials::new(7);
        push(&mut trials, 1, 1);
        assert!(trials.next(at(COMPANY_WAIT / 2)).is_none());
        assert_eq!(trials.next_due(), Some(COMPANY_WAIT));
        assert_eq!(begin(&mut trials), [1]);
        assert_eq!(trials.next_due(), None);
        push(&mut trials, 2, 0);
        assert_eq!(trials.next_due(), None, "it is alone");
        end(&mut trials, 1);
        assert_eq!(trials.next_due(), Some(Duration::ZERO));
    }

    #[test]
    fn one_that_came_back_often_is_taken_by_itself_and_tried_first() {
        let mut trials = Trials::new(7);
        assert_eq!(trials.prefetch(), 1);
        push(&mut trials, 1, OFTEN);
        assert_eq!((trials.prefetch(), begin(&mut trials)), (1, vec![1]));
        end(&mut trials, 1);
        push(&mut trials, 2, OFTEN - 1);
        assert_eq!(trials.prefetch(), TRIALS_MAX);
        for (number, redeliveries) in [(3, 0), (4, OFTEN), (5, 0)] {
            push(&mut trials, number, redeliveries);
        }
        assert_eq!(trials.prefetch(), TRIALS_MAX);
        assert_eq!(begin(&mut trials), [4]);
        end(&mut trials, 4);
        let mut both = begin(&mut trials);
        both.sort_unstable();
        assert_eq!(both, [3, 5]);
        assert_eq!(trials.take().count(), 1);
        assert_eq!(trials.prefetch(), 1);
    }

    #[test]
    fn after_a_lost_connection_nothing_is_waited_for() {
        let mut trials = Trials::new(7);
        push(&mut trials, 1, 1);
        push(&mut trials, 2, 1);
        assert_eq!(begin(&mut trials).len(), 1);
        assert_eq!(trials.take().count(), 1);
        push(&mut trials, 3, 1);
        assert_eq!(begin(&mut trials), [3]);
    }
}
