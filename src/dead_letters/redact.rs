//! All of a dead letter, but for its secrets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Row, hash};
use crate::broker::Header;
use crate::broker::rabbit::DeadLetter;
use crate::message::{self, COMMAND_NAME};
use crate::refresh::state;

/// What an operator sees instead of what is hidden.
const HIDDEN: &str = "(hidden)";

/// What of a dead letter is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Whatever is named like a secret, for an administrator at a terminal.
    Secrets,
    /// The same, and what is of accounts or of the person: for a page, which shows none of that anywhere. Also every header that neither we nor
    /// a standard nor RabbitMQ define, because it may hold anything.
    SecretsAndAccounts,
}

/// All of a dead letter but what is hidden.
#[must_use]
pub fn whole(row: &Row, letter: &DeadLetter, hidden: Hidden) -> Value {
    let properties = &letter.message.properties;
    let headers = properties.headers.iter().map(|(name, value)| {
        let value = match value {
            Header::Text(text) => json!(text),
            Header::Integer(number) => json!(number),
            Header::Boolean(truth) => json!(truth),
        };
        let is_shown = hidden == Hidden::Secrets || is_known(name);
        (name.clone(), if is_shown { value } else { json!(HIDDEN) })
    });
    let mut headers = json!(headers.collect::<BTreeMap<_, _>>());
    hide(&mut headers, hidden);
    let kind = properties.kind.as_deref().unwrap_or(COMMAND_NAME);
    let body = match kind {
        COMMAND_NAME | state::MESSAGE_NAME => {
            message::json(kind, &letter.message.body).map_err(|error| error.to_string())
        }
        _ => Err("of a type that is none of a command or a state".to_owned()),
    };
    let body = body.map(|mut body| {
        hide(&mut body, hidden);
        body
    });
    let mut whole = row.json(letter);
    let rest = json!({
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "content_type": properties.content_type,
        "app_id": properties.app_id,
        "sent_at": properties.timestamp.and_then(|seconds| Timestamp::from_second(seconds.try_into().ok()?).ok()),
        "headers": headers,
        "hash": hash(&letter.message.body),
        "body": body.as_ref().ok(),
        "unreadable": body.as_ref().err(),
    });
    if let (Value::Object(whole), Value::Object(rest)) = (&mut whole, rest) {
        whole.extend(rest);
    }
    whole
}

/// A header that we, a standard or RabbitMQ define. Not everything that begins with `x-`: a sender's own header may, too.
fn is_known(name: &str) -> bool {
    let starts = ["bankrefresh_", "cloudEvents_", "x-first-death-", "x-last-death-"];
    let names = ["traceparent", "x-delivery-count", "x-acquired-count"];
    names.contains(&name) || starts.iter().any(|start| name.starts_with(start))
}

/// Hides every value whose name says that it is to be hidden.
fn hide(value: &mut Value, hidden: Hidden) {
    let is_hidden = |name: &str| is_secret(name) || (hidden == Hidden::SecretsAndAccounts && is_personal(name));
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(_) | Value::Array(_) => hide(value, hidden),
                    Value::String(text) if text.is_empty() => {}
                    _ if is_hidden(name) => *value = json!(HIDDEN),
                    _ => {}
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, hidden)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fields of commands and checkpoints with texts of banks, amounts, or what the person uses.
fn is_personal(name: &str) -> bool {
    let fields = [
        "message",
        "bank_message",
        "income",
        "spending",
        "redirect_url",
        "ip_address",
        "device_os",
        "user_agent",
    ];
    fields.contains(&name)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "token",
        "secret",
        "password",
        "authorization",
        "cookie",
        "api_key",
        "api-key",
        "apikey",
        // It opens the form.
        "web_form_id",
    ];
    name == "pin" || words.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::broker::topology::Topology;
    use crate::broker::{Message, Properties};
    use crate::proto::refresh_state::{Failing, Phase};
    use crate::proto::{RefreshConnection, RefreshFailed, RefreshState, UserMetadata};

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let mut value = json!({
            "command": {"access_token": "s3cret", "user_id": "anna", "labels": {"Api-Key": "s3cret", "tenant": "blue"}},
            "list": [{"password": "s3cret"}],
            "awaiting_user": {"web_form_id": "s3cret"},
            "PIN": 12_345,
            "spinning": true,
            "token": "",
        });
        hide(&mut value, Hidden::Secrets);
        let text = value.to_string();
        assert!(!text.contains("s3cret") && !text.contains("12345"), "{text}");
        assert!(
            text.contains("anna") && text.contains("blue") && text.contains("true"),
            "{text}"
        );
        assert_eq!(text.matches(HIDDEN).count(), 5, "{text}");
    }

    #[test]
    fn a_page_shows_nothing_of_accounts_and_no_header_that_may_hold_anything() {
        let texts = |names: &[&str]| {
            let headers = names.iter().map(|name| ((*name).to_owned(), Header::from("planted")));
            headers.collect()
        };
        let failure = RefreshFailed {
            bank_message: "planted".to_owned(),
            message: "planted".to_owned(),
            finapi_code: "A_CODE".to_owned(),
            ..RefreshFailed::default()
        };
        let state = RefreshState {
            command: Some(RefreshConnection {
                user_id: "anna".to_owned(),
                redirect_url: "https://planted".to_owned(),
                user_metadata: Some(UserMetadata {
                    ip_address: "planted".to_owned(),
                    ..UserMetadata::default()
                }),
                ..RefreshConnection::default()
            }),
            phase: Some(Phase::Failing(Failing {
                failure: Some(failure),
                ..Failing::default()
            })),
            ..RefreshState::default()
        };
        let properties = Properties {
            kind: Some(state::MESSAGE_NAME.to_owned()),
            headers: texts(&["remark", "iban", "x-iban", "X-Delivery-Count"]),
            ..Properties::default()
        };
        let letter = DeadLetter::of(Message {
            body: state.encode_to_vec().into(),
            properties,
        });
        let row = Row::of(&letter, &Topology::new("bankrefresh"));
        let page = whole(&row, &letter, Hidden::SecretsAndAccounts).to_string();
        assert!(!page.contains("planted"), "{page}");
        assert!(page.contains("anna") && page.contains("A_CODE"), "{page}");
        let terminal = whole(&row, &letter, Hidden::Secrets).to_string();
        assert_eq!(terminal.matches("planted").count(), 8, "{terminal}");
    }
}
