//! The refreshes that wait in this worker, by when they are due.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::Taken;
use crate::clock::Clock;
use crate::refresh::schedule::LOOK_INTERVAL_MIN;
use crate::refresh::{Refresh, later};

/// Names a held refresh: when it is due, and a number that tells those apart that are due together.
type Slot = (Instant, u64);

/// Held refreshes.
#[derive(Debug, Default)]
pub(super) struct Held {
    slots: BTreeMap<Slot, Waiter>,
    /// Where each command is held, for hints.
    places: HashMap<String, Slot>,
    /// How many there have been.
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    refresh: Box<Refresh>,
    taken: Taken,
    since: Instant,
}

impl Held {
    pub(super) fn insert(&mut self, refresh: Box<Refresh>, taken: Taken, due: Instant) {
        self.count += 1;
        let slot = (due, self.count);
        self.places.insert(refresh.command.command_id.clone(), slot);
        let since = Instant::now();
        self.slots.insert(slot, Waiter { refresh, taken, since });
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn refreshes(&self) -> impl Iterator<Item = &Refresh> {
        self.slots.values().map(|waiter| &*waiter.refresh)
    }

    /// When the first is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.slots.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the first out if it is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Box<Refresh>, Taken)> {
        self.next_due().filter(|due| *due <= now)?;
        self.pop()
    }

    /// Takes the first out.
    pub(super) fn pop(&mut self) -> Option<(Box<Refresh>, Taken)> {
        let (_, Waiter { refresh, taken, .. }) = self.slots.pop_first()?;
        self.places.remove(&refresh.command.command_id);
        Some((refresh, taken))
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.places.clear();
    }

    /// finAPI has called back: whatever the refresh waits for may have happened. It is due now, but not within a second
    /// of being held, for it may have been looked at just before that; and a wait that finAPI asked for, or that follows
    /// trouble, is kept.
    pub(super) fn hint(&mut self, command_id: &str, clock: &Clock) {
        let Some(slot) = self.places.get_mut(command_id) else {
            return;
        };
        let Some(mut waiter) = self.slots.remove(slot) else {
            return;
        };
        if waiter.refresh.failures == 0 {
            slot.0 = slot.0.min(waiter.since + LOOK_INTERVAL_MIN);
        }
        let wait = slot.0.saturating_duration_since(Instant::now());
        waiter.refresh.due_at = waiter.refresh.due_at.min(later(clock.now(), wait));
        self.slots.insert(*slot, waiter);
    }
}
