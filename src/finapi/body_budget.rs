//! The bytes of finAPI's answers that a worker may have in memory at once (`finapi.bodies_max`): from their arrival until what they led to is
//! published.
//!
//! An answer reserves bytes as it grows. The first few are free, so most calls never reserve any. When none are left, the call is broken off,
//! and its run ends: the refresh waits without a permit, and asks again a moment later. That is no failure of the call and no attempt. The
//! refresh has a claim then. What becomes free goes to whoever claimed it first. An answer that has reserved some bytes already goes before all
//! claims, and any other one behind them, so everybody gets its turn after as many answers as are before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::transport::TransportError;
use crate::id::ConnectionId;

/// The first bytes of an answer cost nothing. Tokens, tasks and web forms have fewer.
pub(super) const FREE: usize = 16 * 1024;

/// What an answer reserves at a time.
const CHUNK: usize = 16 * 1024;

/// How long a refresh waits before it asks again; longer if many are before it.
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Whoever comes back this much later than it was to has lost its claim.
const LATE: Duration = Duration::from_secs(5);

/// The budget of a worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BodyBudget(Arc<Mutex<State>>);

/// How much of a budget is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Bodies {
    /// Bytes that are reserved.
    pub reserved_bytes: usize,
    /// How many connections wait for bytes.
    pub waiting: usize,
}

/// What one run, and then its publication, has of a budget, until it is dropped.
#[derive(Debug)]
pub struct Room {
    budget: BodyBudget,
    /// Whose claim it uses. Without one it claims nothing, because nobody asks again for what found no room.
    connection_id: Option<ConnectionId>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    reserved: usize,
    /// What of it is used by what is being read.
    used: usize,
    /// There was not enough of it: how long to wait.
    short: Option<Duration>,
}

#[derive(Debug)]
struct State {
    bytes_max: usize,
    reserved: usize,
    /// The first goes first.
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    connection_id: ConnectionId,
    bytes: usize,
    until: Instant,
}

impl BodyBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes_max,
            reserved: 0,
            claims: Vec::new(),
        })))
    }

    pub(super) fn room(&self, connection_id: Option<ConnectionId>) -> Room {
        Room {
            budget: self.clone(),
            connection_id,
            held: Mutex::default(),
        }
    }

    /// How much of it is in use now.
    pub(super) fn bodies(&self) -> Bodies {
        let mut state = self.state();
        state.expire(Instant::now());
        Bodies {
            reserved_bytes: state.reserved,
            waiting: state.claims.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self, now: Instant) {
        self.claims.retain(|claim| claim.until > now);
    }

    fn claim_of(&self, connection_id: ConnectionId) -> Option<usize> {
        self.claims
            .iter()
            .position(|claim| claim.connection_id == connection_id)
    }

    /// What is claimed before this place, or, without one, by all.
    fn claimed_before(&self, place: Option<usize>) -> usize {
        let before = &self.claims[..place.unwrap_or(self.claims.len())];
        before.iter().map(|claim| claim.bytes).sum()
    }

    /// Reserves bytes for what is about to be read: at least what its connection has claimed. All who claimed theirs before it go first.
    fn begin(
        &mut self,
        connection_id: ConnectionId,
        held: usize,
        wanted: usize,
        now: Instant,
    ) -> Result<usize, Duration> {
        self.expire(now);
        let place = self.claim_of(connection_id);
        let wanted = place.map_or(wanted, |place| wanted.max(self.claims[place].bytes));
        let more = wanted.min(self.bytes_max).saturating_sub(held);
        if more > 0 && self.reserved + self.claimed_before(place) + more > self.bytes_max {
            return Err(self.claim(connection_id, wanted, now));
        }
        if let Some(place) = place {
            self.claims.remove(place);
        }
        self.reserved += more;
        Ok(more)
    }

    /// Reserves more bytes for what is being read. What has none yet goes behind all who claimed theirs before it: else a steady stream of short
    /// answers would take whatever becomes free.
    fn grow(&mut self, connection_id: Option<ConnectionId>, held: usize, more: usize, now: Instant) -> bool {
        self.expire(now);
        let place = connection_id.and_then(|id| self.claim_of(id));
        let claimed = if held > 0 { 0 } else { self.claimed_before(place) };
        let has_room = self.reserved + claimed + more <= self.bytes_max;
        if has_room {
            self.reserved += more;
        }
        has_room
    }

    /// Notes what a connection needs, and says when it is to ask for it again.
    fn claim(&mut self, connection_id: ConnectionId, bytes: usize, now: Instant) -> Duration {
        let bytes = bytes.min(self.bytes_max);
        let place = self.claim_of(connection_id).unwrap_or(self.claims.len());
        let rounds = u32::try_from(self.claimed_before(Some(place)) / self.bytes_max.max(1)).unwrap_or(u32::MAX);
        let wait = WAIT.saturating_mul(rounds.saturating_add(1)).min(WAIT_MAX);
        let claim = Claim {
            connection_id,
            bytes,
            until: now + wait + LATE,
        };
        match self.claims.get_mut(place) {
            Some(known) => *known = claim,
            None => self.claims.push(claim),
        }
        wait
    }
}

impl Room {
    /// Something is read next: of so many bytes, as far as that is known. What was read before is no longer there.
    ///
    /// # Errors
    ///
    /// There is no room: how long to wait for some.
    pub(super) fn begin(&self, expected: usize) -> Result<(), Duration> {
        let mut held = self.held();
        (held.used, held.short) = (0, None);
        if let Some(connection_id) = self.connection_id {
            let mut state = self.budget.state();
            held.reserved += state.begin(connection_id, held.reserved, expected, Instant::now())?;
        }
        Ok(())
    }

    /// What was read before is no longer there, and something of the same query is read next.
    pub(super) fn next(&self) {
        self.held().used = 0;
    }

    /// An answer grows from one length to another.
    ///
    /// # Errors
    ///
    /// There is no room for that now, or it is longer than the whole budget.
    pub(super) fn grow(&self, from: usize, to: usize) -> Result<(), TransportError> {
        let mut held = self.held();
        held.used += to.saturating_sub(FREE) - from.saturating_sub(FREE);
        let missing = held.used.saturating_sub(held.reserved);
        if missing == 0 {
            return Ok(());
        }
        let more = missing.next_multiple_of(CHUNK);
        let mut state = self.budget.state();
        if held.used > state.bytes_max {
            return Err(TransportError::TooLong);
        }
        let now = Instant::now();
        if state.grow(self.connection_id, held.reserved, more, now) {
            held.reserved += more;
            return Ok(());
        }
        // Nobody knows how long the whole answer is, so twice what has come is claimed.
        let wanted = held.used.saturating_mul(2);
        held.short = self
            .connection_id
            .map(|connection_id| state.claim(connection_id, wanted, now));
        Err(TransportError::NoRoom)
    }

    /// There was no room: how long to wait for some.
    pub(super) fn take_shortage(&self) -> Option<Duration> {
        self.held().short.take()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let reserved = self.held().reserved;
        self.budget.state().reserved -= reserved;
    }
}

#[cfg(test)]
mod tests;
