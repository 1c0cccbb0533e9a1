//! Few calls at once, and among those that wait, what somebody watches goes first, and then what finishes a refresh.
//!
//! The limit adapts: it shrinks by a third when finAPI refuses or fails, at most once a second, and grows by one with every
//! limit's worth of good answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::refresh::Refresh;
use crate::refresh::query::Call;

/// How urgent a call is: that of a user who watches goes first, and then whatever comes first in [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urgency {
    /// Somebody watches this refresh.
    pub interactive: bool,
    /// How far it is.
    pub stage: Stage,
}

/// How far a refresh is; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finishes a refresh: the reads after COMPLETED.
    Finish,
    /// Begins a refresh.
    Start,
    /// Looks at something that may not be over.
    Poll,
}

impl Urgency {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// How urgent a call of a refresh is.
    #[must_use]
    pub fn of(refresh: &Refresh, call: &Call) -> Self {
        Self {
            interactive: refresh.envelope.interactive,
            stage: match call {
                Call::Connection | Call::Collect(..) => Stage::Finish,
                Call::FindTask | Call::Start => Stage::Start,
                Call::Task(_) | Call::WebForm(_) => Stage::Poll,
            },
        }
    }

    /// How many are more urgent.
    #[must_use]
    pub fn rank(self) -> usize {
        let before = if self.interactive { 0 } else { Self::COUNT / 2 };
        before + self.stage as usize
    }
}

/// Lets few calls through at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limit: f64,
    limit_max: f64,
    in_use: usize,
    waiting: [VecDeque<oneshot::Sender<Permit>>; Urgency::COUNT],
    shrunk_at: Option<Instant>,
}

/// How busy a gate is.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Calls {
    /// How many calls are let through at once now: fewer while finAPI is strained.
    pub limit: usize,
    /// How many are under way.
    pub running: usize,
    /// How many wait for their turn.
    pub waiting: usize,
}

/// The right to make one call, given back when dropped.
#[derive(Debug)]
pub struct Permit(Gate);

/// The limit does not shrink more often than this.
const SHRINK_INTERVAL: Duration = Duration::from_secs(1);

impl Gate {
    /// A gate for at most so many calls at once, at least one.
    #[must_use]
    pub fn new(calls_max: usize) -> Self {
        let limit = f64::from(u32::try_from(calls_max.max(1)).unwrap_or(u32::MAX));
        Self(Arc::new(Mutex::new(State {
            limit,
            limit_max: limit,
            in_use: 0,
            waiting: Default::default(),
            shrunk_at: None,
        })))
    }

    /// Waits for a permit.
    pub async fn enter(&self, urgency: Urgency) -> Permit {
        let turn = {
            let mut state = self.state();
            if state.has_room() {
                state.in_use += 1;
                return Permit(self.clone());
            }
            let (give, turn) = oneshot::channel();
            state.waiting[urgency.rank()].push_back(give);
            turn
        };
        match turn.await {
            Ok(permit) => permit,
            // The sender lives as long as the gate, and we hold the gate.
            Err(_) => unreachable!("a gate outlives those who wait at it"),
        }
    }

    /// finAPI answered well.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.limit = (state.limit + 1.0 / state.limit).min(state.limit_max);
        drop(state);
        self.give();
    }

    /// finAPI refused for load, or failed.
    pub fn strained(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if state
            .shrunk_at
            .is_none_or(|at| now.duration_since(at) >= SHRINK_INTERVAL)
        {
            state.limit = (state.limit * 2.0 / 3.0).max(1.0);
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
            waiting: state.waiting.iter().map(VecDeque::len).sum(),
        }
    }

    /// Gives what is free to those who wait. A permit that nobody takes any more comes back here by its drop, so it is
    /// sent without the lock.
    fn give(&self) {
        loop {
            let mut state = self.state();
            if !state.has_room() {
                return;
            }
            let Some(next) = state.waiting.iter_mut().find_map(VecDeque::pop_front) else {
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

    const POLL: Urgency = urgency(false, Stage::Poll);
    const FINISH: Urgency = urgency(false, Stage::Finish);

    const fn urgency(interactive: bool, stage: Stage) -> Urgency {
        Urgency { interactive, stage }
    }

    #[tokio::test]
    async fn who_watches_goes_first_and_then_what_finishes_a_refresh() {
        let gate = Gate::new(1);
        let mut held = gate.enter(POLL).await;
        let in_turn = [true, false].into_iter().flat_map(|interactive| {
            [Stage::Finish, Stage::Start, Stage::Poll].map(|stage| urgency(interactive, stage))
        });
        let mut waiting: Vec<_> = in_turn.map(|urgency| Box::pin(gate.enter(urgency))).collect();
        // The last of them comes first to the gate.
        assert!(waiting.iter_mut().rev().all(|turn| turn.now_or_never().is_none()));
        while !waiting.is_empty() {
            drop(held);
            held = waiting.remove(0).now_or_never().expect("the permit");
            assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_costs_no_permit() {
        let gate = Gate::new(1);
        let held = gate.enter(POLL).await;
        let mut gone = Box::pin(gate.enter(FINISH));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(gate.enter(POLL).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_follows_what_finapi_can_take() {
        let gate = Gate::new(30);
        gate.strained();
        gate.strained();
        assert_eq!(gate.calls().limit, 20);
        tokio::time::advance(SHRINK_INTERVAL).await;
        gate.strained();
        assert_eq!(gate.calls().limit, 13);
        (0..1000).for_each(|_| gate.succeeded());
        assert_eq!(gate.calls().limit, 30);
    }
}
