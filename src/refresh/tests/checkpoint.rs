//! A refresh outlives its worker as a checkpoint.

use prost::Message as _;

use super::order::PAUSED_MAX;
use super::state::{MESSAGE_NAME, Unreadable, VERSION, decode, encode};
use super::*;
use crate::proto::RefreshState;
use crate::proto::refresh_state as wire;

/// Writes and reads a refresh, and checks what holds for every checkpoint.
pub(super) fn round_trip(refresh: &Refresh) -> Refresh {
    let bytes = encode(refresh);
    let written = String::from_utf8_lossy(&bytes);
    assert!(!written.contains(FORM_URL), "a web form's URL is in a checkpoint");
    let read = decode(&bytes, at(0)).expect("a checkpoint that was just written");
    assert_eq!(RefreshConnection::from(&*read.command), refresh.command_as_kept());
    assert_eq!(read.envelope, refresh.envelope);
    assert_eq!(read.requested_at, refresh.requested_at);
    assert_eq!(read.phase_since, refresh.phase_since);
    let counts = |refresh: &Refresh| (refresh.polls, refresh.failures, refresh.refusals);
    assert_eq!(counts(&read), counts(refresh));
    let just_polled = later(refresh.phase_since, secs(1));
    let (phase, due_at) = match refresh.phase {
        Phase::NotifyingUser { .. } => ("updating", refresh.due_at.max(just_polled)),
        _ => (refresh.phase.name(), refresh.due_at),
    };
    assert_eq!((read.phase.name(), read.due_at), (phase, due_at));
    assert_eq!(read.task(), refresh.task());
    read
}

impl Refresh {
    fn command_as_kept(&self) -> RefreshConnection {
        RefreshConnection {
            requested_at: Some(from_timestamp(self.requested_at)),
            ..RefreshConnection::from(&*self.command)
        }
    }
}

fn written(spoil: impl FnOnce(&mut RefreshState)) -> Vec<u8> {
    let bytes = encode(Run::updating().at());
    let mut state = RefreshState::decode(bytes.as_slice()).expect("a state");
    spoil(&mut state);
    state.encode_to_vec()
}

fn unreadable(spoil: impl FnOnce(&mut RefreshState)) -> Unreadable {
    decode(&written(spoil), at(0)).expect_err("not to be read")
}

#[test]
fn the_time_in_which_it_was_paused_is_kept_within_its_bounds() {
    let mut refresh = Run::updating().at().clone();
    assert_eq!(round_trip(&refresh).paused_for, Duration::ZERO);
    for paused_for in [Duration::from_millis(1), PAUSED_MAX] {
        refresh.paused_for = paused_for;
        assert_eq!(round_trip(&refresh).paused_for, paused_for);
    }
    refresh.paused_for = PAUSED_MAX + Duration::from_nanos(1);
    assert!(decode(&encode(&refresh), at(0)).is_err());
}

#[test]
fn every_phase_is_read_as_it_was_written() {
    let mut notifying = Run::updating();
    notifying.poll(form_required());
    let mut locked = Run::plain();
    locked.find([]).start(FailureClass::Locked).find([]);
    let runs = [
        Run::plain(),
        locked,
        Run::updating(),
        notifying,
        Run::awaiting(),
        Run::settling(),
        Run::collecting(),
    ];
    for run in &runs {
        round_trip(run.at());
    }
    let mut failing = Run::settling().at().clone();
    let failure = failing.unpublishable(at(5), "too large");
    failing.on_refused(std::slice::from_ref(&failure), at(5));
    let read = round_trip(&failing);
    assert_eq!(
        read.failed(at(5), &Policy::default()),
        Some(failure),
        "the very same event"
    );
    assert_eq!(MESSAGE_NAME, "bankrefresh.v1.RefreshState");
}

#[test]
fn the_envelope_and_the_whole_command_come_along() {
    let envelope = Envelope {
        revision: 0,
        interactive: true,
        correlation_id: "correlation".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        tracestate: "vendor=1".into(),
    };
    let command = RefreshConnection {
        labels: [("tenant".to_owned(), "t-1".to_owned())].into(),
        access_token: "token".into(),
        max_age: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..import_command()
    };
    let refresh = Refresh::new(parsed(command), at(0), envelope, at(3));
    round_trip(&refresh);
}

#[test]
fn what_a_phase_knows_is_kept() {
    let mut run = Run::awaiting();
    run.form(open_form()).taken_up();
    let Phase::AwaitingUser {
        task,
        web_form_id,
        expires_at,
    } = &run.at().phase
    else {
        panic!("not awaiting")
    };
    assert_eq!((task.id.as_str(), task.created_at), ("task-1", at(1)));
    assert_eq!((web_form_id.as_str(), *expires_at), ("form-1", at(1200)));
    let mut run = Run::collecting();
    let Phase::Collecting(before) = run.at().phase.clone() else {
        panic!("not collecting")
    };
    run.taken_up();
    let Phase::Collecting(read) = &run.at().phase else {
        panic!("not collecting")
    };
    assert_eq!((&read.update, &read.reading), (&before.update, &before.reading));
    assert!(
        read.connection.is_none() && read.accounts.is_none(),
        "they are read again"
    );
}

#[test]
fn a_task_whose_web_form_was_not_published_is_not_polled_again_within_a_second() {
    let mut run = Run::updating();
    run.poll(form_required());
    assert_eq!((run.phase(), run.wait()), ("notifying_user", Duration::ZERO));
    run.taken_up();
    assert_eq!((run.phase(), run.wait()), ("updating", secs(1)));
}

#[test]
fn a_start_that_may_have_been_made_is_read_as_a_find() {
    let mut run = Run::plain();
    run.find([]).taken_up().asks(&Query::FindTask);
    let mut run = Run::of(max_age_command(60));
    run.connection(ready()).find([]).taken_up().asks(&Query::Connection);
}

#[test]
fn a_newer_releases_checkpoint_is_left_to_it() {
    assert_eq!(
        unreadable(|state| state.version = VERSION + 1),
        Unreadable::Newer(VERSION + 1)
    );
}

#[test]
fn a_checkpoint_whose_command_is_refused_is_malformed_and_says_which_field() {
    type Spoil = fn(&mut RefreshConnection);
    let spoilt: [(&str, Spoil); 4] = [
        ("command.command_id: ", |command| command.command_id = "7".into()),
        ("command.redirect_url: ", |command| {
            command.redirect_url = "http://example.org".into()
        }),
        ("command.allowed_interfaces: ", |command| {
            command.allowed_interfaces = vec![99]
        }),
        ("command.max_age: ", |command| {
            command.max_age = Some(prost_types::Duration { seconds: -1, nanos: 0 })
        }),
    ];
    for (begin, spoil) in spoilt {
        let unreadable = unreadable(|state| spoil(state.command.as_mut().expect("a command")));
        let Unreadable::Malformed(why) = unreadable else {
            panic!("not malformed")
        };
        assert!(why.starts_with(begin), "{why}");
    }
}

/// A time that is too far ahead.
fn late() -> Option<prost_types::Timestamp> {
    Some(from_timestamp(later(at(0), secs(49 * 3600))))
}

fn updating(id: &str, created_at: prost_types::Timestamp) -> Option<wire::Phase> {
    let task = wire::Task {
        id: id.into(),
        created_at: Some(created_at),
    };
    Some(wire::Phase::Updating(wire::Updating { task: Some(task) }))
}

fn awaiting(form: &str, expires_at: prost_types::Timestamp) -> Option<wire::Phase> {
    Some(wire::Phase::AwaitingUser(wire::AwaitingUser {
        task: Some(wire::Task {
            id: "task-1".into(),
            created_at: Some(from_timestamp(at(0))),
        }),
        web_form_id: form.into(),
        expires_at: Some(expires_at),
    }))
}

fn settling(spoil: impl FnOnce(&mut wire::Update)) -> Option<wire::Phase> {
    let mut update = wire::Update {
        origin: UpdateOrigin::Silent.into(),
        ..wire::Update::default()
    };
    spoil(&mut update);
    Some(wire::Phase::Settling(wire::Settling { update: Some(update) }))
}

fn reading(spoil: impl FnOnce(&mut wire::Collecting)) -> Option<wire::Phase> {
    let bytes = encode(Run::collecting().at());
    let state = RefreshState::decode(bytes.as_slice()).expect("a state");
    let Some(wire::Phase::Collecting(mut reading)) = state.phase else {
        panic!("not collecting")
    };
    spoil(&mut reading);
    Some(wire::Phase::Collecting(reading))
}

fn group(ids: std::ops::Range<i64>) -> wire::Group {
    wire::Group {
        account_ids: ids.collect(),
    }
}

#[test]
fn what_finapi_says_of_times_never_makes_a_checkpoint_that_cant_be_read() {
    for odd in [Timestamp::MIN, Timestamp::MAX] {
        let mut run = Run::plain();
        let task = Task {
            created_at: odd,
            ..running()
        };
        run.find([]).start(task).taken_up();
        assert_eq!(run.phase(), "updating");
    }
    let mut run = Run::updating();
    run.poll(form_required());
    run.form(WebForm {
        expires_at: Some(Timestamp::MAX),
        ..open_form()
    });
    round_trip(run.at());
}

#[test]
fn what_is_no_checkpoint_is_malformed_and_says_where() {
    type Spoil = fn(&mut RefreshState);
    let spoilt: [(&str, Spoil); 28] = [
        ("requested_at", |state| {
            state.command.as_mut().expect("a command").requested_at = late();
        }),
        ("phase_since", |state| state.phase_since = late()),
        ("due_at", |state| state.due_at = late()),
        ("correlation_id", |state| state.correlation_id = "c".repeat(256)),
        ("traceparent", |state| state.traceparent = "00-\r\nX: y-1".into()),
        ("tracestate", |state| state.tracestate = "x".repeat(513)),
        ("task.id", |state| {
            state.phase = updating("../../../internal/admin?x=1", from_timestamp(at(0)));
        }),
        ("task.created_at", |state| {
            state.phase = updating("task-1", late().expect("a time"));
        }),
        ("web_form_id", |state| {
            state.phase = awaiting("../../../admin/delete", from_timestamp(at(0)));
        }),
        ("expires_at", |state| {
            state.phase = awaiting("form-1", late().expect("a time"));
        }),
        ("origin", |state| state.phase = settling(|update| update.origin = 0)),
        ("origin", |state| state.phase = settling(|update| update.origin = 99)),
        ("part", |state| state.phase = reading(|reading| reading.part = 0)),
        ("page", |state| state.phase = reading(|reading| reading.page = 0)),
        ("group", |state| state.phase = reading(|reading| reading.group = 2)),
        ("way", |state| state.phase = reading(|reading| reading.way = 0)),
        ("began", |state| state.phase = reading(|reading| reading.began = late())),
        ("covered_until", |state| {
            state.phase = reading(|reading| reading.covered_until = None);
        }),
        ("totals", |state| {
            state.phase = reading(|reading| reading.totals.get_or_insert_default().income = "1e".into());
        }),
        ("groups", |state| {
            state.phase = reading(|reading| reading.groups = vec![group(0..101)]);
        }),
        ("groups", |state| {
            let ten = (0..11).map(|n| group(n * 100..(n + 1) * 100));
            state.phase = reading(|reading| reading.groups = ten.collect());
        }),
        ("figures", |state| {
            let figures = wire::AccountFigures::default();
            state.phase = reading(|reading| reading.figures = vec![figures; 1001]);
        }),
        ("version", |state| state.version = 0),
        ("command", |state| state.command = None),
        ("requested_at", |state| {
            state.command = Some(RefreshConnection {
                requested_at: None,
                ..command()
            });
        }),
        ("phase", |state| state.phase = None),
        ("phase_since", |state| state.phase_since = None),
        ("due_at", |state| {
            state.due_at = Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            });
        }),
    ];
    for (field, spoil) in spoilt {
        let Unreadable::Malformed(why) = unreadable(spoil) else {
            panic!("not malformed")
        };
        assert!(why.contains(field), "{why}");
    }
    assert!(matches!(decode(&[0xff; 9], at(0)), Err(Unreadable::Malformed(_))));
    assert!(matches!(decode(&[], at(0)), Err(Unreadable::Malformed(_))));
}

#[test]
fn a_checkpoint_cut_short_is_no_panic() {
    let bytes = encode(Run::awaiting().at());
    for length in 0..bytes.len() {
        // Some prefixes happen to be whole fields; none of them is this refresh.
        drop(decode(&bytes[..length], at(0)));
    }
}

#[test]
fn a_refresh_shows_neither_its_token_nor_its_web_form() {
    let command = RefreshConnection {
        access_token: "planted-token".into(),
        ..command()
    };
    let mut run = Run::of(command);
    run.find([]).start(form_required());
    let shown = format!("{:?} {:#?}", run.at(), run.at());
    run.form(open_form());
    let shown_too = format!("{:?} {:#?}", run.published, run.at());
    for text in [shown, shown_too] {
        assert!(!text.contains("planted-token"), "{text}");
        assert!(!text.contains(FORM_URL), "{text}");
    }
}

#[test]
fn a_refresh_continues_from_the_largest_numbers_of_a_checkpoint() {
    let bytes = written(|state| (state.polls, state.failures) = (u32::MAX, u32::MAX));
    let refresh = decode(&bytes, at(0)).expect("a checkpoint");
    let context = StepContext {
        now: refresh.due_at,
        jitter: 0.5,
        next_poll: None,
        clocks: Clocks::default(),
        announced: None,
    };
    let step = |result| refresh.clone().step(result, context, &Policy::default());
    let polled = step(Ok(Response::Task(running())));
    assert!(matches!(polled.next, Next::Continue(next) if next.polls == u32::MAX));
    let failed = step(Err(Failure::new(FailureClass::Unavailable, "not to be had")));
    assert!(matches!(failed.next, Next::Done));
}
