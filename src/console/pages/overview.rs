//! What flows, what waits and what fails, at one glance.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};

use super::chart::{Kind, Series, chart};
use super::{number, span};
use crate::console::memory::{MINUTES_MAX, Memory, Minute, Sample, Workers, percentile};

/// The fewest minutes that a chart shows.
const SHOWN_MIN: usize = 15;

pub(in crate::console) fn overview(memory: &Memory, now: Timestamp) -> Markup {
    let hour = memory.minutes.last_hour(now);
    // Of an hour that is mostly empty, only the end.
    let shown = &hour[hour.len() - shown_minutes(memory, now)..];
    let is_empty = hour.iter().all(Option::is_none);
    html! {
        h1 { "Overview" }
        div #overview data-live {
            @if is_empty { (nothing_yet()) }
            (super::pauses::summary(&memory.orders, now))
            (tiles(memory, &hour, now))
            section.charts aria-label="Charts of the last hour" { (charts(shown)) }
            (outcomes(&hour))
            p.quiet { (remembered(memory, now)) }
        }
    }
}

fn shown_minutes(memory: &Memory, now: Timestamp) -> usize {
    let minutes = now.duration_since(memory.started_at).as_mins() + 1;
    usize::try_from(minutes).unwrap_or(0).clamp(SHOWN_MIN, MINUTES_MAX)
}

fn nothing_yet() -> Markup {
    html! {
        p.hint {
            strong { "Nothing has passed by yet. " }
            "The console shows what happens while it runs. Start a worker with " code { "bankrefresh worker" }
            " and send a command with " code { "bankrefresh send --user anna --connection 1 --wait" } "; both need the same "
            code { "amqp.prefix" } " as the console."
        }
    }
}

fn tiles(memory: &Memory, hour: &[Option<&Minute>], now: Timestamp) -> Markup {
    html! {
        dl.tiles {
            (outcome_tiles(hour))
            (tile("Users asked", &number(memory.refreshes.awaiting_user() as u64), "web forms are open", ""))
            (lane_tiles(&memory.workers, now))
            (worker_tiles(&memory.workers, now))
            (stopped_tiles(&memory.workers, now))
        }
    }
}

fn tile(name: &str, value: &str, detail: &str, class: &str) -> Markup {
    html! {
        div class={ "tile " (class) } {
            dt { (name) }
            dd { span.value { (value) } @if !detail.is_empty() { span.detail { (detail) } } }
        }
    }
}

fn outcome_tiles(hour: &[Option<&Minute>]) -> Markup {
    let sum = |of: fn(&Minute) -> u64| hour.iter().flatten().map(|minute| of(minute)).sum::<u64>();
    let (updated, failed) = (sum(|minute| minute.updated), sum(|minute| minute.failed));
    // This minute is not over.
    let last = hour.iter().rev().nth(1).copied().flatten();
    let per_minute = last.map_or(0, |minute| minute.updated + minute.failed);
    let times = |share| {
        percentile(hour.iter().copied().flatten(), share)
            .map_or("–".to_owned(), |seconds| format!("≈ {}", span(seconds)))
    };
    let share = match updated + failed {
        0 => String::new(),
        all => format!("{:.1} % of {}", failed as f64 * 100.0 / all as f64, number(all)),
    };
    html! {
        (tile("Outcomes/minute", &number(per_minute), &format!("{} in the last hour", number(updated + failed)), ""))
        (tile("Failed", &number(failed), &share, ""))
        (tile("Time to outcome", &times(0.5), &format!("p95 {}", times(0.95)), ""))
    }
}

/// A depth, or that nobody knows it: no worker reports, or the broker does not say.
fn shown(depth: Option<u32>) -> String {
    depth.map_or("unknown".to_owned(), |depth| number(depth.into()))
}

fn lane_tiles(workers: &Workers, now: Timestamp) -> Markup {
    let depth = |queue| workers.depth(queue, now);
    let taken = |of: fn(&crate::worker::Taken) -> i64| {
        let ages = workers
            .living(now)
            .map(|worker| of(&worker.report.status.taken_after_seconds));
        format!("last waited {}", span(ages.max().unwrap_or(0) as f64))
    };
    let interactive = depth("commands.interactive");
    let background = depth("commands.background");
    html! {
        (tile("Interactive lane", &shown(interactive), &taken(|taken| taken.interactive), ""))
        (tile("Background lane", &shown(background), &taken(|taken| taken.background), ""))
        (tile("Parked", &shown(depth("delay")), "wait in delay queues", ""))
    }
}

fn worker_tiles(workers: &Workers, now: Timestamp) -> Markup {
    let living: Vec<_> = workers.living(now).collect();
    let in_flight: u64 = living.iter().map(|worker| worker.in_flight()).sum();
    let calls = living.iter().map(|worker| worker.report.status.finapi_calls);
    let (running, limit) = calls.fold((0, 0), |(running, limit), calls| {
        (running + calls.running, limit + calls.limit)
    });
    let down = living.iter().filter(|worker| worker.report.status.finapi_down).count();
    let off = living.iter().filter(|worker| worker.report.status.wake_ups_off).count();
    let (breaker, class) = match (living.len(), down) {
        (0, _) => ("–".to_owned(), ""),
        (_, 0) => ("closed".to_owned(), ""),
        (all, down) => (format!("open at {down} of {all}"), "bad"),
    };
    let wake_ups = if off == 0 {
        "wake-ups arrive".to_owned()
    } else {
        format!("wake-ups are off at {off}")
    };
    html! {
        (tile("Workers", &number(living.len() as u64), &wake_ups, if living.is_empty() || off > 0 { "bad" } else { "" }))
        (tile("In flight", &number(in_flight), "owned by workers", ""))
        (tile("finAPI calls", &number(running as u64), &format!("of {} at once", number(limit as u64)), ""))
        (tile("Circuit breaker", &breaker, "closed: calls flow", class))
    }
}

fn stopped_tiles(workers: &Workers, now: Timestamp) -> Markup {
    let depth = |queue| workers.depth(queue, now);
    let (letters, quarantine) = (depth("dead-letters"), depth("quarantine"));
    let is_bad = letters.unwrap_or(0) + quarantine.unwrap_or(0) > 0;
    let detail = format!("{} in quarantine", shown(quarantine));
    tile(
        "Dead letters",
        &shown(letters),
        &detail,
        if is_bad { "bad" } else { "" },
    )
}

fn charts(hour: &[Option<&Minute>]) -> Markup {
    let counts = |class, name, of: fn(&Minute) -> u64| Series {
        class,
        name,
        absent: "nothing yet",
        values: hour
            .iter()
            .map(|minute| minute.map(|minute| of(minute) as f64))
            .collect(),
    };
    let times = |class, name, share| Series {
        class,
        name,
        absent: "nothing yet",
        values: hour
            .iter()
            .map(|minute| percentile(minute.iter().copied(), share))
            .collect(),
    };
    let samples = |class, name, of: fn(Sample) -> Option<f64>| Series {
        class,
        name,
        absent: "unknown",
        values: hour
            .iter()
            .map(|minute| minute.and_then(|minute| minute.sample).and_then(of))
            .collect(),
    };
    let whole = |value: f64| number(value.round() as u64);
    let outcomes = [
        counts("good", "updated", |it| it.updated),
        counts("failed", "failed", |it| it.failed),
    ];
    let asked = [counts("asked", "asked", |it| it.asked)];
    let times = [times("first", "p50", 0.5), times("second", "p95", 0.95)];
    let lanes = [
        samples("first", "interactive", |it| it.interactive.map(f64::from)),
        samples("second", "background", |it| it.background.map(f64::from)),
    ];
    let owned = [
        samples("first", "in flight", |it| Some(it.in_flight as f64)),
        samples("second", "parked", |it| it.parked.map(f64::from)),
    ];
    let calls = [
        samples("first", "running", |it| Some(it.calls as f64)),
        samples("second", "at most", |it| Some(it.calls_limit as f64)),
    ];
    html! {
        (chart("Outcomes per minute", Kind::Bars, &outcomes, whole, &says(&outcomes, whole)))
        (chart("Time to outcome", Kind::Lines, &times, span, &says(&times, span)))
        (chart("Commands in the lanes", Kind::Lines, &lanes, whole, &says(&lanes, whole)))
        (chart("In flight and parked", Kind::Lines, &owned, whole, &says(&owned, whole)))
        (chart("Calls of finAPI", Kind::Lines, &calls, whole, &says(&calls, whole)))
        (chart("Users asked per minute", Kind::Bars, &asked, whole, &says(&asked, whole)))
    }
}

/// The newest and the highest value of each, for whoever does not see the chart.
fn says(series: &[Series], shown: fn(f64) -> String) -> String {
    let one = |series: &Series| {
        let values = || series.values.iter().copied().flatten();
        match (
            values().last(),
            values().fold(None, |max: Option<f64>, value| {
                Some(max.map_or(value, |max| max.max(value)))
            }),
        ) {
            (Some(last), Some(max)) => format!("{}: now {}, at most {}", series.name, shown(last), shown(max)),
            _ => format!("{}: {}", series.name, series.absent),
        }
    };
    series.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn outcomes(hour: &[Option<&Minute>]) -> Markup {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in hour.iter().flatten().flat_map(|minute| &minute.outcomes) {
        *sums.entry(name).or_default() += count;
    }
    let mut sums: Vec<(&str, u64)> = sums.into_iter().collect();
    sums.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    html! {
        @if !sums.is_empty() {
            h2 { "Outcomes in the last hour" }
            table {
                thead { tr { th scope="col" { "Outcome" } th.count scope="col" { "Count" } } }
                tbody {
                    @for (name, count) in sums {
                        tr {
                            th scope="row" { a href={ "/refreshes?q=" (name.replace(' ', "+")) } { (name) } }
                            td.count { (number(count)) }
                        }
                    }
                }
            }
        }
    }
}

fn remembered(memory: &Memory, now: Timestamp) -> Markup {
    html! {
        "The console has looked on since " (super::time(memory.started_at)) " (" (super::age(memory.started_at, now)) ") and remembers "
        (number(memory.refreshes.count() as u64)) " refreshes."
        @if memory.unreadable_events > 0 {
            " " (number(memory.unreadable_events)) " messages were no events of this release, and are missing here."
        }
        (super::workers::unreadable(memory.unreadable_reports))
    }
}
