//! How much happened in the runs, with its limits: a scenario that no longer happens fails a sweep, and so does an excuse that is needed
//! too often.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use bankrefresh::broker::memory::{PublishFault, What};
use bankrefresh::proto::RefreshState;
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::Endpoint as Part;
use prost::Message as _;

use super::data::is_late;
use super::findings::Findings;
use super::ledger::Ledger;
use super::limits::{EXCUSED, EXCUSED_STRANGE, FIGURES, MEANS, SCENARIOS};
use super::outcomes::{conflicts, repeats};
use crate::line::Endpoint;
use crate::scenario::Act;
use crate::strange::{Means, Strange};

/// So many seeds the limits are for.
const PER_SEEDS: u64 = 1000;

/// Counts by name.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, u64>);

impl Figures {
    /// The figures of one run.
    pub(super) fn of(ledger: &Ledger<'_>, findings: &Findings) -> Self {
        let mut figures = Self::default();
        figures.count_run(ledger);
        ledger.history.acts.iter().for_each(|(_, act)| figures.count_act(act));
        for seen in &ledger.history.broker {
            figures.count_seen(ledger, &seen.what);
        }
        figures.count_refreshes(ledger);
        for (name, count) in findings.excused().iter().chain(findings.met()) {
            *figures.0.entry((*name).to_owned()).or_default() += count;
        }
        figures
    }

    /// The figures of a strange run: which of its acts were met.
    pub(super) fn of_strange(ledger: &Ledger<'_>, findings: &Findings) -> Self {
        let mut figures = Self::default();
        let acts = ledger.scenario.strange.iter();
        acts.filter(|act| is_met(ledger, act))
            .for_each(|act| figures.count(act.name, 1));
        figures.count("strange runs", 1);
        figures.count("commands of strange runs", ledger.refreshes.len());
        let excused = findings.excused().values().sum::<u64>();
        figures.count(EXCUSED_STRANGE, usize::try_from(excused).unwrap_or(usize::MAX));
        figures
    }

    fn count_run(&mut self, ledger: &Ledger<'_>) {
        let history = ledger.history;
        self.count("commands", ledger.refreshes.len());
        // Those that workers make when they start are no refresh's.
        let of_refreshes = history.calls.iter().filter(|call| call.endpoint != Endpoint::Client);
        self.count("calls of finAPI", of_refreshes.count());
        let is_cancel = |call: &&crate::line::Call| matches!(call.endpoint, Endpoint::CancelWebForm(_));
        self.count("web form cancelled", history.calls.iter().filter(is_cancel).count());
        let is_start = |call: &&crate::line::Call| matches!(call.endpoint, Endpoint::Start { made: Some(_), .. });
        self.count("tasks started", history.calls.iter().filter(is_start).count());
        let minutes = history.quiet_at.map(|at| ledger.time(at).as_secs() / 60);
        let minutes = usize::try_from(minutes.unwrap_or_default()).unwrap_or_default();
        self.count("virtual minutes", minutes);
        self.count(
            "message that kills workers",
            usize::from(ledger.scenario.killer.is_some()),
        );
    }

    fn count_act(&mut self, act: &Act) {
        let name = match act {
            Act::Kill(_) => "worker killed",
            Act::KillByMessage(_) => "worker killed by a message",
            Act::KillAfterEffect(_) => "worker killed right after an effect",
            Act::Stop(_) => "worker asked to stop",
            Act::BrokerDown(true) => "outage of the broker",
            Act::LoseConfirm => "confirm lost",
            Act::FinapiDown(Some((_, parts))) => down(parts),
            Act::RevokeToken(_) => "token revoked",
            Act::BatchUpdate(..) => "batch update",
            Act::SwitchVersion => "switched version",
            Act::Pause(..) => "pause",
            Act::Resume(_) => "resumed",
            Act::Cancel(_, false) => "command cancelled",
            Act::Cancel(_, true) => "user's commands cancelled",
            _ => return,
        };
        self.count(name, 1);
    }

    fn count_seen(&mut self, ledger: &Ledger<'_>, what: &What) {
        let topology = &ledger.topology;
        if let What::Taken { queue, message } = what
            && queue.starts_with(&topology.delay())
            && RefreshState::decode(message.body.clone()).is_ok_and(|state| state.paused_for.is_some())
        {
            self.count("parked refresh that was paused", 1);
        }
        let name = match what {
            What::Taken { queue, .. } if *queue == topology.quarantine() => "delivery quarantined",
            What::Taken { queue, .. } if queue.starts_with(&topology.delay()) => "refresh parked",
            What::Taken { queue, .. } if *queue == topology.dead_letters() => "dead letter",
            What::Sent { client, outgoing } if *client > 0 && outgoing.exchange == topology.commands() => {
                "command requeued"
            }
            What::Handed { queue, .. } if queue.starts_with("ephemeral.") => "wake-up after a callback",
            What::PublishFailed { fault, .. } => failed(fault),
            What::Left { reason, .. } if *reason == "delivery_limit" => "given up after killing workers",
            _ => return,
        };
        self.count(name, 1);
    }

    fn count_refreshes(&mut self, ledger: &Ledger<'_>) {
        let is_newer = |command: &&crate::commands::Command| matches!(command.is, crate::commands::Is::Newer);
        let newer = ledger.scenario.commands.iter().filter(is_newer).count();
        self.count("state of a newer release", newer);
        for refresh in ledger.refreshes.values() {
            self.count("command sent again", refresh.duplicates.saturating_sub(1));
            self.count("delivery came back from a lost connection", refresh.returned);
            self.count("command with conflicting outcomes", usize::from(conflicts(refresh)));
            let repeated = repeats(refresh).values().map(|count| count - 1).sum();
            self.count("event published again", repeated);
            for published in &refresh.events {
                if published.event.is_last() {
                    let name = published.event.summary();
                    let name = name.split([',', ')']).next().unwrap_or_default().replace('(', "");
                    self.count(&name, 1);
                } else if let EventKind::UserActionRequired(_) = published.event.kind() {
                    self.count("UserActionRequired", 1);
                } else {
                    self.count("part before the last", 1);
                }
            }
        }
    }

    pub(crate) fn count(&mut self, name: &str, more: usize) {
        *self.0.entry(name.to_owned()).or_default() += more as u64;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Both tables, and what is beyond its limit after so many seeds. Minima hold for sweeps that are long enough.
    pub(crate) fn judge(&self, seeds: u64) -> (String, Vec<String>) {
        let mut text = String::new();
        let mut beyond = Vec::new();
        // Writing to a string can't fail.
        let _ = self.write_tables(seeds, &mut text, &mut beyond);
        (text, beyond)
    }

    fn write_tables(&self, seeds: u64, text: &mut String, beyond: &mut Vec<String>) -> fmt::Result {
        let is_long = seeds >= PER_SEEDS;
        for name in FIGURES {
            writeln!(text, "{:>10}  {name}", self.get(name))?;
        }
        writeln!(text, "\n  at least  observed  scenarios")?;
        for (name, least) in SCENARIOS {
            let (least, count) = (scaled(*least, seeds), self.get(name));
            writeln!(text, "{least:>10}{count:>10}  {name}")?;
            if is_long && count < least {
                beyond.push(format!("scenario: {name}: {count}, at least {least}"));
            }
        }
        writeln!(text, "\n   at most  observed  excused")?;
        for (name, most) in EXCUSED {
            let (most, count) = (scaled(*most, seeds.max(PER_SEEDS)), self.get(name));
            writeln!(text, "{most:>10}{count:>10}  {name}")?;
            if count > most {
                beyond.push(format!("excused: {name}: {count}, at most {most}"));
            }
        }
        for (name, of, per, most) in MEANS {
            let mean = self.get(of) as f64 / self.get(per).max(1) as f64;
            writeln!(text, "{most:>10.1}{mean:>10.1}  {name}")?;
            if is_long && mean > *most {
                beyond.push(format!("mean: {name}: {mean:.1}, at most {most}"));
            }
        }
        beyond.extend(self.without_limit().map(|name| format!("no limit: {name}")));
        Ok(())
    }

    fn without_limit(&self) -> impl Iterator<Item = &String> {
        let limited = SCENARIOS.iter().chain(EXCUSED).map(|(name, _)| name);
        let known: Vec<&str> = limited.chain(FIGURES).copied().collect();
        self.0.keys().filter(move |name| !known.contains(&name.as_str()))
    }
}

/// Whether a call met it.
fn is_met(ledger: &Ledger<'_>, act: &Strange) -> bool {
    let asked = &ledger.history.asked.connections;
    match &act.means {
        Means::Fault(fault) => ledger.history.calls.iter().any(|call| {
            let at = ledger.time(call.at);
            call.met.as_ref() == Some(&fault.kind) && act.from <= at && act.until.is_none_or(|until| at <= until)
        }),
        Means::Late(connection) => {
            let imports = asked
                .get(connection)
                .map(|asked| asked.imports.as_slice())
                .unwrap_or_default();
            imports.iter().any(|import| is_late(imports, import))
        }
        Means::Clock => !ledger.history.calls.is_empty(),
    }
}

/// A limit for [`PER_SEEDS`], for so many seeds.
fn scaled(limit: u64, seeds: u64) -> u64 {
    limit * seeds / PER_SEEDS
}

/// How a publish failed.
fn failed(fault: &PublishFault) -> &'static str {
    match fault {
        PublishFault::Refused { .. } => "publish refused",
        PublishFault::Unconfirmed { taken: false } => "publish timed out: not taken",
        PublishFault::Unconfirmed { taken: true } => "publish timed out: taken",
        PublishFault::Late { .. } => "publish timed out: taken late",
    }
}

/// Which part of finAPI goes down together.
fn down(parts: &[Part]) -> &'static str {
    match (parts.contains(&Part::Token), parts.contains(&Part::Tasks)) {
        (true, true) => "finAPI down: both hosts",
        (true, false) => "finAPI down: the access host",
        (false, true) => "finAPI down: the web form host",
        (false, false) => "finAPI down: a part of the access host",
    }
}
