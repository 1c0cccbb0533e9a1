//! What finAPI said of passwords, here or to other workers: the oldest is forgotten first.

use std::hash::Hash;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::hash::{Hashed, PasswordHash};
use super::message::Judgement;

/// How many passwords that finAPI took are remembered, and how many that it refused.
const GRANTED_MAX: usize = 100_000;
const REFUSED_MAX: usize = 10_000;

/// How long a password is left alone that may be right: the user is not verified, or something else answered in finAPI's place.
pub(in crate::finapi) const LEFT_ALONE_FOR: Duration = Duration::from_secs(15 * 60);

/// A password that is not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::finapi) struct Refused {
    pub(in crate::finapi) judgement: Judgement,
    /// Until when; none for as long as it is remembered.
    pub(in crate::finapi) until: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Memory {
    granted: Recent<PasswordHash, ()>,
    refused: Recent<PasswordHash, Refused>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            granted: Recent::new(GRANTED_MAX),
            refused: Recent::new(REFUSED_MAX),
        }
    }

    /// The last judgement counts.
    pub(super) fn remember(&mut self, hash: PasswordHash, judgement: Judgement, now: Instant) {
        let until = match judgement {
            Judgement::Granted => {
                self.refused.forget(&hash);
                return self.granted.remember(hash, ());
            }
            Judgement::Wrong | Judgement::Locked => None,
            Judgement::Forbidden | Judgement::Doubtful | Judgement::DoubtfulAgain => Some(now + LEFT_ALONE_FOR),
        };
        self.granted.forget(&hash);
        self.refused.remember(hash, Refused { judgement, until });
    }

    /// What was said against a password and still counts.
    pub(super) fn objection(&self, hash: &PasswordHash, now: Instant) -> Option<Refused> {
        let refused = *self.refused.find(hash)?;
        refused.until.is_none_or(|until| now < until).then_some(refused)
    }

    pub(super) fn is_granted(&self, password: &Hashed) -> bool {
        password.0.iter().any(|hash| self.granted.find(hash).is_some())
    }

    /// Something speaks against a password that finAPI once took.
    pub(super) fn doubt(&mut self, password: &Hashed) {
        for hash in &password.0 {
            self.granted.forget(hash);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.granted.0.len(), self.refused.0.len())
    }
}

/// The last entries, up to a number of them. Takes room only as it fills.
#[derive(Debug)]
struct Recent<K: Hash + Eq, V>(LruCache<K, V>, usize);

impl<K: Hash + Eq, V> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self(LruCache::unbounded(), most)
    }

    fn remember(&mut self, key: K, value: V) {
        self.0.put(key, value);
        if self.0.len() > self.1 {
            self.0.pop_lru();
        }
    }

    fn find(&self, key: &K) -> Option<&V> {
        self.0.peek(key)
    }

    fn forget(&mut self, key: &K) {
        self.0.pop(key);
    }
}
