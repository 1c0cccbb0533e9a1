//! What follows from what was read: the workflow decides, and what it decides can be published and read again.

use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;

use super::{NOW, assert_hides_secrets, topology};
use crate::broker::Outgoing;
use crate::broker::rabbit::fuzzing::published;
use crate::id::AccountId;
use crate::message;
use crate::proto::{RefreshConnection, UpdateOrigin, UserActionReason};
use crate::refresh::event::Event;
use crate::refresh::failure::{Failure, FailureClass};
use crate::refresh::model::{Collected, Connection, Page, WebFormLink};
use crate::refresh::query::{Query, Response};
use crate::refresh::reading::{Collecting, Interval, Reading};
use crate::refresh::{
    Clocks, Command, Envelope, Lookup, Next, Phase, Policy, Refresh, Step, StepContext, TaskRef, Update, state,
};

/// A refresh in each of the phases, of connection 101.
static REFRESHES: LazyLock<Vec<Refresh>> = LazyLock::new(refreshes);

fn refreshes() -> Vec<Refresh> {
    let command = RefreshConnection {
        command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        user_id: "anna".to_owned(),
        bank_connection_id: 101,
        max_age: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..RefreshConnection::default()
    };
    let Ok(command) = Command::parse(command) else {
        unreachable!("the command is valid")
    };
    let refresh = Refresh::new(command, NOW, Envelope::default(), NOW);
    let task = TaskRef {
        id: id("946db09e-5bfc-11eb-ae93-0242ac130002"),
        created_at: NOW,
    };
    let update = Update {
        task: Some(task.clone()),
        origin: UpdateOrigin::Silent,
    };
    let interval = Interval { from: NOW, until: NOW };
    let mut reading = Reading::new(Some(interval), NOW);
    reading.groups = vec![vec![AccountId::from(7)]];
    let locating = |lookup| Phase::Locating {
        lookup,
        locked: false,
        asked: None,
    };
    let phases = [
        locating(Lookup::Check),
        locating(Lookup::Find),
        locating(Lookup::Start),
        Phase::Updating { task: task.clone() },
        Phase::NotifyingUser {
            task: task.clone(),
            form: WebFormLink {
                id: id("31c508d8-51da-11eb-ae93-0242ac130002"),
                url: "https://webform.test/wf/31c5".into(),
            },
            reason: UserActionReason::DuringUpdate,
        },
        Phase::AwaitingUser {
            task,
            web_form_id: id("31c508d8-51da-11eb-ae93-0242ac130002"),
            expires_at: NOW,
        },
        Phase::Settling { update: update.clone() },
        Phase::Collecting(Box::new(Collecting {
            update,
            reading,
            connection: Some(connection()),
            accounts: None,
        })),
    ];
    let in_phase = |phase| Refresh {
        phase,
        ..refresh.clone()
    };
    phases.into_iter().map(in_phase).collect()
}

fn id<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| unreachable!("{text:?} is an id"))
}

fn connection() -> Connection {
    Connection {
        ready: true,
        account_ids: vec![AccountId::from(7)],
        ..Connection::default()
    }
}

/// Every refresh that asks for it gets the response.
pub(super) fn on_response(response: &Response) {
    let asks_for_it = |refresh: &&Refresh| {
        matches!(
            (refresh.query(), response),
            (Query::Connection, Response::Connection(_))
                | (Query::FindTask, Response::Tasks(_))
                | (Query::Start | Query::Task(_), Response::Task(_))
                | (Query::WebForm(_), Response::WebForm(_))
                | (Query::Collect(_), Response::Collected(_))
        )
    };
    for refresh in REFRESHES.iter().filter(asks_for_it) {
        assert_continues(&step(refresh.clone(), Ok(response.clone())));
    }
}

/// One of the refreshes gets the failure. The length of its message chooses which.
pub(super) fn on_failure(failure: &Failure) {
    assert_hides_secrets(&format!("{failure:?}"));
    let refresh = &REFRESHES[failure.message.len() % REFRESHES.len()];
    assert_continues(&step(refresh.clone(), Err(failure.clone())));
}

/// A refresh that was read is written and read again, and continues from whatever finAPI responds.
pub(super) fn assert_workable(refresh: &Refresh) {
    assert_same(refresh);
    let _ = (
        refresh.query(),
        refresh.progress(),
        refresh.failed(NOW, &Policy::default()),
    );
    let requeued = message::back_to_its_lane(&topology(), refresh, NOW);
    assert_eq!(published(&requeued), requeued.message);
    let failures = [
        FailureClass::Unavailable,
        FailureClass::MaybeDown,
        FailureClass::Foreign,
        FailureClass::TokenRefused,
        FailureClass::NotFound,
        FailureClass::RateLimited(Some(Duration::from_secs(24 * 3600))),
        FailureClass::Locked,
    ];
    let failed = failures.map(|class| Err(Failure::new(class, "failed")));
    let responses = [
        Ok(Response::Tasks(Vec::new())),
        Ok(Response::Connection(connection())),
        Ok(Response::Connection(Connection::default())),
        Ok(Response::Collected(Collected::default())),
        Ok(Response::Collected(Collected {
            accounts: Some(Vec::new()),
            page: Some(Page::default()),
        })),
    ];
    for result in failed.into_iter().chain(responses) {
        assert_continues(&step(refresh.clone(), result));
    }
}

fn step(refresh: Refresh, result: Result<Response, Failure>) -> Step {
    let context = StepContext {
        now: NOW,
        jitter: 0.5,
        next_poll: Some(Duration::from_secs(10)),
        clocks: Clocks::default(),
        announced: None,
    };
    refresh.step(result, context, &Policy::default())
}

fn assert_continues(step: &Step) {
    step.events.iter().for_each(assert_event);
    match &step.next {
        Next::Continue(refresh) | Next::Checkpoint(refresh) => assert_same(refresh),
        Next::Done => {}
    }
}

/// An event is published and reads the same.
pub(super) fn assert_event(event: &Event) {
    let _ = (event.is_last(), event.routing_key());
    assert_hides_secrets(&format!("{event:?}"));
    let message = publish(&message::event(&topology(), event, &Envelope::default(), NOW));
    let read = Event::decode(event.message_name(), &message.body);
    assert!(
        read.is_ok_and(|read| read == *event),
        "an event reads as it was written"
    );
}

/// A checkpoint is published and reads the same.
fn assert_same(refresh: &Refresh) {
    let message = publish(&message::checkpoint(&topology(), refresh, NOW));
    let read = state::decode(&message.body, NOW).unwrap_or_else(|why| panic!("a checkpoint can't be read: {why}"));
    assert_hides_secrets(&format!("{read:?}"));
    assert_eq!(read.requested_at, refresh.requested_at);
    assert_eq!(
        message::parked_at(&message),
        Some(Timestamp::from_second(NOW.as_second()).unwrap_or(NOW))
    );
    // What only a worker knows is read again from finAPI, so the second writing is the one that no longer changes.
    let again = state::encode(&read);
    let second = state::decode(&again, NOW).map(|read| state::encode(&read));
    assert_eq!(second, Ok(again), "a checkpoint reads as it was written");
}

fn publish(outgoing: &Outgoing) -> crate::broker::Message {
    published(outgoing)
}
