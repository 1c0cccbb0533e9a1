//! What is printed at the end.

use crate::known::Known;
use crate::rows::{Row, Run};
use crate::verdict::Invariant;

/// How many of those who broke an invariant are named.
const NAMED_MAX: usize = 20;

/// Prints the figures of a run.
pub fn figures(run: &Run<'_>) {
    let Run {
        options,
        done,
        asked,
        figures,
        ..
    } = run;
    let answered: u64 = asked.calls.values().sum();
    let ms = |interval: Option<u64>| interval.map_or("none".to_owned(), |ms| format!("{ms} ms"));
    let at = |part: f64| {
        let index = (figures.seconds.len().saturating_sub(1)) as f64 * part;
        let seconds = figures.seconds.get(index as usize).copied().unwrap_or_default();
        format!("{seconds:.1}")
    };
    let rows = [
        ("seed", options.seed.to_string()),
        ("messages with commands", done.published.to_string()),
        ("workers started", done.workers.started.to_string()),
        ("workers that began to log", run.logs.begun().to_string()),
        ("calls of finAPI", answered.to_string()),
        ("tasks", asked.tasks.to_string()),
        ("commands without a task", figures.without_task.to_string()),
        ("outcomes with what came just before", figures.older_too.to_string()),
        ("events", figures.events.to_string()),
        ("shortest interval of polls by one worker", ms(figures.interval_by_one)),
        ("shortest interval of polls by two workers", ms(figures.interval_by_two)),
        ("seconds to the outcome, median", at(0.5)),
        ("seconds to the outcome, 99 %", at(0.99)),
        ("seconds to the outcome, longest", at(1.0)),
        (
            "seconds until the chaos ended",
            format!("{:.0}", done.chaos.as_secs_f64()),
        ),
        ("seconds until all was done", format!("{:.0}", done.all.as_secs_f64())),
    ];
    println!();
    for (what, value) in rows {
        println!("{what:<50} {value:>10}");
    }
}

/// Prints rows with their bounds.
pub fn rows(title: &str, bound: &str, rows: &[Row]) {
    println!("\n{title:<50} {bound:>10} {:>10}", "observed");
    for row in rows {
        println!("{:<50} {:>10} {:>10}", row.what, row.bound, row.observed);
    }
}

/// Prints the polls that are excused.
pub fn close_polls(polls: &[String]) {
    println!();
    polls.iter().take(NAMED_MAX).for_each(|pair| println!("{pair}"));
}

/// Prints what was checked.
pub fn invariants(invariants: &[Invariant]) {
    println!("\n{:<60} {:>10} {:>10}", "invariant", "checked", "broken");
    for Invariant { name, checked, broken } in invariants {
        println!("{name:<60} {checked:>10} {:>10}", broken.len());
    }
    println!();
}

/// Prints the known violations with how often each occurred.
pub fn known(known: &[Known], invariants: &[Invariant]) {
    println!("known violations: {} in tests/known-violations.txt", known.len());
    for Known {
        check, promise, issue, ..
    } in known
    {
        let invariant = invariants.iter().find(|invariant| check.ends_with(invariant.name));
        let count = invariant.map_or(0, |invariant| invariant.broken.len());
        println!("{count:>10}  {check}: {promise} (issue {issue})");
    }
    println!();
}

/// What is wrong with an invariant that does not hold.
pub fn broken(invariant: &Invariant) -> Result<(), String> {
    let broken = &invariant.broken;
    if broken.is_empty() {
        return Ok(());
    }
    let named = broken.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
    Err(format!("broken {} times:\n{}", broken.len(), named.join("\n")))
}
