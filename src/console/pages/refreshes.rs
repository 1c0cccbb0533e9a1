//! The list of refreshes, and the search in it.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{age, number, span, time};
use crate::console::memory::{Outcome, Refresh, Search, Which};

/// What was found.
pub(in crate::console) struct List<'a> {
    pub(in crate::console) found: &'a [(u64, &'a Refresh)],
    pub(in crate::console) more: bool,
    /// Whether nothing newer was left out.
    pub(in crate::console) is_first: bool,
    /// How many are remembered.
    pub(in crate::console) known: usize,
    pub(in crate::console) since: Timestamp,
}

const WHICH: [(Which, &str, &str); 4] = [
    (Which::All, "", "any"),
    (Which::Updated, "updated", "updated"),
    (Which::Failed, "failed", "failed"),
    (Which::Open, "open", "none yet"),
];

pub(in crate::console) fn refreshes(list: &List, search: &Search, now: Timestamp) -> Markup {
    html! {
        h1 { "Refreshes" }
        (form(search))
        div #refreshes data-live[list.is_first] {
            @if list.found.is_empty() { (nothing(list, now)) } @else { (table(list, now)) }
            (pages(list, search))
        }
    }
}

fn form(search: &Search) -> Markup {
    html! {
        form.search role="search" method="get" action="/refreshes" {
            label for="q" { "Search" }
            input #q name="q" type="search" value=(search.text) maxlength="200" autocomplete="off" spellcheck="false"
                placeholder="command, user, connection, bank, label=value, outcome";
            label for="outcome" { "Outcome" }
            select #outcome name="outcome" {
                @for (which, value, name) in WHICH {
                    option value=(value) selected[which == search.outcome] { (name) }
                }
            }
            button type="submit" { "Search" }
        }
    }
}

fn nothing(list: &List, now: Timestamp) -> Markup {
    html! {
        p.hint {
            @if list.known == 0 {
                strong { "No refresh has had an event yet. " }
                "Send a command with " code { "bankrefresh send --user anna --connection 1 --wait" }
                ". A refresh shows here with its first event: when its user is asked, or when it ends."
            } @else {
                strong { "Nothing was found " }
                "among the " (number(list.known as u64)) " refreshes that had an event since " (time(list.since)) " (" (age(list.since, now)) "). "
                "A search finds parts of ids, banks, labels and outcomes, and whole numbers of connections."
            }
        }
    }
}

fn table(list: &List, now: Timestamp) -> Markup {
    html! {
        div.scrolls tabindex="0" role="region" aria-label="Refreshes" {
            table {
                thead {
                    tr {
                        th scope="col" { "Last event" }
                        th scope="col" { "Command" }
                        th scope="col" { "Outcome" }
                        th scope="col" { "User" }
                        th scope="col" { "Connection" }
                        th.count scope="col" { "Took" }
                    }
                }
                tbody { @for (_, refresh) in list.found { (row(refresh, now)) } }
            }
        }
    }
}

fn row(refresh: &Refresh, now: Timestamp) -> Markup {
    let id = refresh.command_id.to_string();
    let end = id.rsplit('-').next().unwrap_or_default();
    html! {
        tr {
            td { (time(refresh.last_at)) " " span.quiet { (age(refresh.last_at, now)) } }
            td { a href={ "/refreshes/" (id) } aria-label={ "Refresh " (id) } { "…" (end) } }
            td { (state(refresh)) }
            td { (refresh.user_id) }
            td { (refresh.connection_id) @if let Some((_, bank)) = &refresh.bank { " " span.quiet { (bank) } } }
            td.count { (refresh.took().map_or("–".to_owned(), |took| span(took.as_secs_f64()))) }
        }
    }
}

/// How far a refresh is.
pub(super) fn state(refresh: &Refresh) -> Markup {
    let (class, name) = match &refresh.outcome {
        Some(outcome @ Outcome::Updated { .. }) => ("good", outcome.name()),
        Some(outcome @ Outcome::Failed { .. }) => ("failed", outcome.name()),
        None if refresh.awaits_user() => ("asked", "waits for its user"),
        None => ("open", "under way"),
    };
    html! { span class={ "badge " (class) } { (name) } }
}

fn pages(list: &List, search: &Search) -> Markup {
    let query = |before: Option<u64>| {
        let outcome = WHICH
            .iter()
            .find(|(which, ..)| *which == search.outcome)
            .map_or("", |(_, value, _)| value);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &search.text).append_pair("outcome", outcome);
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        format!("/refreshes?{}", query.finish())
    };
    let last = list.found.last().map(|(number, _)| *number);
    html! {
        p.pages {
            @if !list.is_first { a href=(query(None)) { "Newest" } }
            @if list.more { a href=(query(last)) { "Older" } }
        }
    }
}
