//! What must have happened for a run to mean anything, and what may have happened although it should not.
//!
//! Each bound scales with the run, and sits close to what was observed: see `docs/reliability.md`.

use std::sync::atomic::Ordering;

use bankrefresh::sandbox::Asked;

use crate::conduct::Done;
use crate::logs::Logs;
use crate::observer::{self, Seen};
use crate::options::Options;
use crate::schedule::{Case, STOP_EVERY};
use crate::stage::Stage;
use crate::verdict::{Figures, Invariant};

/// A count and the bound that it keeps, or not.
pub struct Row {
    pub what: String,
    pub bound: usize,
    pub observed: usize,
}

/// What the rows are made of.
pub struct Run<'a> {
    pub options: &'a Options,
    pub stage: &'a Stage,
    pub done: &'a Done,
    pub seen: &'a Seen,
    pub asked: &'a Asked,
    pub logs: &'a Logs,
    pub figures: &'a Figures,
}

impl Run<'_> {
    /// What must have happened, with its minimum.
    pub fn scenarios(&self) -> Vec<Row> {
        let mut rows = self.planned();
        rows.extend(self.cases());
        rows.extend(self.by_chance());
        rows
    }

    /// What happens exactly as often as it was planned.
    fn planned(&self) -> Vec<Row> {
        let Options {
            refreshes,
            kills,
            broker_restarts,
            ..
        } = *self.options;
        let stops = kills / STOP_EVERY;
        let done = self.done;
        vec![
            row("commands", refreshes as usize, done.orders.len()),
            row("workers killed", (kills - stops) as usize, done.killed),
            row("workers told to stop", stops as usize, done.stopped),
            row("broker crashes", broker_restarts as usize, done.crashes),
            row(
                "times that the broker or finAPI became slow",
                2 * (kills / 12) as usize,
                done.slow,
            ),
        ]
    }

    fn cases(&self) -> impl Iterator<Item = Row> {
        let refreshes = f64::from(self.options.refreshes);
        let cases = Case::ALL.into_iter();
        cases.map(move |case| {
            let observed = self.figures.cases.get(&case).copied().unwrap_or_default();
            let what = format!("refreshes of the case {case:?}");
            row(&what, at_least(refreshes * case.share()), observed)
        })
    }

    /// What depends on chance, and on how fast the machine is.
    fn by_chance(&self) -> Vec<Row> {
        let refreshes = f64::from(self.options.refreshes);
        let kills = f64::from(self.options.kills);
        let logged = |text| self.logs.with(text).count();
        let cut = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed) as usize;
        let calls: u64 = self.asked.calls.values().sum();
        let figures = self.figures;
        vec![
            row(
                "commands published again",
                at_least(0.05 * refreshes),
                self.done.published - self.done.orders.len(),
            ),
            row(
                "broker connections cut",
                at_least(0.75 * kills),
                cut(&self.stage.to_broker.cut),
            ),
            row(
                "finAPI connections cut",
                at_least(2.0 * kills),
                cut(&self.stage.to_finapi.cut),
            ),
            row(
                "faulty answers of finAPI",
                at_least(0.2 * calls as f64),
                self.asked.faults as usize,
            ),
            row(
                "workers that lost the broker",
                at_least(0.5 * kills),
                logged("lost the connection to the broker"),
            ),
            row(
                "commands in two messages at once",
                at_least(0.1 * refreshes),
                figures.in_two_messages,
            ),
            row(
                "duplicates that a worker dropped",
                at_least(0.01 * refreshes),
                logged(DROPPED),
            ),
            row("refreshes parked", at_least(0.1 * refreshes), logged(" parked ")),
            row(
                "messages that came back three times",
                at_least(0.1 * refreshes),
                logged("to be tried alone"),
            ),
            row(
                "times that finAPI counted as down",
                at_least(0.05 * kills),
                logged("finAPI is down"),
            ),
            row("events repeated", at_least(0.1 * refreshes), figures.repeated),
            row("users asked to act", at_least(0.17 * refreshes), figures.user_asked),
            row(
                "outcomes in several parts",
                at_least(0.04 * refreshes),
                figures.in_parts,
            ),
            row("polls of tasks", at_least(1.5 * refreshes), figures.polls),
        ]
    }

    /// What should not happen and may all the same, with its limit.
    pub fn excused(&self) -> Vec<Row> {
        let refreshes = f64::from(self.options.refreshes);
        let figures = self.figures;
        let batches = figures.cases.get(&Case::LockedByBatch).copied().unwrap_or_default();
        let observers = observer::PREFETCH as usize * self.done.crashes;
        vec![
            row(
                "started by two workers",
                at_most(0.0 * refreshes),
                figures.started_by_two,
            ),
            row(
                "polled by two workers within a second",
                at_most(0.0014 * refreshes),
                figures.polled_by_two,
            ),
            row(
                "also published what came just before",
                at_most(0.001 * refreshes),
                figures.older_too,
            ),
            row(
                "batch updates whose transactions are not counted",
                batches,
                figures.uncounted,
            ),
            row(
                "stopped before they had begun",
                at_most(0.001 * refreshes),
                self.done.workers.stopped_before_they_began,
            ),
            row(
                "events that the observer itself read again",
                observers,
                self.seen.read_again,
            ),
        ]
    }
}

/// What a worker logs when it drops a duplicate.
pub const DROPPED: &str = "another copy is in hand";

/// Fails for each row that is below its minimum.
pub fn minima(rows: &[Row]) -> Invariant {
    let mut invariant = Invariant::new("every_scenario_happened_often_enough");
    for row in rows {
        invariant.check(row.observed >= row.bound, || {
            format!("{}: {} are fewer than {}", row.what, row.observed, row.bound)
        });
    }
    invariant
}

/// Fails for each row that is above its limit.
pub fn limits(rows: &[Row]) -> Invariant {
    let mut invariant = Invariant::new("nothing_is_excused_more_often_than_its_limit");
    for row in rows {
        invariant.check(row.observed <= row.bound, || {
            format!("{}: {} are more than {}", row.what, row.observed, row.bound)
        });
    }
    invariant
}

fn row(what: &str, bound: usize, observed: usize) -> Row {
    Row {
        what: what.to_owned(),
        bound,
        observed,
    }
}

/// What a count that is expected to be so high stays above, but for one run in thousands.
fn at_least(expected: f64) -> usize {
    (expected - 3.5 * expected.sqrt()).max(0.0) as usize
}

/// What a count that is expected to be so high stays below, but for one run in thousands.
fn at_most(expected: f64) -> usize {
    (expected + 3.0 * expected.sqrt()).ceil().max(1.0) as usize
}
