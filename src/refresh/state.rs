//! The checkpoint: a refresh as it is written into a message, and read back by whatever worker takes it.

mod reading;

use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;

use super::failure::Doubts;
use super::order::PAUSED_MAX;
use super::schedule::POLL_INTERVAL_MIN;
use super::{Asked, Command, Envelope, InvalidCommand, Phase, Refresh, TaskRef, Update, later};
use crate::limits::{CODE_CHARACTERS_MAX, REQUEST_ID_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, apart_max};
use crate::proto::refresh_state as wire;
use crate::proto::{
    FailureReason, RefreshConnection, RefreshFailed, RefreshState, UpdateOrigin, from_timestamp, timestamp,
};

/// The version this release writes. It reads every version up to this one, and leaves newer ones to newer workers.
pub const VERSION: u32 = 1;

/// The full name of the protobuf message.
pub const MESSAGE_NAME: &str = "bankrefresh.v1.RefreshState";

/// After this, what the query before a checkpoint said may be old.
const UNINTERRUPTED: Duration = Duration::from_secs(60);

/// Why no refresh can continue from a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer release wrote it, and must continue from it.
    #[error("state version {0} is newer than this release reads ({VERSION})")]
    Newer(u32),
    /// Nobody can continue from it.
    #[error("not a refresh state: {0}")]
    Malformed(String),
}

/// Nothing in a command may be taken for something else, so nobody can continue from one that is refused.
impl From<InvalidCommand> for Unreadable {
    fn from(invalid: InvalidCommand) -> Self {
        Self::Malformed(format!("command.{invalid}"))
    }
}

/// Writes a checkpoint.
#[must_use]
pub fn encode(refresh: &Refresh) -> Vec<u8> {
    RefreshState {
        version: VERSION,
        command: Some(RefreshConnection {
            requested_at: Some(from_timestamp(refresh.requested_at)),
            ..RefreshConnection::from(&*refresh.command)
        }),
        interactive: refresh.envelope.interactive,
        correlation_id: refresh.envelope.correlation_id.clone(),
        traceparent: refresh.envelope.traceparent.clone(),
        tracestate: refresh.envelope.tracestate.clone(),
        phase: Some(phase(&refresh.phase)),
        phase_since: Some(from_timestamp(refresh.phase_since)),
        due_at: Some(from_timestamp(due_at(refresh))),
        polls: refresh.polls,
        failures: refresh.failures,
        not_found: refresh.doubts.not_found,
        token_refused: refresh.doubts.token_refused,
        refusals: refresh.refusals,
        paused_for: from_duration(refresh.paused_for),
        times: Some(refresh.times.written()),
    }
    .encode_to_vec()
}

/// Reads a checkpoint, and checks each part of it, as a command's are.
///
/// # Errors
///
/// [`Unreadable`], with the reason.
pub fn decode(body: &[u8], now: Timestamp) -> Result<Refresh, Unreadable> {
    let state = RefreshState::decode(body).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    if state.version > VERSION {
        return Err(Unreadable::Newer(state.version));
    }
    if state.version == 0 {
        return Err(wrong("version"));
    }
    let command = Command::parse(state.command.ok_or_else(|| wrong("command"))?)?;
    let times = Times {
        last: later(now, apart_max()),
    };
    let requested_at = times.required(command.requested_at(), "command.requested_at")?;
    let envelope = Envelope {
        // The message's header says it.
        revision: 0,
        interactive: state.interactive,
        correlation_id: state.correlation_id,
        traceparent: state.traceparent,
        tracestate: state.tracestate,
    };
    let mut refresh = Refresh {
        requested_at,
        envelope: envelope.checked().map_err(wrong)?,
        phase: Phase::Locating {
            lookup: super::Lookup::Find,
            locked: false,
            asked: None,
        },
        phase_since: times.read(state.phase_since, "phase_since")?,
        due_at: times.read(state.due_at, "due_at")?,
        polls: state.polls,
        failures: state.failures,
        doubts: Doubts {
            not_found: state.not_found,
            token_refused: state.token_refused,
        },
        refusals: state.refusals,
        paused_for: paused_for(state.paused_for.as_ref())?,
        times: super::Times::read(state.times, times.last),
        command: command.into(),
    };
    refresh.phase = match state.phase.ok_or_else(|| wrong("phase"))? {
        wire::Phase::Locating(locating) => refresh.locating(locating.locked, times.asked(&locating)?),
        wire::Phase::Updating(updating) => Phase::Updating {
            task: times.task(updating.task)?,
        },
        wire::Phase::AwaitingUser(awaiting) => Phase::AwaitingUser {
            task: times.task(awaiting.task)?,
            web_form_id: awaiting.web_form_id.parse().map_err(|_| wrong("web_form_id"))?,
            expires_at: times.read(awaiting.expires_at, "expires_at")?,
        },
        wire::Phase::Settling(wire::Settling { update }) => Phase::Settling {
            update: times.update(update)?,
        },
        wire::Phase::Collecting(collecting) => Phase::Collecting(Box::new(reading::read(collecting, &times)?)),
        wire::Phase::Failing(failing) => Phase::Failing {
            task: failing.task.map(|task| times.task(Some(task))).transpose()?,
            part: Some(failing.part)
                .filter(|part| *part > 0)
                .ok_or_else(|| wrong("part"))?,
            details: failure(failing.failure)?.into(),
        },
    };
    if later(refresh.phase_since, UNINTERRUPTED) < now {
        refresh.interrupted();
    }
    Ok(refresh)
}

/// Nothing where it was not paused.
fn from_duration(duration: Duration) -> Option<prost_types::Duration> {
    let duration = prost_types::Duration::try_from(duration).ok();
    duration.filter(|duration| *duration != prost_types::Duration::default())
}

/// No longer than pauses can last one after the other while a message lives.
fn paused_for(duration: Option<&prost_types::Duration>) -> Result<Duration, Unreadable> {
    let Some(duration) = duration else {
        return Ok(Duration::ZERO);
    };
    let duration = Duration::try_from(*duration).ok();
    duration
        .filter(|duration| *duration <= PAUSED_MAX)
        .ok_or_else(|| wrong("paused_for"))
}

/// The URL of a web form is in no checkpoint, so its task is polled again, and that just happened.
fn due_at(refresh: &Refresh) -> Timestamp {
    match refresh.phase {
        Phase::NotifyingUser { .. } => refresh.due_at.max(later(refresh.phase_since, POLL_INTERVAL_MIN)),
        _ => refresh.due_at,
    }
}

fn phase(phase: &Phase) -> wire::Phase {
    match phase {
        Phase::Locating { locked, asked, .. } => wire::Phase::Locating(wire::Locating {
            locked: *locked,
            asked_first: asked.map(|asked| from_timestamp(asked.first)),
            asked_last: asked.map(|asked| from_timestamp(asked.last)),
        }),
        Phase::Updating { task } | Phase::NotifyingUser { task, .. } => wire::Phase::Updating(wire::Updating {
            task: Some(write_task(task)),
        }),
        Phase::AwaitingUser {
            task,
            web_form_id,
            expires_at,
        } => wire::Phase::AwaitingUser(wire::AwaitingUser {
            task: Some(write_task(task)),
            web_form_id: web_form_id.to_string(),
            expires_at: Some(from_timestamp(*expires_at)),
        }),
        Phase::Settling { update } => wire::Phase::Settling(wire::Settling {
            update: Some(write_update(update)),
        }),
        Phase::Collecting(collecting) => wire::Phase::Collecting(reading::write(collecting)),
        Phase::Failing { task, part, details } => wire::Phase::Failing(wire::Failing {
            task: task.as_ref().map(write_task),
            part: *part,
            failure: Some(details.into()),
        }),
    }
}

fn write_task(task: &TaskRef) -> wire::Task {
    wire::Task {
        id: task.id.to_string(),
        created_at: Some(from_timestamp(task.created_at)),
    }
}

fn write_update(update: &Update) -> wire::Update {
    wire::Update {
        task: update.task.as_ref().map(write_task),
        origin: update.origin.into(),
    }
}

/// A failure as an event may have it.
fn failure(failure: Option<RefreshFailed>) -> Result<RefreshFailed, Unreadable> {
    let failure = failure.ok_or_else(|| wrong("failure"))?;
    let texts = [
        (&failure.finapi_code, CODE_CHARACTERS_MAX),
        (&failure.message, TEXT_CHARACTERS_MAX),
        (&failure.bank_message, TEXT_CHARACTERS_MAX),
        (&failure.finapi_request_id, REQUEST_ID_CHARACTERS_MAX),
    ];
    let fits = texts
        .iter()
        .all(|(text, characters_max)| text.chars().count() <= *characters_max);
    match fits && failure.reason() != FailureReason::Unspecified {
        true => Ok(failure),
        false => Err(wrong("failure")),
    }
}

/// Reads what has times.
struct Times {
    /// None is later.
    last: Timestamp,
}

impl Times {
    fn update(&self, update: Option<wire::Update>) -> Result<Update, Unreadable> {
        let update = update.ok_or_else(|| wrong("update"))?;
        let origin = UpdateOrigin::try_from(update.origin).ok();
        Ok(Update {
            origin: origin
                .filter(|origin| *origin != UpdateOrigin::Unspecified)
                .ok_or_else(|| wrong("origin"))?,
            task: update.task.map(|task| self.task(Some(task))).transpose()?,
        })
    }

    fn asked(&self, locating: &wire::Locating) -> Result<Option<Asked>, Unreadable> {
        match (locating.asked_first, locating.asked_last) {
            (None, None) => Ok(None),
            (first, last) => Ok(Some(Asked {
                first: self.read(first, "asked_first")?,
                last: self.read(last, "asked_last")?,
            })),
        }
    }

    fn task(&self, task: Option<wire::Task>) -> Result<TaskRef, Unreadable> {
        let task = task.ok_or_else(|| wrong("task"))?;
        Ok(TaskRef {
            id: task.id.parse().map_err(|_| wrong("task.id"))?,
            created_at: self.read(task.created_at, "task.created_at")?,
        })
    }

    fn read(&self, at: Option<prost_types::Timestamp>, name: &'static str) -> Result<Timestamp, Unreadable> {
        self.required(at.as_ref().and_then(timestamp), name)
    }

    /// A moment that the command may have chosen.
    fn any(&self, at: Option<prost_types::Timestamp>, name: &'static str) -> Result<Timestamp, Unreadable> {
        at.as_ref().and_then(timestamp).ok_or_else(|| wrong(name))
    }

    fn required(&self, at: Option<Timestamp>, name: &'static str) -> Result<Timestamp, Unreadable> {
        at.filter(|at| *at <= self.last).ok_or_else(|| wrong(name))
    }
}

fn wrong(name: &'static str) -> Unreadable {
    Unreadable::Malformed(format!("{name} is missing or out of bounds"))
}
