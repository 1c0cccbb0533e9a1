//! The circuit breaker of one host. Pure: the time is an argument.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Admitted, Outage, Settings, Verdict};
use crate::finapi::callers::{CallEnd, Callers};
use crate::id::UserId;

/// How many users may call in one round. Several, because one of them may have trouble of its own.
const TRIALS: usize = 3;

/// A host is down when it could not be connected to this often in a row, whoever called.
const CONNECTIONS: u32 = 3;

/// Trials that have not ended keep a round open no longer than this: longer than a call takes by default.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(60);

/// One host.
#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    callers: Callers,
    /// How often in a row no connection could be made.
    unconnected: u32,
    rounds: u64,
    breaker: Position,
}

#[derive(Debug)]
enum Position {
    Closed,
    Open {
        wait: Duration,
        until: Instant,
        /// Who called in the last round. Others go first in the next one.
        tried: HashSet<UserId>,
    },
    HalfOpen(Round),
}

#[derive(Debug)]
struct Round {
    wait: Duration,
    since: Instant,
    /// Who called in this round, or may not call in it.
    tried: HashSet<UserId>,
    trials: usize,
    failed: usize,
    /// Nobody else waits here, so new commands may come.
    takes_commands: bool,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            callers: Callers::new(settings.users),
            settings: settings.clone(),
            unconnected: 0,
            rounds: 0,
            breaker: Position::Closed,
        }
    }

    pub(super) fn outage(&self) -> Outage {
        match &self.breaker {
            Position::Closed => Outage::None,
            Position::HalfOpen(Round {
                takes_commands: true, ..
            }) => Outage::Ending,
            Position::HalfOpen(_) | Position::Open { .. } => Outage::Lasting,
        }
    }

    pub(super) fn callers_are_few(&self, now: Instant) -> bool {
        self.callers.are_few(now)
    }

    /// When [`Self::pass`] has something to do.
    pub(super) fn next_change(&self) -> Option<Instant> {
        match &self.breaker {
            Position::Closed => None,
            Position::Open { until, .. } => Some(*until),
            Position::HalfOpen(round) => Some(round.end()),
        }
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Instant) {
        while let Some(since) = self.next_change().filter(|next| *next <= now) {
            self.begin_round(since);
        }
    }

    fn begin_round(&mut self, since: Instant) {
        let (wait, tried, takes_commands) = match std::mem::replace(&mut self.breaker, Position::Closed) {
            Position::Closed => return,
            Position::Open { wait, tried, .. } => (wait, tried, false),
            // Nobody called, so nobody knows that it is down.
            Position::HalfOpen(round) if round.takes_commands && round.trials == 0 => return,
            // Who is here has had its turn: all may call again, and others come.
            Position::HalfOpen(round) => (self.longer(round.wait), HashSet::new(), true),
        };
        self.rounds += 1;
        self.breaker = Position::HalfOpen(Round {
            wait,
            since,
            tried,
            trials: 0,
            failed: 0,
            takes_commands,
        });
    }

    fn longer(&self, wait: Duration) -> Duration {
        (wait * 2).min(self.settings.max)
    }

    pub(super) fn check(&self, user_id: &UserId, now: Instant) -> Result<(), Duration> {
        let next = match &self.breaker {
            Position::Closed => return Ok(()),
            Position::HalfOpen(round) if round.admits(user_id) => return Ok(()),
            Position::HalfOpen(round) => round.end(),
            Position::Open { until, .. } => *until,
        };
        let wait = next.saturating_duration_since(now).min(self.settings.max);
        Err(wait.max(self.settings.initial / 2))
    }

    pub(super) fn admit(&mut self, user_id: &UserId, now: Instant) -> Result<Admitted, Duration> {
        self.check(user_id, now)?;
        let Position::HalfOpen(round) = &mut self.breaker else {
            return Ok(Admitted::Call);
        };
        round.trials += 1;
        round.tried.insert(user_id.clone());
        Ok(Admitted::Trial(self.rounds))
    }

    pub(super) fn on_end(&mut self, user_id: &UserId, admitted: Admitted, end: CallEnd, now: Instant) -> Verdict {
        self.callers.record(user_id, end, now);
        self.unconnected = match end {
            CallEnd::NoConnection => self.unconnected + 1,
            _ => 0,
        };
        if !end.is_failure() {
            self.breaker = Position::Closed;
        } else if let Position::Closed = self.breaker {
            self.open_if_down(now);
        } else if admitted == Admitted::Trial(self.rounds) {
            self.on_trial_failed(now);
        }
        let is_trial = matches!(admitted, Admitted::Trial(_));
        let is_down = is_trial && !matches!(self.breaker, Position::Closed);
        Verdict {
            still_down: self.check(user_id, now).err().filter(|_| is_down),
            strained: end
                .is_strain()
                .then(|| self.callers.share(CallEnd::is_strain, now))
                .flatten(),
        }
    }

    fn open_if_down(&mut self, now: Instant) {
        let failing = self.callers.share(CallEnd::is_failure, now);
        if failing.is_some_and(|share| share >= 0.5) || self.unconnected >= CONNECTIONS {
            self.open(self.settings.initial, HashSet::new(), now);
        }
    }

    fn on_trial_failed(&mut self, now: Instant) {
        let Position::HalfOpen(round) = &mut self.breaker else {
            return;
        };
        round.failed += 1;
        if round.failed == TRIALS {
            let (wait, tried) = (round.wait, std::mem::take(&mut round.tried));
            let wait = self.longer(wait);
            self.open(wait, tried, now);
        }
    }

    fn open(&mut self, wait: Duration, tried: HashSet<UserId>, now: Instant) {
        let until = now + wait;
        self.breaker = Position::Open { wait, until, tried };
    }
}

impl Round {
    fn admits(&self, user_id: &UserId) -> bool {
        self.trials < TRIALS && !self.tried.contains(user_id)
    }

    /// When the next round begins, unless enough fail before.
    fn end(&self) -> Instant {
        let patience = match self.trials == self.failed {
            true => self.wait,
            false => self.wait.max(TRIAL_TIME_MAX),
        };
        self.since + patience
    }
}
