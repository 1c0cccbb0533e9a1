//! Each worker, and what it has in flight.

use std::cmp::Reverse;

use jiff::Timestamp;
use maud::{Markup, html};

use super::{age, number, span, time};
use crate::console::memory::{Life, Memory, Worker};
use crate::plain::plain;

pub(in crate::console) fn workers(memory: &Memory, now: Timestamp) -> Markup {
    let mut all: Vec<&Worker> = memory.workers.all().collect();
    all.sort_by_key(|worker| (worker.life(now) != Life::Works, Reverse(worker.report.started_at)));
    html! {
        h1 { "Workers" }
        div #workers data-live {
            @if all.is_empty() { (nobody()) }
            div.cards { @for worker in &all { (card(worker, now)) } }
            p.quiet {
                @if memory.workers.are_more(now) { "More workers report than the " (number(all.len() as u64)) " that are shown." }
                (unreadable(memory.unreadable_reports))
            }
        }
    }
}

/// How many reports could not be read, if any.
pub(super) fn unreadable(reports: u64) -> Markup {
    html! {
        @if reports > 0 { " " (number(reports)) " reports of workers could not be read: they may be of another release." }
    }
}

fn nobody() -> Markup {
    html! {
        p.hint {
            strong { "No worker has reported yet. " }
            "Each one does so every five seconds while it has the broker. Start one with " code { "bankrefresh worker" }
            ". If workers run: they and the console need the same " code { "amqp.prefix" } ", the exchange " code { ".status" }
            " (" code { "bankrefresh topology apply" } "), and the permissions of the shipped definitions."
        }
    }
}

fn card(worker: &Worker, now: Timestamp) -> Markup {
    let report = &worker.report;
    let (class, state) = match worker.life(now) {
        Life::Works => ("works", "works"),
        Life::Stops => ("stops", "was stopping"),
        Life::Gone => ("gone", "gone"),
    };
    html! {
        article class={ "card " (class) } {
            h2 { (plain(&report.host)) " " span.state { (state) } }
            p.quiet {
                "Version " (plain(&report.version)) ", up since " (time(report.started_at)) " (" (span(now.duration_since(report.started_at).as_secs_f64())) ")"
                br;
                "Last sign of life " (age(worker.seen_at, now))
            }
            (troubles(worker))
            (figures(worker))
        }
    }
}

fn troubles(worker: &Worker) -> Markup {
    let status = &worker.report.status;
    html! {
        ul.troubles {
            @if status.finapi_down { li { "finAPI counts as down: the circuit breaker is open" } }
            @if let Some(why) = &status.finapi_unproven { li { "It takes no commands, because finAPI's version is not proven: " (plain(why)) } }
            @if status.orders_unknown { li { "Pauses are not known: it can't read orders" } }
            @if status.wake_ups_off { li { "Wake-ups are off: the broker refuses its ephemeral queue" } }
            @if status.stuck { li { "A queue has messages and delivers none" } }
        }
    }
}

fn figures(worker: &Worker) -> Markup {
    let status = &worker.report.status;
    let calls = status.finapi_calls;
    let rows = [
        ("running", status.running, String::new()),
        ("runnable", status.runnable, "due, waiting for a call".to_owned()),
        ("awaiting a token", status.awaiting_token, String::new()),
        ("publishing", status.publishing, String::new()),
        (
            "backlog",
            status.backlog,
            format!("oldest {}", span(status.backlog_oldest_seconds as f64)),
        ),
    ];
    html! {
        table {
            caption { "In flight: " (number(worker.in_flight())) }
            thead { tr { th scope="col" { "State" } th.count scope="col" { "Count" } th scope="col" { "Note" } } }
            tbody {
                @for (name, count, note) in rows {
                    tr { th scope="row" { (name) } td.count { (number(count as u64)) } td.quiet { @if count > 0 { (note) } } }
                }
                @for (phase, held) in &status.held {
                    tr {
                        th scope="row" { "held, " (plain(phase).replace('_', " ")) }
                        td.count { (number(held.count as u64)) }
                        td.quiet { "oldest " (span(held.oldest_seconds as f64)) }
                    }
                }
            }
        }
        p { "Calls of finAPI: " (number(calls.running as u64)) " of " (number(calls.limit as u64)) " at once"
            @if calls.waiting > 0 { ", " (number(calls.waiting as u64)) " wait" } "." }
    }
}
