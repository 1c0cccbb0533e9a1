//! States as earlier releases left them: what was once written is read for ever. A line of `recorded/v<version>.txt` is a
//! name, what was written in hexadecimal, and how it is read. Lines are added; what was written is never changed.

use super::state::{VERSION, decode, encode};
use super::*;

const RECORDED: [(u32, &str); 1] = [(1, include_str!("recorded/v1.txt"))];

struct Recorded {
    name: &'static str,
    bytes: Vec<u8>,
    read: &'static str,
}

fn recorded() -> Vec<Recorded> {
    let lines = RECORDED.iter().flat_map(|(_, text)| text.lines());
    let recorded = |line: &'static str| {
        let mut parts = line.splitn(3, " | ");
        let mut part = || parts.next().expect("name | bytes | how it is read");
        Recorded {
            name: part(),
            bytes: hex::decode(part()).expect("hexadecimal"),
            read: part(),
        }
    };
    lines.map(recorded).collect()
}

fn describe(refresh: &Refresh) -> String {
    let Refresh {
        command,
        requested_at,
        envelope,
        phase,
        phase_since,
        due_at,
        polls,
        failures,
        doubts: _,
        refusals,
        paused_for,
        times: _,
    } = refresh;
    assert_eq!(*paused_for, Duration::ZERO, "no release wrote it");
    let command = RefreshConnection::from(&**command);
    format!(
        "{phase:?} since {phase_since} due {due_at}, {polls} polls, {failures} failures, {refusals} refusals, of {requested_at}; \
         {command:?}; {envelope:?}"
    )
}

#[test]
fn what_was_once_written_is_read_as_it_was_meant() {
    for Recorded { name, bytes, read } in recorded() {
        let refresh = decode(&bytes, at(0)).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(describe(&refresh), read, "{name}");
    }
}

#[test]
fn what_was_once_written_is_continued_and_written_again() {
    let policy = Policy::default();
    for Recorded { name, bytes, .. } in recorded() {
        let mut refresh = decode(&bytes, at(0)).unwrap_or_else(|why| panic!("{name}: {why}"));
        let mut failed = 0;
        loop {
            let context = StepContext {
                now: refresh.due_at,
                jitter: 0.5,
                next_poll: None,
                clocks: Clocks::default(),
                announced: None,
            };
            let failure = Failure::new(FailureClass::Unavailable, "not to be had");
            let step = refresh.step(Err(failure), context, &policy);
            match step.next {
                Next::Continue(next) | Next::Checkpoint(next) => {
                    refresh = decode(&encode(&next), at(0)).unwrap_or_else(|why| panic!("{name}: {why}"));
                }
                Next::Done => break assert_eq!(step.events.len(), 1, "{name}"),
            }
            failed += 1;
            assert!(failed <= policy.retry.attempts, "{name} never ends");
        }
    }
}

/// Every phase of the version written now is recorded, so that a later release is tried with it.
#[test]
fn every_phase_is_recorded() {
    let (version, text) = RECORDED[RECORDED.len() - 1];
    assert_eq!(version, VERSION, "a new version needs its own file");
    for (name, _) in examples() {
        let begins = format!("{name} | ");
        assert!(text.lines().any(|line| line.starts_with(&begins)), "{name}");
    }
}

/// Prints the lines of the version written now.
#[test]
#[ignore = "writes what is to be recorded"]
fn record() {
    for (name, refresh) in examples() {
        let bytes = encode(&refresh);
        let read = decode(&bytes, at(0)).expect("just written");
        println!("{name} | {} | {}", hex::encode(&bytes), describe(&read));
    }
}

fn examples() -> Vec<(&'static str, Refresh)> {
    let envelope = Envelope {
        revision: 0,
        interactive: true,
        correlation_id: "correlation".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        tracestate: "vendor=1".into(),
    };
    let full = RefreshConnection {
        labels: [("tenant".to_owned(), "t-1".to_owned())].into(),
        access_token: "token".into(),
        max_age: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..import_command()
    };
    let mut notifying = Run::updating();
    notifying.poll(form_required());
    let mut locked = Run::plain();
    locked.find([]).start(FailureClass::Locked).find([]);
    let of = |run: &Run| run.at().clone();
    vec![
        ("locating", of(&Run::plain())),
        ("locating in full", Refresh::new(parsed(full), at(0), envelope, at(3))),
        ("locating and locked", of(&locked)),
        ("updating", of(&Run::updating())),
        ("notifying the user", of(&notifying)),
        ("awaiting the user", of(&Run::awaiting())),
        ("settling", of(&Run::settling())),
        ("collecting", of(&Run::collecting())),
    ]
}
