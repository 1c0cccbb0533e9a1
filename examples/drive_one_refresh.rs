//! One refresh from its command to its events, with finAPI's responses made by hand: the workflow is pure, so nothing runs but this loop.
//! `cargo run --example drive_one_refresh`

use std::collections::VecDeque;

use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::model::{Collected, Connection, Page, Task, TaskStatus};
use bankrefresh::refresh::query::Response;
use bankrefresh::refresh::{Clocks, Command, Envelope, Next, Policy, Refresh, StepContext};
use jiff::Timestamp;

fn main() {
    let command = Command::parse(RefreshConnection {
        command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        user_id: "anna".to_owned(),
        bank_connection_id: 1,
        ..RefreshConnection::default()
    })
    .expect("a valid command");
    let policy = Policy::default();
    let mut now: Timestamp = "2026-03-10T09:00:00Z".parse().expect("a time");
    let mut refresh = Refresh::new(command, now, Envelope::default(), now);
    let mut responses = responses(now);
    loop {
        // Time is an argument, so nobody waits here.
        now = now.max(refresh.due_at);
        let query = refresh.query();
        let response = responses.pop_front().expect("a response to every query");
        println!("{now}  ask finAPI for {}", query.name());
        let context = StepContext {
            now,
            jitter: 0.5,
            next_poll: None,
            clocks: Clocks::default(),
            announced: None,
        };
        let step = refresh.step(Ok(response), context, &policy);
        for event in &step.events {
            println!("{now}  publish {}: {}", event.routing_key(), event.summary());
        }
        refresh = match step.next {
            Next::Continue(refresh) | Next::Checkpoint(refresh) => *refresh,
            Next::Done => break,
        };
    }
    assert!(responses.is_empty(), "every response was asked for");
}

/// What finAPI says, in this order: no task yet, a new one that runs and completes, and a connection whose data is ready.
fn responses(now: Timestamp) -> VecDeque<Response> {
    let task = |status| Task {
        id: "task-1".parse().expect("an id"),
        created_at: now,
        status,
        bank_connection_id: Some(1.into()),
        web_form: None,
        error: None,
        unreadable: Vec::new(),
    };
    let connection = Connection {
        bank_id: 7.into(),
        bank_name: "Bank".to_owned(),
        bank_bic: String::new(),
        bank_code: String::new(),
        ready: true,
        categorized: true,
        account_ids: vec![10.into()],
        interfaces: Vec::new(),
        unreadable: Vec::new(),
    };
    VecDeque::from([
        Response::Tasks(Vec::new()),
        Response::Task(task(TaskStatus::Running)),
        Response::Task(task(TaskStatus::Running)),
        Response::Task(task(TaskStatus::Completed)),
        Response::Connection(connection),
        Response::Collected(Collected {
            accounts: Some(Vec::new()),
            page: Some(Page {
                is_last: true,
                ..Page::default()
            }),
            ..Collected::default()
        }),
    ])
}
