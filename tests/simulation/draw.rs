//! Drawing from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use bankrefresh::sandbox::After;
use fastrand::Rng;
use uuid::{Builder, Uuid};

/// Draws, one after another.
pub(crate) struct Draw(Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

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

    /// The same for the sandbox: drawn anew at each use.
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
