//! The refreshes that wait here for a time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::job::{Job, Now};
use crate::id::{CommandId, RefreshId};
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Refresh, later};

/// When a refresh is due, and a number that distinguishes those that are due together.
type Slot = (Duration, u64);

/// Held refreshes, by when they are due.
#[derive(Debug, Default)]
pub(super) struct Held {
    slots: BTreeMap<Slot, Waiter>,
    /// Where each command is held, for wake-ups: mostly in one slot.
    places: HashMap<CommandId, Vec<Slot>>,
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    job: Job,
    since: Duration,
}

impl Held {
    pub(super) fn insert(&mut self, job: Job, due: Duration, now: Now) {
        self.count += 1;
        let slot = (due, self.count);
        self.places.entry(job.refresh.command.id()).or_default().push(slot);
        let since = now.since_start;
        self.slots.insert(slot, Waiter { job, since });
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn refreshes(&self) -> impl Iterator<Item = &Refresh> {
        self.slots.values().map(|waiter| &*waiter.job.refresh)
    }

    /// When each is due, and since when it waits.
    #[cfg(test)]
    pub(super) fn waits(&self) -> impl Iterator<Item = (Duration, Duration, &Job)> {
        self.slots
            .iter()
            .map(|((due, _), waiter)| (*due, waiter.since, &waiter.job))
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.slots.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn pop_due(&mut self, now: Now) -> Option<Job> {
        self.next_due().filter(|due| *due <= now.since_start)?;
        self.pop()
    }

    pub(super) fn remove(&mut self, refresh_id: &RefreshId) -> Option<Job> {
        let slots = self.places.get(&refresh_id.command_id)?;
        let is_it = |slot: &&Slot| {
            let waiter = self.slots.get(slot);
            waiter.is_some_and(|waiter| waiter.job.refresh.command.refresh_id() == refresh_id)
        };
        let slot = *slots.iter().find(is_it)?;
        let Waiter { job, .. } = self.slots.remove(&slot)?;
        self.vacate(slot, &job);
        Some(job)
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        let (slot, Waiter { job, .. }) = self.slots.pop_first()?;
        self.vacate(slot, &job);
        Some(job)
    }

    pub(super) fn take_if(&mut self, is_taken: impl Fn(&Refresh) -> bool) -> Vec<Job> {
        let taken = self.slots.iter().filter(|(_, waiter)| is_taken(&waiter.job.refresh));
        let taken: Vec<Slot> = taken.map(|(slot, _)| *slot).collect();
        let mut jobs = Vec::new();
        for slot in taken {
            if let Some(Waiter { job, .. }) = self.slots.remove(&slot) {
                self.vacate(slot, &job);
                jobs.push(job);
            }
        }
        jobs
    }

    fn vacate(&mut self, slot: Slot, job: &Job) {
        let command_id = job.refresh.command.id();
        if let Some(slots) = self.places.get_mut(&command_id) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.places.remove(&command_id);
            }
        }
    }

    /// finAPI has called back, so what the refresh waits for may have happened. A wait that finAPI asked for, or that follows a failure, stays.
    pub(super) fn wake(&mut self, command_id: CommandId, now: Now) {
        for slot in self.places.get(&command_id).cloned().unwrap_or_default() {
            if self
                .slots
                .get(&slot)
                .is_some_and(|waiter| waiter.job.refresh.failures == 0)
            {
                self.make_due(slot, now);
            }
        }
    }

    /// The hosts that refreshes wait for are back.
    pub(super) fn wake_blocked(&mut self, now: Now) {
        let slots = self.slots.iter().filter(|(_, waiter)| waiter.job.is_blocked);
        let slots: Vec<Slot> = slots.map(|(slot, _)| *slot).collect();
        for slot in slots {
            self.make_due(slot, now);
        }
    }

    /// The refresh is due now, but not within a second of being held, because it may have been polled just before.
    fn make_due(&mut self, slot: Slot, now: Now) {
        let Some(mut waiter) = self.slots.remove(&slot) else {
            return;
        };
        let due = slot.0.min(waiter.since + POLL_INTERVAL_MIN);
        let refresh = &mut waiter.job.refresh;
        let wait = due.saturating_sub(now.since_start);
        refresh.due_at = refresh.due_at.min(later(now.time, wait));
        let places = self.places.entry(refresh.command.id()).or_default();
        places.retain(|other| *other != slot);
        places.push((due, slot.1));
        self.slots.insert((due, slot.1), waiter);
    }
}
