//! The sandbox's pages for people. `maud` escapes everything that comes from outside.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use uuid::Uuid;

use super::asked::{Asked, AskedOfConnection};
use super::forms::{ByHand, OpenForm};

const STYLE: &str = include_str!("page.css");

/// What finAPI was asked, and the web forms that wait for somebody.
pub(super) fn overview(asked: &Asked, forms: &[OpenForm]) -> Markup {
    let interval = asked
        .smallest_interval_ms
        .map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
    let calls = asked.calls.iter();
    let calls = calls.map(|(endpoint, count)| [endpoint.name().to_owned(), count.to_string()]);
    let responses = asked.responses.iter();
    let responses = responses.map(|(answer, count)| [answer.clone(), count.to_string()]);
    page(
        "finAPI sandbox",
        &html! {
            (open_forms(forms))
            p {
                (asked.tasks) " tasks, " (asked.open_tasks) " of them open. Shortest time between two polls of one task: " (interval) ". "
                (asked.faults) " faults met. " a href="/sandbox" { "All of it as JSON" }
            }
            (table(["Endpoint", "Calls"], calls))
            (table(["Answer", "Count"], responses))
            h2 { "Connections" }
            (table(COLUMNS, asked.connections.iter().map(connection_row)))
        },
    )
}

fn open_forms(forms: &[OpenForm]) -> Markup {
    html! {
        @if !forms.is_empty() {
            section.box {
                h2 { "Play a user" }
                p { "Banks ask these users. Each link opens once, as at finAPI." }
                ul {
                    @for form in forms {
                        li { a href=(form.url) { "Web form of " (form.user) } " for connection " (form.connection) }
                    }
                }
            }
        }
    }
}

const COLUMNS: [&str; 7] = [
    "Connection",
    "User",
    "POSTs",
    "Tasks",
    "Without user",
    "Last task",
    "Web form",
];

fn connection_row((id, asked): (&i64, &AskedOfConnection)) -> [String; 7] {
    let last = asked.tasks.last();
    [
        id.to_string(),
        asked.user_id.clone().unwrap_or_default(),
        asked.posts.to_string(),
        asked.tasks_made.to_string(),
        asked.without_user.to_string(),
        last.map(|task| task.status.clone()).unwrap_or_default(),
        last.and_then(|task| task.web_form_status.clone()).unwrap_or_default(),
    ]
}

/// A web form, where a person can play the user.
pub(super) fn web_form(id: Uuid) -> Markup {
    let choices = [
        (
            "complete",
            "Confirm with a TAN",
            "The bank has what it asked for. The refresh continues and ends with its transactions.",
        ),
        (
            "abort",
            "Cancel",
            "You leave the form. The refresh fails, because its user did not want to.",
        ),
        (
            "expire",
            "Let it expire",
            "Nobody comes. The refresh fails, because the form's time is over.",
        ),
    ];
    page(
        "Your bank asks for you",
        &html! {
            p { "This is finAPI's web form, without a bank behind it. You are the user: what do you do?" }
            @for (action, label, what) in choices {
                form.box method="post" action={ "/sandbox/webForms/" (id) "/" (action) } {
                    button.(action) { (label) }
                    p { (what) }
                }
            }
        },
    )
}

/// What a person did.
pub(super) fn played(by_hand: ByHand) -> Markup {
    let (title, what) = match by_hand {
        ByHand::Open => ("The form is open", "It waits for you."),
        ByHand::Complete => ("Thank you", "The bank has what it needs, and the refresh continues."),
        ByHand::Abort => ("You cancelled", "The refresh ends with a failure that says so."),
        ByHand::Expire => (
            "The form's time is over",
            "The refresh ends with a failure that says so.",
        ),
    };
    page(
        title,
        &html! { p { (what) " The worker sees it at its next poll; the console shows how it ends." } },
    )
}

/// There is nothing to do.
pub(super) fn nothing(title: &str) -> Markup {
    page(
        title,
        &html! { p { "A link opens once, and a form lasts some minutes. A new command brings a new one." } },
    )
}

fn page(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                // None: browsers would ask for one.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } (content) } }
        }
    }
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Markup {
    html! {
        table {
            thead { tr { @for cell in head { th scope="col" { (cell) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        }
    }
}
