//! What a refresh publishes to the services downstream.

mod content;
mod parts;

use std::fmt;

use jiff::Timestamp;
use prost::Message as _;
use secrecy::ExposeSecret as _;

pub(super) use content::cut;
pub(super) use parts::transactions_updated;

pub use super::settings::{Detail, Transactions};

use super::Refresh;
use super::failure::FailureDetails;
use super::model::WebFormLink;
use crate::plain::plain;
use crate::proto::{
    RefreshContext, RefreshFailed, TransactionsUpdated, UserActionReason, UserActionRequired, from_timestamp,
};

/// The name of the outcome: a failure, or the last part of a success.
const OUTCOME: &str = "outcome";

/// An event to be published: what every event begins with, and what happened.
#[derive(Clone, PartialEq)]
pub struct Event {
    context: RefreshContext,
    kind: EventKind,
}

/// What happened. The messages are without their `refresh`, which is the event's context.
#[derive(Clone, PartialEq)]
pub enum EventKind {
    /// The connection is up to date.
    TransactionsUpdated(TransactionsUpdated),
    /// The user must act.
    UserActionRequired(UserActionRequired),
    /// The refresh did not succeed.
    RefreshFailed(RefreshFailed),
}

/// The summary: an event may hold a web form's URL and much that is personal.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl Event {
    /// An event of a refresh.
    #[must_use]
    pub fn new(context: RefreshContext, mut kind: EventKind) -> Self {
        drop(kind.refresh().take());
        Self { context, kind }
    }

    /// What every event begins with.
    #[must_use]
    pub fn context(&self) -> &RefreshContext {
        &self.context
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// The routing key at the events exchange.
    #[must_use]
    pub fn routing_key(&self) -> &'static str {
        match self.kind {
            EventKind::TransactionsUpdated(_) => "transactions.updated",
            EventKind::UserActionRequired(_) => "user-action.required",
            EventKind::RefreshFailed(_) => "refresh.failed",
        }
    }

    /// The full name of the protobuf message.
    #[must_use]
    pub fn message_name(&self) -> &'static str {
        match self.kind {
            EventKind::TransactionsUpdated(_) => "bankrefresh.v1.TransactionsUpdated",
            EventKind::UserActionRequired(_) => "bankrefresh.v1.UserActionRequired",
            EventKind::RefreshFailed(_) => "bankrefresh.v1.RefreshFailed",
        }
    }

    /// Whether it is the command's outcome, or its last part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match &self.kind {
            EventKind::TransactionsUpdated(event) => event.last,
            EventKind::UserActionRequired(_) => false,
            EventKind::RefreshFailed(_) => true,
        }
    }

    /// What happened in one line, without anything personal or secret.
    #[must_use]
    pub fn summary(&self) -> String {
        let lower = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase().replace('_', " ");
        match &self.kind {
            EventKind::TransactionsUpdated(event) => {
                let origin = lower(event.origin().as_str_name(), "UPDATE_ORIGIN_");
                let part = match (event.part, event.last) {
                    (0 | 1, true) => String::new(),
                    (part, true) => format!(", last part {part}"),
                    (part, false) => return format!("TransactionsUpdated ({origin}, part {part})"),
                };
                let transactions = event.new_transactions;
                format!("TransactionsUpdated ({origin}, {transactions} new transactions{part})")
            }
            EventKind::UserActionRequired(event) => {
                let reason = lower(event.reason().as_str_name(), "USER_ACTION_REASON_");
                format!("UserActionRequired ({reason})")
            }
            EventKind::RefreshFailed(event) => {
                let reason = lower(event.reason().as_str_name(), "FAILURE_REASON_");
                // Of an event that was read, it may be anything.
                match &*plain(&event.finapi_code) {
                    "" => format!("RefreshFailed ({reason})"),
                    code => format!("RefreshFailed ({reason}, {code})"),
                }
            }
        }
    }

    /// The protobuf encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // The context is the first field of every event, and protobuf joins the bytes of two messages into one.
        let context = RefreshFailed {
            refresh: Some(self.context.clone()),
            ..RefreshFailed::default()
        };
        let rest = match &self.kind {
            EventKind::TransactionsUpdated(event) => event.encode_to_vec(),
            EventKind::UserActionRequired(event) => event.encode_to_vec(),
            EventKind::RefreshFailed(event) => event.encode_to_vec(),
        };
        [context.encode_to_vec(), rest].concat()
    }

    /// Reads an event back.
    ///
    /// # Errors
    ///
    /// When the body is not what the name says, or has no context, or the name is unknown.
    pub fn decode(message_name: &str, body: &[u8]) -> Result<Self, prost::DecodeError> {
        let mut kind = match message_name {
            "bankrefresh.v1.TransactionsUpdated" => EventKind::TransactionsUpdated(TransactionsUpdated::decode(body)?),
            "bankrefresh.v1.UserActionRequired" => EventKind::UserActionRequired(UserActionRequired::decode(body)?),
            "bankrefresh.v1.RefreshFailed" => EventKind::RefreshFailed(RefreshFailed::decode(body)?),
            other => return Err(no_event(format!("{other:?} is no event"))),
        };
        match kind.refresh().take() {
            Some(context) => Ok(Self { context, kind }),
            None => Err(no_event(format!(
                "a {message_name} that does not say of which refresh it is"
            ))),
        }
    }
}

impl EventKind {
    fn refresh(&mut self) -> &mut Option<RefreshContext> {
        match self {
            Self::TransactionsUpdated(event) => &mut event.refresh,
            Self::UserActionRequired(event) => &mut event.refresh,
            Self::RefreshFailed(event) => &mut event.refresh,
        }
    }
}

#[expect(deprecated, reason = "prost has no other way to make one")]
fn no_event(why: String) -> prost::DecodeError {
    prost::DecodeError::new(why)
}

pub(super) fn user_action_required(
    refresh: &Refresh,
    now: Timestamp,
    form: &WebFormLink,
    expires_at: Timestamp,
    reason: UserActionReason,
) -> Event {
    let url = form.url.expose_secret();
    let message = if url.is_empty() {
        "finAPI's URL of the web form is not https"
    } else {
        ""
    };
    let event = UserActionRequired {
        web_form_url: url.to_owned(),
        message: message.to_owned(),
        web_form_id: form.id.to_string(),
        expires_at: Some(from_timestamp(expires_at)),
        reason: reason.into(),
        ..UserActionRequired::default()
    };
    let context = context(refresh, now, &format!("web-form/{}", form.id));
    Event::new(context, EventKind::UserActionRequired(event))
}

/// finAPI's batch update needs the user; `trigger_event` is what finAPI calls the reason.
#[must_use]
pub fn user_action_by_batch(refresh: &Refresh, now: Timestamp, trigger_event: &str) -> Event {
    let event = UserActionRequired {
        reason: UserActionReason::BatchUpdate.into(),
        ..UserActionRequired::default()
    };
    let context = context(refresh, now, &format!("batch/{trigger_event}"));
    Event::new(context, EventKind::UserActionRequired(event))
}

pub(super) fn failed(refresh: &Refresh, now: Timestamp, details: &FailureDetails) -> Event {
    let context = context(refresh, now, OUTCOME);
    Event::new(context, EventKind::RefreshFailed(details.into()))
}

fn context(refresh: &Refresh, now: Timestamp, what: &str) -> RefreshContext {
    let command = &refresh.command;
    RefreshContext {
        command_id: command.id().to_string(),
        user_id: command.user_id().to_string(),
        bank_connection_id: command.connection_id().get(),
        task_id: refresh.task().map(|task| task.id.to_string()).unwrap_or_default(),
        event_id: command.refresh_id().event_id(what).to_string(),
        occurred_at: Some(from_timestamp(now)),
        labels: command.labels().clone(),
        times: Some(refresh.all_times()),
    }
}
