//! The dead letters, and what can be done with them.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{age, number, time};
use crate::console::letters::{Action, List, Listed};

/// What the page says on top, after something was done.
pub(in crate::console) enum Note {
    None,
    Done(Action, String),
    Failed(String),
}

/// Of the list: there, not there, or not allowed.
pub(in crate::console) enum Letters {
    /// What was read, and the token for forms.
    Read(List, String),
    Failed(String),
    /// Actions are off, or there is no RabbitMQ.
    Off(&'static str),
}

pub(in crate::console) fn letters(letters: &Letters, note: &Note, now: Timestamp) -> Markup {
    html! {
        h1 { "Dead letters" }
        p { "What nobody can act on: messages that could not be understood, or that killed workers again and again." }
        (noted(note))
        @match letters {
            Letters::Off(why) => p.hint { (why) },
            Letters::Failed(why) => p.alarm role="alert" {
                strong { "The dead letters could not be read: " } (why)
                span.quiet { "May the console's RabbitMQ user read the queue? The documents name the permissions it needs." }
            },
            Letters::Read(list, token) => (read(list, token, now)),
        }
    }
}

fn noted(note: &Note) -> Markup {
    match note {
        Note::None => html! {},
        Note::Done(Action::Replay, id) => html! {
            p.hint role="status" { strong { "Replayed." } " " code { (id) } " went back to where it came from." }
        },
        Note::Done(Action::Discard, id) => html! {
            p.hint role="status" { strong { "Discarded." } " " code { (id) } " is gone for good." }
        },
        Note::Failed(why) => html! {
            p.alarm role="alert" { strong { "It was not finished: " } (why) ". Look at the list before you try again." }
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
                dt { "Id" } dd { code { (row.id) } }
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
            div.actions {
                (button(&row.id, token, "replay", html! { button type="submit" { "Replay" } }))
                details {
                    summary { "Discard …" }
                    (button(&row.id, token, "discard", html! { button.plain type="submit" { "Discard it for good" } }))
                }
            }
        }
    }
}

fn button(id: &str, token: &str, action: &str, button: Markup) -> Markup {
    html! {
        form method="post" action="/dead-letters" {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="id" value=(id);
            input type="hidden" name="action" value=(action);
            (button)
        }
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}
