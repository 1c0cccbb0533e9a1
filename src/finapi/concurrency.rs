//! The concurrency limiter: at most so many calls of finAPI at once.
//!
//! The limit adapts. It shrinks when finAPI refuses or fails for several users, at most once a second: by a third when it does so for all of
//! them, and by less when for a part. It grows by one with every limit's worth of good answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Limits concurrent calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimiter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limit: f64,
    limit_max: f64,
    in_use: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
    shrunk_at: Option<Instant>,
}

/// How busy a limiter is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Calls {
    /// How many calls may run at once now: fewer while finAPI is under strain.
    pub limit: usize,
    /// How many run.
    pub running: usize,
    /// How many requests for tokens wait for a permit.
    pub waiting: usize,
}

/// The right to call finAPI until it is dropped.
#[derive(Debug)]
pub struct Permit(ConcurrencyLimiter);

/// The limit does not shrink more often than this.
const SHRINK_INTERVAL: Duration = Duration::from_secs(1);

impl ConcurrencyLimiter {
    /// A limiter for at most so many calls at once, at least one.
    #[must_use]
    pub fn new(calls_max: usize) -> Self {
        let limit = f64::from(u32::try_from(calls_max.max(1)).unwrap_or(u32::MAX));
        Self(Arc::new(Mutex::new(State {
            limit,
            limit_max: limit,
            in_use: 0,
            waiting: VecDeque::new(),
            shrunk_at: None,
        })))
    }

    /// A permit, if one is free and nobody waits for it.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut state = self.state();
        (state.has_room() && state.waiting.is_empty()).then(|| {
            state.in_use += 1;
            Permit(self.clone())
        })
    }

    /// Waits for a permit. Whoever waits goes before [`Self::try_acquire`].
    pub async fn acquire(&self) -> Permit {
        let turn = {
            let mut state = self.state();
            if state.has_room() {
                state.in_use += 1;
                return Permit(self.clone());
            }
            let (give, turn) = oneshot::channel();
            state.waiting.push_back(give);
            turn
        };
        match turn.await {
            Ok(permit) => permit,
            // The sender lives as long as the limiter, and we hold the limiter.
            Err(_) => unreachable!("a limiter outlives those who wait for its permits"),
        }
    }

    /// finAPI answered well.
    pub fn on_success(&self) {
        let mut state = self.state();
        state.limit = (state.limit + 1.0 / state.limit).min(state.limit_max);
        drop(state);
        self.give();
    }

    /// finAPI refused because of load, or failed, for this share of its users.
    pub fn on_strain(&self, share: f64) {
        let mut state = self.state();
        let now = Instant::now();
        if state
            .shrunk_at
            .is_none_or(|at| now.duration_since(at) >= SHRINK_INTERVAL)
        {
            state.limit = (state.limit * (1.0 - share / 3.0)).max(1.0);
            state.shrunk_at = Some(now);
        }
    }

    /// How busy it is now.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let state = self.state();
        Calls {
            limit: state.limit as usize,
            running: state.in_use,
            waiting: state.waiting.len(),
        }
    }

    /// Gives free permits to those who wait. A permit that nobody takes any more comes back here by its drop, so it is sent without
    /// the lock.
    fn give(&self) {
        loop {
            let mut state = self.state();
            if !state.has_room() {
                return;
            }
            let Some(next) = state.waiting.pop_front() else {
                return;
            };
            state.in_use += 1;
            drop(state);
            drop(next.send(Permit(self.clone())));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.in_use < self.limit as usize
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().in_use -= 1;
        self.0.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn who_waits_goes_first() {
        let limiter = ConcurrencyLimiter::new(1);
        let held = limiter.try_acquire().expect("a free permit");
        let mut waiting = Box::pin(limiter.acquire());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(limiter.try_acquire().is_none());
        drop(held);
        assert!(limiter.try_acquire().is_none(), "it belongs to the one who waits");
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_stops_waiting_costs_no_permit() {
        let limiter = ConcurrencyLimiter::new(1);
        let held = limiter.try_acquire();
        let mut gone = Box::pin(limiter.acquire());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(limiter.acquire().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_follows_what_finapi_can_take() {
        let limiter = ConcurrencyLimiter::new(30);
        limiter.on_strain(1.0);
        limiter.on_strain(1.0);
        assert_eq!(limiter.calls().limit, 20);
        tokio::time::advance(SHRINK_INTERVAL).await;
        limiter.on_strain(1.0);
        assert_eq!(limiter.calls().limit, 13);
        tokio::time::advance(SHRINK_INTERVAL).await;
        limiter.on_strain(0.3);
        assert_eq!(limiter.calls().limit, 12);
        (0..1000).for_each(|_| limiter.on_success());
        assert_eq!(limiter.calls().limit, 30);
    }
}
