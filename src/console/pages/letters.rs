//! The dead letters, what can be done with them, and what became of that.

use jiff::Timestamp;
use maud::{Markup, html};
use url::form_urlencoded::byte_serialize;

use super::{age, number, time};
use crate::console::letters::{Acted, Action, Fate, List, Listed, READ_MAX, Shown};

/// What a page on dead letters can show: what was read with the token for forms, or why nothing could be.
pub(in crate::console) enum Letters<T> {
    Read(T, String),
    Failed(String),
    /// Actions are off, or there is no RabbitMQ.
    Off(&'static str),
}

/// The list, under what became of the visitor's last action.
pub(in crate::console) fn letters(letters: &Letters<List>, acted: Option<&Acted>, now: Timestamp) -> Markup {
    html! {
        h1 { "Dead letters" }
        p { "What nobody can act on: messages that could not be understood, or that killed workers again and again." }
        @if let Some(acted) = acted { (said_of(acted)) }
        @match letters {
            Letters::Read(list, token) => (read(list, token, now)),
            Letters::Failed(why) => (failed(why)),
            Letters::Off(why) => p.hint { (why) },
        }
    }
}

/// One dead letter; none where it was not found.
pub(in crate::console) fn letter(letter: &Letters<Option<Shown>>, now: Timestamp) -> Markup {
    html! {
        p { a href="/dead-letters" { "All dead letters" } }
        h1 { "Dead letter" }
        @match letter {
            Letters::Read(Some(shown), token) => {
                (card(&shown.listed, token, now))
                h2 #message { "The message" }
                p { "Secrets, what is of accounts, and headers of others are hidden. " code { "bankrefresh dead-letters show" } " prints more." }
                pre.scrolls tabindex="0" role="region" aria-labelledby="message" { (shown.json) }
            }
            Letters::Read(None, _) => p.hint {
                strong { "It is not there. " }
                "It was replayed or discarded, or more than " (number(READ_MAX as u64)) " others lie before it."
            },
            Letters::Failed(why) => (failed(why)),
            Letters::Off(why) => p.hint { (why) },
        }
    }
}

fn failed(why: &str) -> Markup {
    html! {
        p.alarm role="alert" {
            strong { "The dead letters could not be read: " } (why)
            span.quiet { "May the console's RabbitMQ user read the queue? The documents name the permissions it needs." }
        }
    }
}

fn said_of(acted: &Acted) -> Markup {
    let id = html! { code { (acted.id) } };
    let nothing = |why: Markup| html! { p.hint role="status" { strong { "Nothing was done. " } (why) } };
    match (&acted.fate, acted.action) {
        (Fate::Open, _) => html! {
            p.hint role="status" { strong { "It goes on. " } "Load this page again to see what becomes of " (id) "." }
        },
        (Fate::Done(_), Action::Replay) => html! {
            p.hint role="status" { strong { "Replayed." } " " (id) " went back to where it came from." }
        },
        (Fate::Done(_), Action::Discard) => html! {
            p.hint role="status" { strong { "Discarded." } " " (id) " is gone for good." }
        },
        (Fate::Busy, _) => nothing(html! { "Somebody else goes through the dead letters just now. Try again." }),
        (Fate::Missing, _) => nothing(html! { (id) " is not there any more." }),
        (Fate::TooFar, _) => nothing(html! {
            (id) " is not among the first " (number(READ_MAX as u64)) ". " code { "bankrefresh dead-letters" } " reaches further."
        }),
        (Fate::Stays(why), _) => html! {
            p.alarm role="alert" { strong { "It stays: " } (why) ". This is about " (id) "." }
        },
        (Fate::BrokenOff(why), _) => html! {
            p.alarm role="alert" {
                strong { "It broke off: " } (why) ". " (id) " may be here, or where it came from, or both. Look at the list before you try again."
            }
        },
    }
}

fn read(list: &List, token: &str, now: Timestamp) -> Markup {
    html! {
        @if list.letters.is_empty() {
            p.hint { strong { "There are none. " } "If one comes, the overview says so, and it is listed here with its reason." }
        }
        @for letter in &list.letters { (card(letter, token, now)) }
        @if list.left > 0 {
            p { (number(list.left.into())) " more are not listed. " code { "bankrefresh dead-letters list" } " prints them, and replays many at once." }
        }
    }
}

fn card(letter: &Listed, token: &str, now: Timestamp) -> Markup {
    let row = &letter.row;
    html! {
        article.card.letter {
            h2 { (or_dash(&row.reason)) }
            dl.facts {
                dt { "Id" } dd { a href={ "/dead-letter?id=" (query(&row.id)) } { code { (row.id) } } }
                dt { "Dead since" }
                dd { @match row.died_at { Some(at) => { (time(at)) " (" (age(at, now)) ")" }, None => "–" } }
                dt { "Came from" } dd { (or_dash(&row.queue)) }
                dt { "Type" } dd { (or_dash(&row.kind)) ", " (number(letter.size as u64)) " bytes" }
                @if let Some((command, user, connection)) = &letter.refresh {
                    dt { "Command" } dd { code { (command) } }
                    dt { "User" } dd { (or_dash(user)) }
                    dt { "Connection" } dd { (connection) }
                }
            }
            (actions(&row.id, token))
        }
    }
}

fn actions(id: &str, token: &str) -> Markup {
    // Which one it is about, for whoever hears buttons apart from their card.
    let label = |does: &str| format!("{does} {id}");
    html! {
        div.actions {
            (form(id, token, "replay", html! { button type="submit" aria-label=(label("Replay")) { "Replay" } }))
            details {
                summary aria-label=(label("Discard …")) { "Discard …" }
                (form(id, token, "discard", html! { button.plain type="submit" aria-label=(label("Discard it for good:")) { "Discard it for good" } }))
            }
        }
    }
}

fn form(id: &str, token: &str, action: &str, button: Markup) -> Markup {
    html! {
        form method="post" action="/dead-letters" {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="id" value=(id);
            input type="hidden" name="action" value=(action);
            (button)
        }
    }
}

fn query(id: &str) -> String {
    byte_serialize(id.as_bytes()).collect()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}
