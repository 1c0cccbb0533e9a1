//! The circuit breaker: a host that is down is asked nothing but a few trial calls, and workers take no new commands.
//!
//! A host is down when the last calls of several users failed, and these are at least half of the users that called lately, or
//! when it cannot be connected to. What fails for fewer users is their own trouble.
//!
//! ```text
//! closed ── several users fail ──> open ── after a wait ──> half-open: some users may call once each
//!    ^                              ^                           │
//!    │                              └──── they all failed ──────┤
//!    └───────────────── the host answered anybody ──────────────┘
//! ```

mod host;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use super::callers::CallEnd;
use crate::id::UserId;
use host::State;
pub use settings::Settings;

/// What workers call, each of which can be down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Tokens, connections, accounts and transactions (`finapi.access_url`).
    Access,
    /// Tasks and web forms (`finapi.web_form_url`).
    WebForm,
    /// The source of users' credentials (section `credentials`).
    Credentials,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Access, Self::WebForm, Self::Credentials];

    fn setting(self) -> &'static str {
        match self {
            Self::Access => "finapi.access_url",
            Self::WebForm => "finapi.web_form_url",
            Self::Credentials => "credentials",
        }
    }

    /// What failures call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Access | Self::WebForm => "finAPI",
            Self::Credentials => "the source of credentials",
        }
    }
}

/// How it is with all hosts together: as with the worst of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outage {
    /// All breakers are closed.
    #[default]
    None,
    /// A host counts as down, and whoever calls it next finds out whether it is back.
    Ending,
    /// A host counts as down and is to be left alone.
    Lasting,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// One like any other.
    Call,
    /// One of a few that find out whether the host is back; and of which round.
    Trial(u64),
}

/// What the end of a call says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// It was a trial and its host is still down: nobody's failure, and to be tried again after this.
    pub still_down: Option<Duration>,
    /// Where it found the host under strain: the share of users whose last call did, if these are several.
    pub strained: Option<f64>,
}

/// Watches over the calls to all hosts.
#[derive(Debug)]
pub struct Breaker {
    hosts: Mutex<[State; Host::ALL.len()]>,
    outage: watch::Sender<Outage>,
}

impl Breaker {
    /// A closed breaker: all hosts count as up.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            hosts: Mutex::new(Host::ALL.map(|_| State::new(settings))),
            outage: watch::Sender::default(),
        }
    }

    /// Reports whenever the outage changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Outage> {
        self.outage.subscribe()
    }

    /// Whether a user may call a host now.
    ///
    /// # Errors
    ///
    /// How long to wait before asking again.
    pub fn check(&self, host: Host, user_id: &UserId, now: Instant) -> Result<(), Duration> {
        self.change(host, now, |state| state.check(user_id, now))
    }

    /// The same, for a call that is made at once. Each is to be followed by [`Self::on_end`].
    ///
    /// # Errors
    ///
    /// How long to wait before asking again.
    pub fn admit(&self, host: Host, user_id: &UserId, now: Instant) -> Result<Admitted, Duration> {
        self.change(host, now, |state| state.admit(user_id, now))
    }

    /// A call has ended.
    pub fn on_end(&self, host: Host, user_id: &UserId, admitted: Admitted, end: CallEnd, now: Instant) -> Verdict {
        self.change(host, now, |state| state.on_end(user_id, admitted, end, now))
    }

    /// Whether too few users called a host lately to know an outage from one user's trouble.
    #[must_use]
    pub fn callers_are_few(&self, host: Host, now: Instant) -> bool {
        self.hosts()[host as usize].callers_are_few(now)
    }

    /// Lets time pass for the hosts that are down, for ever: once no refresh is in flight, nobody calls them.
    pub async fn keep_time(&self) {
        let mut outage = self.watch();
        loop {
            let next = self.hosts().iter().filter_map(State::next_change).min();
            match next {
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    _ = outage.changed() => {}
                },
                // The sender lives as long as this.
                None => drop(outage.changed().await),
            }
            for host in Host::ALL {
                self.change(host, Instant::now(), |_| ());
            }
        }
    }

    /// Changes a host's state after the time that has passed, and reports what follows.
    fn change<T>(&self, host: Host, now: Instant, change: impl FnOnce(&mut State) -> T) -> T {
        let mut hosts = self.hosts();
        let state = &mut hosts[host as usize];
        let before = state.outage();
        state.pass(now);
        let result = change(state);
        let after = state.outage();
        if before != after {
            report(host, before, after);
            let worst = hosts.iter().map(State::outage).max().unwrap_or_default();
            self.outage
                .send_if_modified(|reported| std::mem::replace(reported, worst) != worst);
        }
        result
    }

    fn hosts(&self) -> MutexGuard<'_, [State; Host::ALL.len()]> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(host: Host, before: Outage, after: Outage) {
    let (setting, name) = (host.setting(), host.name());
    match (before, after) {
        (Outage::None, _) => tracing::warn!(
            host = setting,
            "{name} is down, so its breaker is open and the worker takes no new commands"
        ),
        (_, Outage::None) => tracing::info!(host = setting, "{name} is back, so its breaker is closed"),
        _ => {}
    }
}
