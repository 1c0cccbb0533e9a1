//! Random numbers that depend on a seed and on a name, and on nothing else.
//!
//! Simulations share one seed among many things: users, connections, queues, faults. Each of them draws from a stream with a name of
//! its own, such as `task/connection/3`. So who else draws, and how often, changes none of its draws, and two runs with the same
//! seed that differ in one thing can be compared.
//!
//! The first state of a stream is FNV-1a over the seed's eight bytes (the lowest first) and the bytes of the name, mixed once by
//! SplitMix64's finalizer. A unit test pins it: seeds in reports stay good.

use std::collections::BTreeMap;

use fastrand::Rng;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The stream of this name.
#[must_use]
pub fn stream(seed: u64, name: &str) -> Rng {
    let seed = seed.to_le_bytes().into_iter();
    let hash = seed.chain(name.bytes()).fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    Rng::with_seed(mix(hash))
}

/// Names that differ in their last byte only differ in few bits of their hash.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The streams that were drawn from so far. It keeps a few bytes for each name.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    seed: u64,
    streams: BTreeMap<String, Rng>,
}

impl Streams {
    /// Nothing is drawn yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let streams = BTreeMap::new();
        Self { seed, streams }
    }

    /// What the next occasion of this name draws from. How much one occasion draws changes nothing for the next one.
    pub fn next(&mut self, name: &str) -> Rng {
        if let Some(stream) = self.streams.get_mut(name) {
            return stream.fork();
        }
        let mut first = stream(self.seed, name);
        let next = first.fork();
        self.streams.insert(name.to_owned(), first);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_the_seed_and_the_name_alone() {
        let draw = |seed, name| stream(seed, name).u64(..);
        assert_eq!(draw(7, "connection/1"), draw(7, "connection/1"));
        let names = ["connection/1", "connection/2", "connection/12", "user/1", ""];
        let mut drawn: Vec<u64> = names
            .iter()
            .flat_map(|name| (0..50).map(move |seed| draw(seed, name)))
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 250);
    }

    #[test]
    fn what_others_draw_changes_nothing() {
        let mut alone = Streams::new(7);
        let mut among_others = Streams::new(7);
        let mut other = among_others.next("other");
        for _ in 0..10 {
            let (mut one, mut same) = (alone.next("mine"), among_others.next("mine"));
            assert_eq!(one.u64(..), same.u64(..));
            // Drawing more at one occasion changes nothing for the next one.
            same.u64(..);
            other = among_others.next(&format!("other/{}", other.u8(..)));
        }
    }

    /// Whoever changes this gives every seed another meaning.
    #[test]
    fn streams_stay_as_they_are() {
        assert_eq!(stream(7, "connection/1").get_seed(), 0x1721_5351_74f1_c96f);
    }
}
