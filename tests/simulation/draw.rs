//! Drawing from a seed.
//!
//! Every user, connection, command and fault draws from a stream of its own, and so does every group of settings: see
//! [`bankrefresh::random`]. The name of a stream is the kind and the number of what draws. How many things of a kind there are is drawn
//! from a stream, too, and choices among them (whose connection is it?) are made among those that the seed has. So a [`Variant`] of a
//! seed changes nothing but what it names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bankrefresh::random::stream;
use bankrefresh::sandbox::After;
use fastrand::Rng;
use uuid::{Builder, Uuid};

/// What is different from what the seed alone gives. What it adds belongs to what it adds: a connection to a user, a command to a
/// connection, if it adds such.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variant {
    /// How many more there are of a kind.
    pub(crate) more: BTreeMap<&'static str, usize>,
    /// What draws from another stream: kinds and numbers.
    pub(crate) redrawn: BTreeSet<(&'static str, usize)>,
}

/// Where everything in a run draws from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) seed: u64,
    variant: Variant,
}

impl Source {
    pub(crate) fn new(seed: u64, variant: Variant) -> Self {
        Self { seed, variant }
    }

    /// What the thing of this kind and number draws from.
    pub(crate) fn of(&self, kind: &'static str, number: usize) -> Draw {
        let again = if self.variant.redrawn.contains(&(kind, number)) {
            "/again"
        } else {
            ""
        };
        Draw(stream(self.seed, &format!("{kind}/{number}{again}")))
    }

    /// What the whole run draws something from once.
    pub(crate) fn whole(&self, what: &str) -> Draw {
        Draw(stream(self.seed, what))
    }

    /// The numbers of a kind of which the seed has so many: these, and those that the variant adds.
    pub(crate) fn numbers(&self, kind: &'static str, count: usize) -> Range<usize> {
        1..1 + count + self.variant.more.get(kind).copied().unwrap_or_default()
    }
}

/// Draws, one after another.
pub(crate) struct Draw(Rng);

impl Draw {
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }

    pub(crate) fn usize(&mut self, range: RangeInclusive<usize>) -> usize {
        self.0.usize(range)
    }

    pub(crate) fn u32(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.0.u32(range)
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.0.usize(..from.len());
        from[index].clone()
    }

    /// A time from none at all up to a longest one, in whole milliseconds.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.0.u64(0..=longest))
    }

    /// None with the rest of the probability, else one up to the most.
    pub(crate) fn up_to_number(&mut self, most: u32, probability: f64) -> u32 {
        if self.chance(probability) {
            self.0.u32(1..=most)
        } else {
            0
        }
    }

    /// The same for the sandbox, which draws again at each use.
    pub(crate) fn after(&mut self, longest: Duration) -> After {
        let (min, max) = (self.up_to(longest), self.up_to(longest));
        match self.chance(0.5) {
            true => After::Fixed(min),
            false => After::Between { min, max },
        }
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        Builder::from_random_bytes(self.0.u128(..).to_be_bytes()).into_uuid()
    }
}
