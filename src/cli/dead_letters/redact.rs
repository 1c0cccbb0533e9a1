//! All of a dead letter, but for its secrets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::broker::Header;
use crate::broker::rabbit::DeadLetter;
use crate::cli::show;
use crate::dead_letters::{Row, hash};
use crate::message::COMMAND_NAME;
use crate::refresh::state;

/// What an operator sees instead of a secret.
const HIDDEN: &str = "(hidden)";

/// All of a dead letter but its secrets.
pub(super) fn whole(row: &Row, letter: &DeadLetter) -> Value {
    let properties = &letter.message.properties;
    let headers = properties.headers.iter().map(|(name, value)| {
        let value = match value {
            Header::Text(text) => json!(text),
            Header::Integer(number) => json!(number),
            Header::Boolean(truth) => json!(truth),
        };
        (name.clone(), value)
    });
    let mut headers = json!(headers.collect::<BTreeMap<_, _>>());
    hide(&mut headers);
    let kind = properties.kind.as_deref().unwrap_or(COMMAND_NAME);
    let body = match kind {
        COMMAND_NAME | state::MESSAGE_NAME => show::json(kind, &letter.message.body).map_err(|error| error.to_string()),
        _ => Err("of a type that is none of a command or a state".to_owned()),
    };
    let body = body.map(|mut body| {
        hide(&mut body);
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

/// Hides every value whose name says that it is a secret.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(_) | Value::Array(_) => hide(value),
                    Value::String(text) if text.is_empty() => {}
                    _ if is_secret(name) => *value = json!(HIDDEN),
                    _ => {}
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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
    use super::*;

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
        hide(&mut value);
        let text = value.to_string();
        assert!(!text.contains("s3cret") && !text.contains("12345"), "{text}");
        assert!(
            text.contains("anna") && text.contains("blue") && text.contains("true"),
            "{text}"
        );
        assert_eq!(text.matches(HIDDEN).count(), 5, "{text}");
    }
}
