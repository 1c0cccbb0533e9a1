//! What a refresh publishes to the services downstream.

mod content;
mod parts;

use std::fmt;

use jiff::Timestamp;
use prost::Message as _;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

pub use content::{CATEGORY_CHARACTERS_MAX, PURPOSE_CHARACTERS_MAX};
pub(super) use parts::transactions_updated;

pub use super::settings::{Detail, Transactions};

use super::failure::FailureDetails;
use super::model::WebFormLink;
use super::{Phase, Refresh};
use crate::proto::{
    RefreshContext, RefreshFailed, TransactionsUpdated, UserActionReason, UserActionRequired, from_timestamp,
};

/// An event to be published.
#[derive(Clone, PartialEq)]
pub enum Event {
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
    /// The routing key at the events exchange.
    #[must_use]
    pub fn routing_key(&self) -> &'static str {
        match self {
            Self::TransactionsUpdated(_) => "transactions.updated",
            Self::UserActionRequired(_) => "user-action.required",
            Self::RefreshFailed(_) => "refresh.failed",
        }
    }

    /// The full name of the protobuf message.
    #[must_use]
    pub fn message_name(&self) -> &'static str {
        match self {
            Self::TransactionsUpdated(_) => "bankrefresh.v1.TransactionsUpdated",
            Self::UserActionRequired(_) => "bankrefresh.v1.UserActionRequired",
            Self::RefreshFailed(_) => "bankrefresh.v1.RefreshFailed",
        }
    }

    /// What every event begins with.
    #[must_use]
    pub fn context(&self) -> Option<&RefreshContext> {
        match self {
            Self::TransactionsUpdated(event) => event.refresh.as_ref(),
            Self::UserActionRequired(event) => event.refresh.as_ref(),
            Self::RefreshFailed(event) => event.refresh.as_ref(),
        }
    }

    /// Whether it is the command's outcome, or its last part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::TransactionsUpdated(event) => event.part >= event.parts,
            Self::UserActionRequired(_) => false,
            Self::RefreshFailed(_) => true,
        }
    }

    /// What happened in one line, without anything personal or secret.
    #[must_use]
    pub fn summary(&self) -> String {
        let lower = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase().replace('_', " ");
        match self {
            Self::TransactionsUpdated(event) => {
                let origin = lower(event.origin().as_str_name(), "UPDATE_ORIGIN_");
                let part = match event.parts {
                    0 | 1 => String::new(),
                    parts => format!(", part {} of {parts}", event.part),
                };
                let transactions = event.new_transactions;
                format!("TransactionsUpdated ({origin}, {transactions} new transactions{part})")
            }
            Self::UserActionRequired(event) => {
                let reason = lower(event.reason().as_str_name(), "USER_ACTION_REASON_");
                format!("UserActionRequired ({reason})")
            }
            Self::RefreshFailed(event) => {
                let reason = lower(event.reason().as_str_name(), "FAILURE_REASON_");
                match event.finapi_code.as_str() {
                    "" => format!("RefreshFailed ({reason})"),
                    code => format!("RefreshFailed ({reason}, {code})"),
                }
            }
        }
    }

    /// The protobuf encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::TransactionsUpdated(event) => event.encode_to_vec(),
            Self::UserActionRequired(event) => event.encode_to_vec(),
            Self::RefreshFailed(event) => event.encode_to_vec(),
        }
    }

    /// Reads an event back.
    ///
    /// # Errors
    ///
    /// When the body is not what the name says, or the name is unknown.
    pub fn decode(message_name: &str, body: &[u8]) -> Result<Self, prost::DecodeError> {
        match message_name {
            "bankrefresh.v1.TransactionsUpdated" => TransactionsUpdated::decode(body).map(Self::TransactionsUpdated),
            "bankrefresh.v1.UserActionRequired" => UserActionRequired::decode(body).map(Self::UserActionRequired),
            "bankrefresh.v1.RefreshFailed" => RefreshFailed::decode(body).map(Self::RefreshFailed),
            #[expect(deprecated, reason = "prost has no other way to make one")]
            other => Err(prost::DecodeError::new(format!("{other:?} is no event"))),
        }
    }
}

pub(super) fn user_action_required(
    refresh: &Refresh,
    now: Timestamp,
    form: &WebFormLink,
    expires_at: Timestamp,
    reason: UserActionReason,
) -> Event {
    Event::UserActionRequired(UserActionRequired {
        refresh: Some(context(refresh, now, &format!("web-form/{}", form.id))),
        web_form_url: form.url.expose_secret().to_owned(),
        web_form_id: form.id.clone(),
        expires_at: Some(from_timestamp(expires_at)),
        reason: reason.into(),
    })
}

/// finAPI's batch update needs the user; `trigger_event` is what finAPI calls the reason.
#[must_use]
pub fn user_action_by_batch(refresh: &Refresh, now: Timestamp, trigger_event: &str) -> Event {
    Event::UserActionRequired(UserActionRequired {
        refresh: Some(context(refresh, now, &format!("batch/{trigger_event}"))),
        reason: UserActionReason::BatchUpdate.into(),
        ..UserActionRequired::default()
    })
}

pub(super) fn failed(refresh: &Refresh, now: Timestamp, details: &FailureDetails) -> Event {
    let part = match &refresh.phase {
        Phase::Settling { update } | Phase::Collecting { update, .. } => update.next_part,
        _ => 1,
    };
    Event::RefreshFailed(RefreshFailed {
        refresh: Some(context(refresh, now, &outcome(part))),
        reason: details.reason.into(),
        finapi_code: details.code.clone(),
        message: details.message.clone(),
        bank_message: details.bank_message.clone(),
        retryable: details.retryable,
        finapi_request_id: details.request_id.clone(),
    })
}

fn context(refresh: &Refresh, now: Timestamp, what: &str) -> RefreshContext {
    let command = &refresh.command;
    RefreshContext {
        command_id: command.command_id.clone(),
        user_id: command.user_id.clone(),
        bank_connection_id: command.bank_connection_id,
        task_id: refresh.task().map(|task| task.id.clone()).unwrap_or_default(),
        event_id: event_id(&command.command_id, what).to_string(),
        occurred_at: Some(from_timestamp(now)),
        labels: command.labels.clone(),
    }
}

/// The name of the outcome's part. Success and failure share it: the outcome of a command has one id.
fn outcome(part: u32) -> String {
    format!("outcome/{part}")
}

fn event_id(command_id: &str, what: &str) -> Uuid {
    let namespace = Uuid::parse_str(command_id).unwrap_or(Uuid::nil());
    Uuid::new_v5(&namespace, what.as_bytes())
}
