//! How much happened in the runs, so that it shows when a scenario no longer tries what it should.

use std::collections::BTreeMap;
use std::fmt;

use bankrefresh::broker::memory::PublishFault;
use bankrefresh::refresh::event::Event;

use super::ledger::Ledger;
use super::outcomes::{conflicts, repeats};
use crate::line::Endpoint;

/// Counts by name.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, u64>);

impl Figures {
    /// The figures of one run.
    pub(super) fn of(ledger: &Ledger<'_>) -> Self {
        let history = ledger.history;
        let mut figures = Self::default();
        figures.count("commands", ledger.refreshes.len());
        figures.count("calls of finAPI", history.calls.len());
        let starts = |call: &&crate::line::Call| matches!(call.endpoint, Endpoint::Start { made: Some(_), .. });
        figures.count("tasks started", history.calls.iter().filter(starts).count());
        let minutes = history
            .quiet_at
            .map(|at| ledger.time(at).as_secs() / 60)
            .unwrap_or_default();
        figures.count("virtual minutes", usize::try_from(minutes).unwrap_or_default());
        for fault in history.publish_faults() {
            let name = match fault {
                PublishFault::Refused { .. } => "publishes refused",
                PublishFault::Unconfirmed { taken: false } => "publishes timed out, not taken",
                PublishFault::Unconfirmed { taken: true } => "publishes timed out, taken",
                PublishFault::Late { .. } => "publishes confirmed late",
            };
            figures.count(name, 1);
        }
        figures.count("killer messages", usize::from(ledger.scenario.killer.is_some()));
        figures.count("workers killed by a message", history.killed_by_message());
        for refresh in ledger.refreshes.values() {
            figures.count("came back from a lost connection", refresh.returned);
            figures.count("given up after killing workers", usize::from(refresh.given_up));
            figures.count("conflicting outcomes", usize::from(conflicts(refresh)));
            figures.count(
                "repeated events",
                repeats(refresh).values().map(|count| count - 1).sum(),
            );
            for told in &refresh.events {
                if told.event.is_last() {
                    let name = told.event.summary();
                    let name = name.split([',', ')']).next().unwrap_or_default().replace('(', "");
                    figures.count(&name, 1);
                } else if let Event::UserActionRequired(_) = told.event {
                    figures.count("UserActionRequired", 1);
                } else {
                    figures.count("parts before the last", 1);
                }
            }
        }
        figures
    }

    fn count(&mut self, name: &str, more: usize) {
        *self.0.entry(name.to_owned()).or_default() += more as u64;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, count)| writeln!(f, "{count:>10}  {name}"))
    }
}
