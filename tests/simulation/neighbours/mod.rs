//! Bad neighbours: pairs of runs of one seed, of which one has one more user, connection or message than the other, and that one is
//! lastingly bad. Nothing else goes wrong. What must hold is that the well ones have their outcomes about as early as without it.

mod kinds;
mod limits;
mod well;

use std::time::Duration;

use bankrefresh::refresh::event::{Event, EventKind};

use crate::check::{Figures, Ledger, Violation};
use crate::observed::Observed;
use crate::scenario::Scenario;
use crate::world::{self, History};
use crate::{pairs, trace};
use kinds::{KINDS, Kind};

/// Every so many seeds have a pair.
const EVERY: u64 = 20;
/// So many of those that were too late are named.
const NAMED: usize = 3;

/// The check's name.
const CHECK: &str = "neighbours";

/// The kind of the pair that goes with a seed, if one does. They take turns.
pub(crate) fn kind_of(seed: u64) -> Option<&'static Kind> {
    let turn = usize::try_from(seed / EVERY).unwrap_or_default();
    seed.is_multiple_of(EVERY).then(|| &KINDS[turn % KINDS.len()])
}

/// Whether there is such a promise.
pub(crate) fn exists(check: &str, promise: &str) -> bool {
    check == CHECK && KINDS.iter().any(|kind| kind.promise == promise)
}

/// Plays a pair, and compares its well ones.
pub(crate) fn check(seed: u64, kind: &Kind) -> (Vec<Violation>, Figures) {
    let (alone, beside) = kind.pair(seed);
    let (history_alone, history_beside) = (world::play_unlogged(&alone), world::play_unlogged(&beside));
    let mut found = Vec::new();
    let other = pairs::at_run_time(&history_alone, &history_beside).into_iter();
    found.extend(other.map(|what| violation("the two of a pair differ in the bad one alone", what)));
    let exceeded = limits::exceeded(&beside, &history_beside).into_iter().take(1);
    found.extend(exceeded.map(|what| violation("a worker beside a bad neighbour keeps its limits", what)));
    let compared = compared(&alone, &history_alone, &beside, &history_beside);
    let Some(compared) = compared else {
        let what = "not every well one has an outcome without the bad one".to_owned();
        found.push(violation("who is alone is well", what));
        return (found, Figures::default());
    };
    found.extend(too_late(&compared, kind).map(|what| violation(kind.promise, what)));
    let mut figures = Figures::default();
    figures.count(kind.name, 1);
    figures.count("well ones beside a bad neighbour", compared.len());
    (found, figures)
}

/// Plays a pair, and reports what happened beside the bad one and how late the well ones were.
pub(crate) fn report(seed: u64) -> Result<(), String> {
    let kind = kind_of(seed).ok_or_else(|| format!("a pair goes with every {EVERY}th seed only"))?;
    let (alone, beside) = kind.pair(seed);
    let (history_alone, history_beside) = (world::play(&alone), world::play(&beside));
    trace::print(&beside, &history_beside);
    println!("\n{}\n     alone    beside  command", kind.name);
    for one in compared(&alone, &history_alone, &beside, &history_beside).unwrap_or_default() {
        let beside = one
            .beside
            .map_or("-".to_owned(), |late| format!("{:.3}", late.as_secs_f64()));
        println!("{:>10.3}{beside:>10}  {}", one.alone.as_secs_f64(), one.command);
    }
    let (violated, _) = check(seed, kind);
    let violated = violated
        .iter()
        .map(|violation| violation.what.as_str())
        .collect::<Vec<_>>();
    match violated.as_slice() {
        [] => Ok(()),
        violated => Err(violated.join("\n")),
    }
}

/// Plays one user's flood at full size.
pub(crate) fn flood(commands: usize) -> Result<(), String> {
    let (violated, _) = check(1, &kinds::flood("a user who sends many commands at once", commands));
    let mut known = Observed::of("flood");
    let unknown: Vec<_> = violated
        .into_iter()
        .filter(|violation| !known.count(violation))
        .collect();
    let wrong = known.print(1, 1).into_iter();
    let wrong: Vec<String> = wrong
        .chain(unknown.into_iter().map(|violation| violation.what))
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn violation(promise: &'static str, what: String) -> Violation {
    Violation {
        check: CHECK,
        promise,
        what,
    }
}

/// How late a well one was: from when its command was first published.
struct Compared {
    command: String,
    alone: Duration,
    /// None: it had no outcome in time.
    beside: Option<Duration>,
}

/// None where not all are done that are alone.
fn compared(
    alone: &Scenario,
    history_alone: &History,
    beside: &Scenario,
    history_beside: &History,
) -> Option<Vec<Compared>> {
    let (ledger_alone, ledger_beside) = (Ledger::new(alone, history_alone), Ledger::new(beside, history_beside));
    let compared = alone.commands.iter().map(|command| {
        let late = |ledger: &Ledger<'_>| late(ledger, &command.id, command.at);
        Some(Compared {
            command: command.id.clone(),
            alone: late(&ledger_alone)?,
            beside: late(&ledger_beside),
        })
    });
    compared.collect()
}

fn late(ledger: &Ledger<'_>, command: &str, published: Duration) -> Option<Duration> {
    let events = &ledger.refreshes.get(command)?.events;
    // A failure is no outcome for who is well.
    let is_outcome = |event: &Event| event.is_last() && matches!(event.kind(), EventKind::TransactionsUpdated(_));
    let last = events.iter().find(|published| is_outcome(&published.event))?;
    Some(ledger.time(last.at).saturating_sub(published))
}

/// What is wrong if more were too late than may be.
fn too_late(compared: &[Compared], kind: &Kind) -> Option<String> {
    let is_late = |one: &&Compared| one.beside.is_none_or(|late| late > kind.latest(one.alone));
    let late: Vec<&Compared> = compared.iter().filter(is_late).collect();
    let (count, most) = (late.len(), kind.late_max(compared.len()));
    if count <= most {
        return None;
    }
    let named = late.iter().take(NAMED).map(|one| {
        let Compared { command, alone, beside } = one;
        format!("{command} after {beside:?}, {alone:?} alone")
    });
    let (name, named) = (kind.name, named.collect::<Vec<_>>().join("; "));
    Some(format!(
        "{name}: {count} of {} well ones were too late, {most} at most: {named}",
        compared.len()
    ))
}
