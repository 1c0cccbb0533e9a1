//! While finAPI is down, it is left alone but for one probe at a time, and workers take no new commands.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// When finAPI counts as down (section `breaker`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// So many failed calls in a row, over all refreshes. At least 1.
    pub failures: u32,
    /// The wait before the first probe; doubled after each probe that fails.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// The longest wait between two probes.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 10,
            initial: Duration::from_secs(2),
            max: Duration::from_secs(30),
        }
    }
}

/// Watches over the calls to finAPI.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: Mutex<State>,
    open: watch::Sender<bool>,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// One like any other.
    Call,
    /// The one that finds out whether finAPI is back; the next one may come after this.
    Probe(Duration),
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    wait: Duration,
    probe_at: Instant,
}

impl Breaker {
    /// A closed breaker: finAPI counts as up.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
            open: watch::Sender::new(false),
        }
    }

    /// Tells whenever finAPI goes down (`true`) and comes back.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Whether a call may be made now, and as what.
    ///
    /// # Errors
    ///
    /// How long to wait before asking again.
    pub fn admit(&self, now: Instant) -> Result<Admitted, Duration> {
        let mut state = self.state();
        let Some(open) = &mut state.open else {
            return Ok(Admitted::Call);
        };
        if now < open.probe_at {
            return Err(open.probe_at - now);
        }
        // This call is the probe; the next one waits for what comes of it.
        open.wait = (open.wait * 2).min(self.settings.max);
        open.probe_at = now + open.wait;
        Ok(Admitted::Probe(open.wait))
    }

    /// finAPI answered.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.failures = 0;
        if state.open.take().is_some() {
            drop(state);
            tracing::info!("finAPI is back");
            self.open.send_replace(false);
        }
    }

    /// finAPI could not be reached, or answered with a server error.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.open.is_none() && state.failures >= self.settings.failures {
            let wait = self.settings.initial;
            let probe_at = now + wait;
            state.open = Some(Open { wait, probe_at });
            drop(state);
            tracing::warn!("finAPI is down; taking no new commands");
            self.open.send_replace(true);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_opens_after_failures_in_a_row_probes_and_closes_again() {
        let breaker = Breaker::new(Settings {
            failures: 2,
            ..Settings::default()
        });
        let watch = breaker.watch();
        let now = Instant::now();
        breaker.failed(now);
        breaker.succeeded();
        breaker.failed(now);
        assert!(breaker.admit(now).is_ok());
        breaker.failed(now);
        assert!(*watch.borrow());
        assert_eq!(breaker.admit(now), Err(Duration::from_secs(2)));
        let later = now + Duration::from_secs(2);
        assert!(breaker.admit(later).is_ok(), "the probe");
        assert_eq!(breaker.admit(later), Err(Duration::from_secs(4)), "only one");
        breaker.succeeded();
        assert!(breaker.admit(later).is_ok());
        assert!(!*watch.borrow());
    }
}
