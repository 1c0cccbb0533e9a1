//! The sandbox's pages for people. Everything that comes from outside is escaped.

use std::fmt::Write as _;

use uuid::Uuid;

use super::asked::{Asked, AskedOfConnection};

const STYLE: &str = "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}\
table{border-collapse:collapse;margin:0 0 1.5rem}td,th{border-bottom:1px solid #ccc;padding:.2rem .8rem .2rem 0;text-align:left}\
</style>";

/// What finAPI was asked.
pub(super) fn overview(asked: &Asked) -> String {
    let mut html = head("finAPI sandbox");
    let interval = asked
        .smallest_interval_ms
        .map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
    // Writing to a String does not fail.
    let _ = write!(
        html,
        "<p>{} tasks, {} of them open. Shortest time between two polls of one task: {interval}. \
         {} faults met. <a href=\"/sandbox\">All of it as JSON</a></p>",
        asked.tasks, asked.open_tasks, asked.faults
    );
    let calls = asked.calls.iter();
    let calls = calls.map(|(endpoint, count)| [endpoint.name().to_owned(), count.to_string()]);
    html += &table(["Endpoint", "Calls"], calls);
    let responses = asked.responses.iter();
    html += &table(
        ["Answer", "Count"],
        responses.map(|(answer, count)| [answer.clone(), count.to_string()]),
    );
    html += "<h2>Connections</h2>";
    let columns = [
        "Connection",
        "User",
        "POSTs",
        "Tasks",
        "Without user",
        "Last task",
        "Web form",
    ];
    html += &table(columns, asked.connections.iter().map(connection_row));
    html
}

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
pub(super) fn web_form(id: Uuid) -> String {
    let mut html = head("Your bank asks for you");
    for (action, label) in [("complete", "Confirm with a TAN"), ("abort", "Cancel")] {
        let _ = write!(
            html,
            "<form method=\"post\" action=\"/sandbox/webForms/{id}/{action}\"><button>{label}</button></form>"
        );
    }
    html
}

fn head(title: &str) -> String {
    format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>{STYLE}<h1>{title}</h1>")
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut html = format!("<table>{}", row("th", &head.map(str::to_owned)));
    for cells in rows {
        html += &row("td", &cells);
    }
    html + "</table>"
}

fn row(tag: &str, cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
    format!("<tr>{}</tr>", cells.collect::<String>())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
