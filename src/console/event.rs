//! What the console reads of an event: which refresh it is of, how that went, and how it ended. The rest of the body is not even decoded: there
//! are no accounts, transactions, URLs of web forms or texts of banks to forget.

use jiff::Timestamp;
use prost::Message as _;

use crate::broker::{Header, Message};
use crate::plain::plain;
use crate::proto::{FailureReason, RefreshContext, UpdateOrigin, UserActionReason, timestamp};

/// An event without what is personal or secret.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) context: RefreshContext,
    /// W3C's id of the trace, where there is one.
    pub(super) trace_id: Option<u128>,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A part that is not the last.
    Part { number: u32 },
    Updated {
        origin: UpdateOrigin,
        bank: Option<(i64, String)>,
        parts: u32,
        new_transactions: u32,
    },
    UserAsked {
        reason: UserActionReason,
        expires_at: Option<Timestamp>,
    },
    Failed {
        reason: FailureReason,
        code: String,
        retryable: bool,
        request_id: String,
    },
}

/// The fields of the three events that are read here, by their numbers in `events.proto`; each event has some of them.
#[derive(Clone, PartialEq, prost::Message)]
struct Updated {
    #[prost(message, optional, tag = "1")]
    refresh: Option<RefreshContext>,
    #[prost(enumeration = "UpdateOrigin", tag = "2")]
    origin: i32,
    #[prost(message, optional, tag = "3")]
    bank: Option<Bank>,
    #[prost(uint32, tag = "6")]
    part: u32,
    #[prost(bool, tag = "7")]
    last: bool,
    #[prost(uint32, tag = "9")]
    new_transactions: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bank {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UserAsked {
    #[prost(message, optional, tag = "1")]
    refresh: Option<RefreshContext>,
    #[prost(message, optional, tag = "4")]
    expires_at: Option<prost_types::Timestamp>,
    #[prost(enumeration = "UserActionReason", tag = "5")]
    reason: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Failed {
    #[prost(message, optional, tag = "1")]
    refresh: Option<RefreshContext>,
    #[prost(enumeration = "FailureReason", tag = "2")]
    reason: i32,
    #[prost(string, tag = "3")]
    finapi_code: String,
    #[prost(bool, tag = "6")]
    retryable: bool,
    #[prost(string, tag = "7")]
    finapi_request_id: String,
}

/// Reads an event; none where it is none that is known here.
pub(super) fn read(message: &Message) -> Option<Seen> {
    let body = &message.body[..];
    let (refresh, what) = match message.properties.kind.as_deref()? {
        "bankrefresh.v1.TransactionsUpdated" => updated(Updated::decode(body).ok()?),
        "bankrefresh.v1.UserActionRequired" => user_asked(UserAsked::decode(body).ok()?),
        "bankrefresh.v1.RefreshFailed" => failed(Failed::decode(body).ok()?),
        _ => return None,
    };
    let traceparent = message.properties.headers.get("traceparent").and_then(Header::as_text);
    Some(Seen {
        context: refresh?,
        trace_id: traceparent.and_then(trace_id),
        what,
    })
}

fn updated(mut event: Updated) -> (Option<RefreshContext>, What) {
    let bank = event.bank.take();
    let bank = bank.map(|bank| (bank.id, plain(&bank.name).chars().take(80).collect()));
    let what = match event.last {
        false => What::Part { number: event.part },
        true => What::Updated {
            origin: event.origin(),
            bank,
            parts: event.part.max(1),
            new_transactions: event.new_transactions,
        },
    };
    (event.refresh, what)
}

fn user_asked(event: UserAsked) -> (Option<RefreshContext>, What) {
    let what = What::UserAsked {
        reason: event.reason(),
        expires_at: event.expires_at.as_ref().and_then(timestamp),
    };
    (event.refresh, what)
}

fn failed(event: Failed) -> (Option<RefreshContext>, What) {
    let what = What::Failed {
        reason: event.reason(),
        code: word(&event.finapi_code),
        retryable: event.retryable,
        request_id: word(&event.finapi_request_id),
    };
    (event.refresh, what)
}

/// A code or an id: whatever else stands in its place may be anything.
fn word(text: &str) -> String {
    let is_word = text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.[]".contains(&byte));
    if is_word { text.to_owned() } else { String::new() }
}

fn trace_id(traceparent: &str) -> Option<u128> {
    let id = traceparent.split('-').nth(1).filter(|id| id.len() == 32)?;
    u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Properties;
    use crate::proto;
    use crate::refresh::event::{Event, EventKind};

    fn of(kind: EventKind) -> (Seen, String) {
        let context = RefreshContext {
            command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            ..RefreshContext::default()
        };
        let event = Event::new(context, kind);
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let message = Message {
            body: event.encode().into(),
            properties: Properties {
                kind: Some(event.message_name().to_owned()),
                headers: [("traceparent".to_owned(), traceparent.into())].into(),
                ..Properties::default()
            },
        };
        let seen = read(&message).expect("an event");
        let text = format!("{seen:?}");
        (seen, text)
    }

    #[test]
    fn nothing_personal_or_secret_is_read() {
        let planted = || "planted".to_owned();
        let updated = proto::TransactionsUpdated {
            origin: UpdateOrigin::Silent.into(),
            bank: Some(proto::Bank {
                id: 7,
                name: "A bank".to_owned(),
                bic: planted(),
                bank_code: planted(),
            }),
            accounts: vec![proto::Account {
                iban: planted(),
                balance: planted(),
                name: planted(),
                ..Default::default()
            }],
            transactions: vec![proto::Transaction {
                purpose: planted(),
                amount: planted(),
                ..Default::default()
            }],
            part: 2,
            last: true,
            new_transactions: 12,
            ..Default::default()
        };
        let (seen, text) = of(EventKind::TransactionsUpdated(updated));
        assert!(!text.contains("planted"), "{text}");
        assert_eq!(seen.trace_id, Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c));
        let bank = Some((7, "A bank".to_owned()));
        let expected = What::Updated {
            origin: UpdateOrigin::Silent,
            bank,
            parts: 2,
            new_transactions: 12,
        };
        assert_eq!(seen.what, expected);

        let asked = proto::UserActionRequired {
            web_form_url: planted(),
            web_form_id: planted(),
            message: planted(),
            reason: UserActionReason::Immediate.into(),
            ..Default::default()
        };
        let (seen, text) = of(EventKind::UserActionRequired(asked));
        assert!(!text.contains("planted"), "{text}");
        assert_eq!(
            seen.what,
            What::UserAsked {
                reason: UserActionReason::Immediate,
                expires_at: None
            }
        );

        let failed = proto::RefreshFailed {
            reason: FailureReason::BankRejected.into(),
            finapi_code: "planted <b>".to_owned(),
            message: planted(),
            bank_message: planted(),
            finapi_request_id: "r-1".to_owned(),
            retryable: true,
            ..Default::default()
        };
        let (seen, text) = of(EventKind::RefreshFailed(failed));
        assert!(!text.contains("planted"), "{text}");
        let (reason, request_id) = (FailureReason::BankRejected, "r-1".to_owned());
        assert_eq!(
            seen.what,
            What::Failed {
                reason,
                code: String::new(),
                retryable: true,
                request_id
            }
        );
    }
}
