//! While finAPI is down, it is left alone but for one probe at a time, and workers take no new commands.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::setting::{DAY, Declared, MINUTE, SECOND, Section};

/// When finAPI counts as down (section `breaker`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub failures: u32,
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
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

impl Section for Settings {
    const NAME: &'static str = "breaker";
    const TITLE: &'static str = "when finAPI counts as down";

    fn declare(&self, list: &mut Declared) {
        list.within(
            "failures",
            self.failures,
            1..=10_000,
            "How many failed calls to a host in a row open its breaker.",
        );
        // A probe may be the poll of a task, and finAPI allows one of those a second.
        list.within(
            "initial",
            self.initial,
            SECOND..=60 * MINUTE,
            "The wait before the first probe. It doubles with each probe that fails.",
        );
        list.within("max", self.max, SECOND..=DAY, "The longest wait between two probes.")
            .and(self.initial <= self.max, "at least `breaker.initial`");
    }
}

/// finAPI's hosts, which can be down each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Tokens, connections, accounts and transactions (`finapi.access_url`).
    Access,
    /// Tasks and web forms (`finapi.web_form_url`).
    WebForm,
}

impl Host {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Access, Self::WebForm];

    fn setting(self) -> &'static str {
        match self {
            Self::Access => "finapi.access_url",
            Self::WebForm => "finapi.web_form_url",
        }
    }
}

/// Watches over the calls to finAPI.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    hosts: Mutex<[State; Host::ALL.len()]>,
    down: watch::Sender<bool>,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// One like any other.
    Call,
    /// The one that finds out whether the host is back; the next one may come after this.
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
            hosts: Mutex::default(),
            down: watch::Sender::new(false),
        }
    }

    /// Reports whenever finAPI goes down (`true`), which it is while any of its hosts is, and comes back.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.down.subscribe()
    }

    /// How long no call may be made to a host, if it is down.
    #[must_use]
    pub fn open_for(&self, host: Host, now: Instant) -> Option<Duration> {
        let hosts = self.hosts();
        let open = hosts[host as usize].open.as_ref()?;
        Some(open.probe_at.saturating_duration_since(now))
    }

    /// Whether a call may be made now, and as what.
    ///
    /// # Errors
    ///
    /// How long to wait before asking again.
    pub fn admit(&self, host: Host, now: Instant) -> Result<Admitted, Duration> {
        let mut hosts = self.hosts();
        let Some(open) = &mut hosts[host as usize].open else {
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

    /// A host answered.
    pub fn on_success(&self, host: Host) {
        let mut hosts = self.hosts();
        let state = &mut hosts[host as usize];
        state.failures = 0;
        if state.open.take().is_some() {
            tracing::info!(host = host.setting(), "finAPI is back, so its breaker is closed");
            self.report(&*hosts);
        }
    }

    /// A host could not be reached, or answered with a server error.
    pub fn on_failure(&self, host: Host, now: Instant) {
        let mut hosts = self.hosts();
        let state = &mut hosts[host as usize];
        state.failures = state.failures.saturating_add(1);
        if state.open.is_none() && state.failures >= self.settings.failures {
            let wait = self.settings.initial;
            let probe_at = now + wait;
            state.open = Some(Open { wait, probe_at });
            tracing::warn!(
                host = host.setting(),
                "finAPI is down, so its breaker is open and the worker takes no new commands"
            );
            self.report(&*hosts);
        }
    }

    fn report(&self, hosts: &[State]) {
        let down = hosts.iter().any(|state| state.open.is_some());
        self.down
            .send_if_modified(|reported| std::mem::replace(reported, down) != down);
    }

    fn hosts(&self) -> MutexGuard<'_, [State; Host::ALL.len()]> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host::WebForm;

    #[tokio::test]
    async fn it_opens_after_failures_in_a_row_probes_and_closes_again() {
        let breaker = Breaker::new(Settings {
            failures: 2,
            ..Settings::default()
        });
        let watch = breaker.watch();
        let now = Instant::now();
        breaker.on_failure(HOST, now);
        breaker.on_success(HOST);
        breaker.on_failure(HOST, now);
        assert!(breaker.admit(HOST, now).is_ok());
        breaker.on_failure(HOST, now);
        assert!(*watch.borrow());
        assert_eq!(breaker.open_for(HOST, now), Some(Duration::from_secs(2)));
        assert_eq!(breaker.admit(HOST, now), Err(Duration::from_secs(2)));
        let later = now + Duration::from_secs(2);
        assert!(breaker.admit(HOST, later).is_ok(), "the probe");
        assert_eq!(breaker.admit(HOST, later), Err(Duration::from_secs(4)), "only one");
        breaker.on_success(HOST);
        assert!(breaker.admit(HOST, later).is_ok());
        assert!(!*watch.borrow());
    }

    #[tokio::test]
    async fn each_host_is_down_by_itself_and_finapi_is_while_any_is() {
        let breaker = Breaker::new(Settings {
            failures: 2,
            ..Settings::default()
        });
        let watch = breaker.watch();
        let now = Instant::now();
        for _ in 0..2 {
            breaker.on_failure(Host::WebForm, now);
            breaker.on_success(Host::Access);
        }
        assert!(*watch.borrow());
        assert_eq!(breaker.admit(Host::Access, now), Ok(Admitted::Call));
        assert!(breaker.admit(Host::WebForm, now).is_err());
        breaker.on_failure(Host::Access, now);
        breaker.on_failure(Host::Access, now);
        breaker.on_success(Host::WebForm);
        assert!(*watch.borrow(), "the other one is down still");
        breaker.on_success(Host::Access);
        assert!(!*watch.borrow());
    }
}
