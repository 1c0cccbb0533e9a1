//! What must have happened for a run to mean anything, and what may have happened although it should not.
//!
//! Each bound scales with the run, and sits close to what was observed: see `docs/reliability.md`.

use std::sync::atomic::Ordering;

use bankrefresh::sandbox::Asked;

use crate::conduct::Done;
use crate::logs::Logs;
use crate::observer::Seen;
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
            row("workers asked to stop", stops as usize, done.stopped),
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

    /// What depends on chance, and on how fast the machine is: the rates are those of the slowest runs.
    fn by_chance(&self) -> Vec<Row> {
        let refreshes = f64::from(self.options.refreshes);
        let kills = f64::from(self.options.kills);
        let calls = self.asked.calls.values().sum::<u64>() as f64;
        let figures = self.figures;
        let to_broker = self.stage.to_broker.cut.load(Ordering::Relaxed) as usize;
        let to_finapi = self.stage.to_finapi.cut.load(Ordering::Relaxed) as usize;
        let faults = self.asked.faults as usize;
        let again = self.done.published - self.done.orders.len();
        let logged = |text| self.logs.with(text).count();
        vec![
            row("commands published again", at_least(0.1 * refreshes), again),
            row("broker connections cut", at_least(0.5 * kills), to_broker),
            row(
                "finAPI connections cut",
                CUT_TOGETHER * at_least(0.18 * kills),
                to_finapi,
            ),
            row("faulty answers of finAPI", at_least(0.2 * calls), faults),
            row("workers that lost the broker", at_least(0.2 * kills), logged(LOST)),
            row(
                "commands in two messages at once",
                at_least(0.08 * refreshes),
                figures.in_two_messages,
            ),
            row(
                "duplicates that a worker dropped",
                at_least(0.02 * refreshes),
                logged(DROPPED),
            ),
            row("refreshes parked", at_least(0.5 * refreshes), logged(PARKED)),
            row(
                "messages that came back three times",
                at_least(0.4 * refreshes),
                logged(QUARANTINED),
            ),
            row(
                "times that finAPI counted as down",
                at_least(0.015 * kills),
                logged(DOWN),
            ),
            row("events repeated", at_least(0.06 * refreshes), figures.repeated),
            row("users asked to act", at_least(0.17 * refreshes), figures.user_asked),
            row(
                "outcomes in several parts",
                at_least(0.038 * refreshes),
                figures.in_parts,
            ),
            row("polls of tasks", at_least(0.7 * refreshes), figures.polls),
        ]
    }

    /// What should not happen and may all the same, with its limit. What no run has shown yet may happen once.
    pub fn excused(&self) -> Vec<Row> {
        let refreshes = f64::from(self.options.refreshes);
        let figures = self.figures;
        let early = self.done.workers.stopped_before_they_began;
        let observer = OBSERVER_AGAIN_MAX * self.done.crashes;
        vec![
            row("two messages: started by two workers", 1, figures.started_by_two),
            row(
                "two messages: started by two workers, one after the other",
                at_most(0.0001 * refreshes),
                figures.raced,
            ),
            row(
                "two messages: polled by two in a second",
                at_most(0.004 * refreshes) + CLUSTER,
                figures.polled_by_two,
            ),
            row(
                "two messages: polled by one in a second",
                at_most(0.0001 * refreshes),
                figures.polled_by_one,
            ),
            row(
                "two messages: a second update under one id",
                at_most(0.0008 * refreshes),
                figures.second_updates,
            ),
            row(
                "one message: a part that was cut again has transactions twice",
                at_most(0.0004 * refreshes),
                figures.cut_again,
            ),
            row("workers stopped before they had begun", 1, early),
            row("events that the observer read again", observer, self.seen.read_again),
        ]
    }
}

/// What a worker logs when it drops a duplicate.
pub const DROPPED: &str = "dropped a duplicate";
const LOST: &str = "lost the connection to the broker";
const PARKED: &str = "parked the refresh";
const QUARANTINED: &str = "fate=\"quarantined\"";
const DOWN: &str = "finAPI is down";

/// How many connections to finAPI are cut at one time, about. So their number varies as that of the cuts does, and not as one of so many
/// independent events would.
const CUT_TOGETHER: usize = 10;

/// Polls by two workers are not independent of each other, because one death leaves several commands in two messages.
const CLUSTER: usize = 3;

/// How many events the observer may read again after a crash of the broker, which loses its last acknowledgements.
const OBSERVER_AGAIN_MAX: usize = 5;

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

/// A Poisson distribution's tails that are left out, each so likely.
const TAIL: f64 = 0.001;

/// What a count with this mean stays at or above, but for one run in a thousand.
fn at_least(mean: f64) -> usize {
    let mut below = 0.0;
    let counts = (0..).take_while(|count| {
        below += probability(mean, *count);
        below < TAIL
    });
    counts.count()
}

/// What a count with this mean stays at or below, but for one run in a thousand.
fn at_most(mean: f64) -> usize {
    let mut within = 0.0;
    let counts = (0..).take_while(|count| {
        within += probability(mean, *count);
        within < 1.0 - TAIL
    });
    counts.count()
}

/// Of a count in a Poisson distribution, by way of logarithms because the factors are too large.
fn probability(mean: f64, count: u32) -> f64 {
    let factorial: f64 = (1..=count).map(|n| f64::from(n).ln()).sum();
    (f64::from(count) * mean.ln() - mean - factorial).exp()
}
