//! What the workflow and its messages cost without a network: `cargo bench --bench steps`.

use std::sync::LazyLock;

use bankrefresh::broker::topology::Topology;
use bankrefresh::message;
use bankrefresh::proto::{RefreshConnection, from_timestamp};
use bankrefresh::refresh::event::Event;
use bankrefresh::refresh::model::{Account, Collected, Connection, Page, Task, TaskStatus, Transaction};
use bankrefresh::refresh::query::{QueryResult, Response};
use bankrefresh::refresh::{Clocks, Command, Envelope, Next, Policy, Refresh, Step, StepContext, state};
use divan::{Bencher, black_box};
use jiff::{SignedDuration, Timestamp};

static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);
static TOPOLOGY: LazyLock<Topology> = LazyLock::new(|| Topology::new("bankrefresh"));

fn main() {
    divan::main();
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_780_000_000 + seconds)
}

fn step(refresh: Refresh, result: QueryResult, seconds: i64) -> Step {
    let now = at(seconds);
    let context = StepContext {
        now,
        jitter: 0.5,
        next_poll: None,
        clocks: Clocks::default(),
        announced: None,
    };
    refresh.step(result, context, &POLICY)
}

fn continues(step: Step) -> Refresh {
    match step.next {
        Next::Continue(refresh) | Next::Checkpoint(refresh) => *refresh,
        Next::Done => panic!("it is over"),
    }
}

fn command() -> RefreshConnection {
    RefreshConnection {
        command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001".to_owned(),
        user_id: "user-1".to_owned(),
        bank_connection_id: 7,
        requested_at: Some(from_timestamp(at(0))),
        ..RefreshConnection::default()
    }
}

fn task(status: TaskStatus) -> QueryResult {
    Ok(Response::Task(Task {
        id: "2f9a3c1e-8d40-4b3b-9d0e-6a1f0c9b7e55".parse().expect("an id"),
        created_at: at(1),
        status,
        bank_connection_id: Some(7.into()),
        web_form: None,
        error: None,
        unreadable: Vec::new(),
    }))
}

fn requested() -> Refresh {
    Refresh::new(
        Command::parse(command()).expect("a command"),
        at(0),
        Envelope::default(),
        at(0),
    )
}

fn updating() -> Refresh {
    let found_none = continues(step(requested(), Ok(Response::Tasks(Vec::new())), 1));
    continues(step(found_none, task(TaskStatus::Running), 1))
}

fn collecting() -> Refresh {
    let settling = continues(step(updating(), task(TaskStatus::Completed), 3));
    let connection = Connection {
        bank_id: 1.into(),
        bank_name: "Sandbox Bank".to_owned(),
        bank_bic: String::new(),
        bank_code: String::new(),
        ready: true,
        categorized: true,
        account_ids: vec![70.into(), 71.into()],
        interfaces: Vec::new(),
        unreadable: Vec::new(),
    };
    continues(step(settling, Ok(Response::Connection(connection)), 3))
}

/// Two accounts, and as many transactions as asked for.
fn collected(transactions: i64) -> QueryResult {
    let account = |id: i64| Account {
        id: id.into(),
        name: "Girokonto".to_owned(),
        iban: "DE89370400440532013000".to_owned(),
        kind: "Checking".to_owned(),
        currency: "EUR".to_owned(),
        ..Account::default()
    };
    let transaction = |id: i64| Transaction {
        id: id.into(),
        account_id: 70.into(),
        currency: "EUR".to_owned(),
        purpose: "Invoice 4711, thank you for your order".to_owned(),
        counterpart_name: "Example Ltd".to_owned(),
        counterpart_iban: "DE02120300000000202051".to_owned(),
        imported_at: Some(at(2)),
        ..Transaction::default()
    };
    let page = Page {
        transactions: (1..=transactions).map(transaction).collect(),
        is_last: true,
        ..Page::default()
    };
    Ok(Response::Collected(Collected {
        accounts: Some(vec![account(70), account(71)]),
        page: Some(page),
        ..Collected::default()
    }))
}

fn updated_event(transactions: i64) -> Event {
    let mut step = step(collecting(), collected(transactions), 3);
    step.events.pop().expect("an event")
}

/// One poll of a task that still runs.
#[divan::bench]
fn step_running(bencher: Bencher) {
    let inputs = || (updating(), task(TaskStatus::Running));
    bencher
        .with_inputs(inputs)
        .bench_values(|(refresh, result)| step(refresh, result, 2));
}

/// What finAPI stored becomes an event.
#[divan::bench(args = [0, 10, 100, 1000])]
fn step_collected(bencher: Bencher, transactions: i64) {
    let inputs = || (collecting(), collected(transactions));
    bencher
        .with_inputs(inputs)
        .bench_values(|(refresh, result)| step(refresh, result, 3));
}

/// A state is written.
#[divan::bench]
fn state_encode(bencher: Bencher) {
    let refresh = updating();
    bencher.bench_local(|| state::encode(black_box(&refresh)));
}

/// A state is read.
#[divan::bench]
fn state_decode(bencher: Bencher) {
    let body = state::encode(&updating());
    bencher.bench_local(|| state::decode(black_box(&body), at(1)).map(drop).map_err(|_| ()));
}

/// An event becomes a message.
#[divan::bench(args = [0, 10, 100, 1000])]
fn event_message(bencher: Bencher, transactions: i64) {
    let (event, envelope) = (updated_event(transactions), Envelope::default());
    bencher.bench_local(|| message::event(&TOPOLOGY, black_box(&event), &envelope, at(3)));
}
