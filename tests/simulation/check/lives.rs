//! How many messages of a command are there at a time, each with a life of its own.

use std::collections::BTreeMap;

use bankrefresh::broker::Message;
use bankrefresh::message;
use tokio::time::Instant;

/// The messages of one command. A message that takes the place of a delivery, and that delivery until it is acknowledged, are one.
#[derive(Default)]
pub(super) struct Lives {
    /// How many there were, from each moment on.
    counts: Vec<(Instant, i32)>,
    /// What workers published and the broker has not taken yet, if it ever does.
    sent: Vec<(u64, Message)>,
    /// The deliveries that nobody has acknowledged yet, by their client and their revision.
    unacked: BTreeMap<(u64, u32), Unacked>,
}

#[derive(Default)]
struct Unacked {
    count: u32,
    /// How many of them have another message in their place.
    replaced: u32,
}

impl Lives {
    /// A worker publishes a message.
    pub(super) fn sent(&mut self, client: u64, message: &Message) {
        self.sent.push((client, message.clone()));
    }

    /// A queue took a message.
    pub(super) fn taken(&mut self, at: Instant, message: &Message, is_forwarded: bool) {
        let sent = self.sent.iter().position(|(_, sent)| sent == message);
        // It is the sender's, or was moved from another queue.
        let Some((client, _)) = sent.map(|sent| self.sent.remove(sent)) else {
            return self.change(at, 1);
        };
        // What is forwarded is as it came, and everything else is one revision further.
        let replaced = message::revision(message).checked_sub(u32::from(!is_forwarded));
        let unacked = replaced.and_then(|revision| self.unacked.get_mut(&(client, revision)));
        match unacked.filter(|unacked| unacked.replaced < unacked.count) {
            Some(unacked) => unacked.replaced += 1,
            // Its delivery is acknowledged already, or another message took its place: it came late, or twice.
            None => self.change(at, 1),
        }
    }

    /// A message left a queue by itself.
    pub(super) fn left(&mut self, at: Instant) {
        self.change(at, -1);
    }

    pub(super) fn delivered(&mut self, client: u64, message: &Message) {
        self.of(client, message).count += 1;
    }

    pub(super) fn acknowledged(&mut self, at: Instant, client: u64, message: &Message) {
        let unacked = self.of(client, message);
        unacked.count = unacked.count.saturating_sub(1);
        if unacked.replaced > 0 {
            unacked.replaced -= 1;
        } else {
            self.change(at, -1);
        }
    }

    /// A delivery came back. What took its place is there as well.
    pub(super) fn returned(&mut self, at: Instant, client: u64, message: &Message) {
        let unacked = self.of(client, message);
        unacked.count = unacked.count.saturating_sub(1);
        if unacked.replaced > unacked.count {
            unacked.replaced -= 1;
            self.change(at, 1);
        }
    }

    fn of(&mut self, client: u64, message: &Message) -> &mut Unacked {
        self.unacked.entry((client, message::revision(message))).or_default()
    }

    /// The most of them at a time, from one moment to another.
    pub(super) fn most(&self, from: Instant, to: Instant) -> i32 {
        let before = self.counts.iter().take_while(|(at, _)| *at < from).last();
        let during = self.counts.iter().filter(|(at, _)| (from..=to).contains(at));
        before
            .into_iter()
            .chain(during)
            .map(|(_, count)| *count)
            .max()
            .unwrap_or_default()
    }

    /// The most of them at a time.
    pub(super) fn most_ever(&self) -> usize {
        let most = self.counts.iter().map(|(_, count)| *count).max();
        usize::try_from(most.unwrap_or_default()).unwrap_or_default()
    }

    fn change(&mut self, at: Instant, by: i32) {
        let before = self.counts.last().map_or(0, |(_, count)| *count);
        self.counts.push((at, before + by));
    }
}
