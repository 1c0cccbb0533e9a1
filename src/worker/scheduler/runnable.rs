//! The refreshes that are due and wait for a permit. A user that has as many runs as it may keeps nobody else waiting.

use std::collections::{BTreeMap, HashMap};

use super::job::Job;
use super::rank::Rank;
use crate::broker::Tag;
use crate::id::UserId;

/// By rank, then by when it became due.
type Key = (usize, u64);

/// Refreshes that are due.
#[derive(Debug)]
pub(super) struct Runnable {
    next: BTreeMap<Key, Job>,
    /// Those whose users have as many runs as they may, by user.
    capped: HashMap<UserId, BTreeMap<Key, Job>>,
    /// How many runs each user has.
    running: HashMap<UserId, usize>,
    running_max: usize,
    count: u64,
}

impl Runnable {
    /// One user has at most so many runs.
    pub(super) fn new(running_max: usize) -> Self {
        Self {
            next: BTreeMap::new(),
            capped: HashMap::new(),
            running: HashMap::new(),
            running_max,
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.next.len() + self.capped.values().map(BTreeMap::len).sum::<usize>()
    }

    pub(super) fn push(&mut self, job: Job) {
        self.count += 1;
        self.next.insert((Rank::of(&job.refresh).index(), self.count), job);
    }

    /// The most urgent of those that may run.
    pub(super) fn pop(&mut self) -> Option<Job> {
        loop {
            let (key, job) = self.next.pop_first()?;
            let user_id = job.refresh.command.user_id();
            if self
                .running
                .get(user_id)
                .is_none_or(|running| *running < self.running_max)
            {
                return Some(job);
            }
            self.capped.entry(user_id.clone()).or_default().insert(key, job);
        }
    }

    pub(super) fn on_run(&mut self, user_id: &UserId) {
        *self.running.entry(user_id.clone()).or_default() += 1;
    }

    /// A run of the user has ended, so another one may begin.
    pub(super) fn on_run_end(&mut self, user_id: &UserId) {
        if let Some(running) = self.running.get_mut(user_id) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(user_id);
            }
        }
        self.uncap(user_id);
    }

    /// The user has a run to spare: the most urgent of those that wait for one may begin.
    pub(super) fn uncap(&mut self, user_id: &UserId) {
        if let Some(capped) = self.capped.get_mut(user_id) {
            self.next.extend(capped.pop_first());
            if capped.is_empty() {
                self.capped.remove(user_id);
            }
        }
    }

    pub(super) fn remove(&mut self, tag: Tag) -> Option<Job> {
        self.take_if(|job| job.receipt.tag() == tag).pop()
    }

    pub(super) fn take_if(&mut self, is_taken: impl Fn(&Job) -> bool) -> Vec<Job> {
        let queues = std::iter::once(&mut self.next).chain(self.capped.values_mut());
        let mut taken = Vec::new();
        for queue in queues {
            let keys = queue.iter().filter(|(_, job)| is_taken(job)).map(|(key, _)| *key);
            let keys: Vec<Key> = keys.collect();
            taken.extend(keys.iter().filter_map(|key| queue.remove(key)));
        }
        // One that was to begin may be among them.
        for (user_id, capped) in &mut self.capped {
            let running = self.running.get(user_id).copied().unwrap_or_default();
            for _ in running..self.running_max {
                self.next.extend(capped.pop_first());
            }
        }
        self.capped.retain(|_, capped| !capped.is_empty());
        taken
    }

    /// In the order in which they would run if users had no shares.
    #[cfg(test)]
    pub(super) fn in_order(&self) -> Vec<&Job> {
        let all = self.next.iter().chain(self.capped.values().flatten());
        let all: BTreeMap<&Key, &Job> = all.collect();
        all.into_values().collect()
    }
}
