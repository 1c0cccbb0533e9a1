//! One refresh from its command to its outcome.

use jiff::Timestamp;
use maud::{Markup, html};

use super::refreshes::state;
use super::words::{advice, asked_name};
use super::{number, span, time};
use crate::console::memory::{Outcome, Refresh};
use crate::proto::timestamp;

/// The refreshes of one command: usually one.
pub(in crate::console) fn timeline(found: &[&Refresh], trace_url: Option<&str>, now: Timestamp) -> Markup {
    html! {
        p { a href="/refreshes" { "All refreshes" } }
        h1 { "Refresh" }
        @for (number, refresh) in found.iter().enumerate() {
            div id={ "refresh-" (number) } data-live { (one(refresh, trace_url, now)) }
        }
    }
}

pub(in crate::console) fn no_refresh() -> Markup {
    html! {
        h1 { "This refresh is not remembered" }
        p.hint {
            "The console knows what had an event since it started, and forgets what was quiet for longest. The log, the traces and the consumers "
            "of the events know more. " a href="/refreshes" { "All refreshes" }
        }
    }
}

fn one(refresh: &Refresh, trace_url: Option<&str>, now: Timestamp) -> Markup {
    html! {
        p.headline { (state(refresh)) @if let Some(took) = refresh.took() { " after " strong { (span(took.as_secs_f64())) } } }
        (facts(refresh, trace_url))
        (failure(refresh))
        h2 { "What happened when" }
        (steps(refresh, now))
    }
}

fn facts(refresh: &Refresh, trace_url: Option<&str>) -> Markup {
    let trace = refresh.trace_id.map(|id| format!("{id:032x}"));
    html! {
        dl.facts {
            dt { "Command" } dd { code { (refresh.command_id) } }
            dt { "User" } dd { (refresh.user_id) }
            dt { "Connection" } dd { (refresh.connection_id) }
            @if let Some((id, name)) = &refresh.bank { dt { "Bank" } dd { (name) " (" (id) ")" } }
            @if !refresh.task_id.is_empty() { dt { "finAPI's task" } dd { code { (refresh.task_id) } } }
            @for (key, value) in &refresh.labels { dt { "Label " (key) } dd { (value) } }
            @if let Some(id) = trace {
                dt { "Trace" }
                dd {
                    @match trace_url {
                        Some(url) => a href=(url.replace("{trace_id}", &id)) rel="noreferrer" { (id) },
                        None => code { (id) },
                    }
                }
            }
        }
    }
}

fn failure(refresh: &Refresh) -> Markup {
    match &refresh.outcome {
        Some(Outcome::Failed {
            reason,
            code,
            retryable,
            request_id,
        }) => html! {
            section.failure aria-label="Why it failed" {
                h2 { "What to do" }
                p { (advice(*reason)) }
                p {
                    @if *retryable { "The same command may succeed later as it is." } @else { "The same command will fail again as it is." }
                    @if !code.is_empty() { " finAPI's code: " code { (code) } "." }
                    @if !request_id.is_empty() { " finAPI's request id: " code { (request_id) } "." }
                }
            }
        },
        Some(Outcome::Updated { new_transactions, .. }) => html! {
            p { (number(u64::from(*new_transactions))) " new transactions"
                @if refresh.parts > 1 { ", in " (refresh.parts) " parts" } "." }
        },
        None => html! {},
    }
}

/// A moment of a refresh.
struct Moment {
    at: Timestamp,
    what: String,
    class: &'static str,
}

fn moments(refresh: &Refresh) -> Vec<Moment> {
    let times = &refresh.times;
    let known = [
        (&times.requested_at, "The command was sent"),
        (&times.first_run_at, "A worker first ran it"),
        (&times.task_created_at, "finAPI created the task"),
        (&times.web_form_ended_at, "The user was done with the web form"),
        (&times.data_stored_at, "finAPI had stored the data"),
    ];
    let known = known.into_iter().filter_map(|(at, what)| {
        let at = at.as_ref().and_then(timestamp)?;
        Some(Moment {
            at,
            what: what.to_owned(),
            class: "",
        })
    });
    let asked = refresh.asked.iter().map(|asked| Moment {
        at: asked.at,
        what: format!("The user was asked {}", asked_name(asked.reason)),
        class: "asked",
    });
    let mut moments: Vec<Moment> = known.chain(asked).collect();
    moments.sort_by_key(|moment| moment.at);
    // Last, whatever the clocks say.
    moments.extend(refresh.outcome.as_ref().map(|outcome| Moment {
        at: refresh.last_at,
        what: format!(
            "{}: {}",
            if outcome.is_failure() { "Failed" } else { "Updated" },
            outcome.name()
        ),
        class: if outcome.is_failure() { "failed" } else { "good" },
    }));
    moments
}

fn seconds(from: &Moment, to: &Moment) -> f64 {
    to.at.duration_since(from.at).as_secs_f64()
}

/// Which part of the whole time a step took. The sentence says the same.
fn bar(moments: &[Moment], from: &Moment, to: &Moment) -> Markup {
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        return html! {};
    };
    let whole = seconds(first, last).max(0.001);
    let share = |seconds: f64| (seconds / whole * 200.0).clamp(0.0, 200.0);
    let (x, width) = (share(seconds(first, from)), share(seconds(from, to)).max(1.0));
    html! {
        svg.span viewBox="0 0 200 8" aria-hidden="true" {
            rect.track width="200" height="8" rx="4" {}
            rect x=(format!("{:.1}", x.min(199.0))) width=(format!("{width:.1}")) height="8" rx="2" {}
        }
    }
}

fn steps(refresh: &Refresh, now: Timestamp) -> Markup {
    let moments = moments(refresh);
    let waits = refresh.asked.last().filter(|_| refresh.awaits_user());
    html! {
        ol.timeline {
            @for (place, moment) in moments.iter().enumerate() {
                @let before = place.checked_sub(1).and_then(|before| moments.get(before));
                li class=(moment.class) {
                    span.what { (moment.what) }
                    (time(moment.at))
                    @if let Some(before) = before {
                        span.quiet { "after " (span(seconds(before, moment))) }
                        (bar(&moments, before, moment))
                    }
                }
            }
            @if refresh.outcome.is_none() {
                li.open {
                    span.what { @if waits.is_some() { "It waits for its user" } @else { "It is under way" } }
                    @if let Some(last) = moments.last() { span.quiet { "for " (span(now.duration_since(last.at).as_secs_f64())) } }
                    @if let Some(expires_at) = waits.and_then(|asked| asked.expires_at) { span.quiet { "the web form ends " (time(expires_at)) } }
                }
            }
        }
    }
}
