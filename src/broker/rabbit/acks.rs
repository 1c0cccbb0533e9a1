//! Which acknowledgements to send on a channel, as few as possible.

use std::collections::BTreeSet;

/// The deliveries of one channel that are not acknowledged yet. Tags of a channel only grow.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Handed over, not acknowledged.
    open: BTreeSet<u64>,
    /// Acknowledged here, but not at the broker yet.
    acknowledged: BTreeSet<u64>,
    newest: u64,
}

/// A `basic.ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// The delivery.
    pub(super) tag: u64,
    /// Whether it is meant for every delivery before it as well.
    pub(super) multiple: bool,
}

impl Acks {
    /// A delivery came.
    pub(super) fn open(&mut self, tag: u64) {
        self.open.insert(tag);
        self.newest = tag;
    }

    /// The newest delivery so far; 0 before the first.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// How many of the deliveries up to this one are not acknowledged.
    pub(super) fn open_up_to(&self, tag: u64) -> usize {
        self.open.range(..=tag).count()
    }

    /// A delivery is to be acknowledged. Any other than an open one is ignored: the broker closes the channel on an
    /// acknowledgement it does not expect.
    pub(super) fn acknowledge(&mut self, tag: u64) {
        if self.open.remove(&tag) {
            self.acknowledged.insert(tag);
        }
    }

    /// What to send now. One acknowledgement covers everything before the oldest open delivery. It names the newest
    /// one that the broker does not know of yet, because naming one twice closes the channel.
    pub(super) fn take(&mut self) -> Vec<Ack> {
        let mut prefix = std::mem::take(&mut self.acknowledged);
        let rest = match self.open.first() {
            Some(oldest) => prefix.split_off(oldest),
            None => BTreeSet::new(),
        };
        let multiple = prefix.len() > 1;
        let covering = prefix.last().map(|&tag| Ack { tag, multiple });
        let single = |tag| Ack { tag, multiple: false };
        covering.into_iter().chain(rest.into_iter().map(single)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(acks: &mut Acks, tags: &[u64]) -> Vec<(u64, bool)> {
        for tag in tags {
            acks.acknowledge(*tag);
        }
        let taken = acks.take().into_iter();
        taken.map(|ack| (ack.tag, ack.multiple)).collect()
    }

    #[test]
    fn a_prefix_is_one_acknowledgement_and_the_rest_are_single() {
        let mut acks = Acks::default();
        (1..=10).for_each(|tag| acks.open(tag));
        assert_eq!(sent(&mut acks, &[3]), [(3, false)]);
        assert_eq!(sent(&mut acks, &[2, 1, 6, 8]), [(2, true), (6, false), (8, false)]);
        assert_eq!(sent(&mut acks, &[4]), [(4, false)]);
        assert_eq!(sent(&mut acks, &[5, 7, 9]), [(9, true)]);
        assert_eq!(sent(&mut acks, &[10]), [(10, false)]);
        assert_eq!(sent(&mut acks, &[]), []);
    }

    #[test]
    fn what_is_not_open_is_ignored() {
        let mut acks = Acks::default();
        acks.open(1);
        assert_eq!(sent(&mut acks, &[2, 1, 1]), [(1, false)]);
        assert_eq!(sent(&mut acks, &[1]), []);
    }
}
