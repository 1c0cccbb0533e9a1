//! What comes from finAPI, from the credential service, and to the callback listener.

use std::time::Duration;

use serde_json::Value;

use super::workflow::{on_failure, on_response};
use super::{NOW, SECRET, amqp, assert_hides_secrets, topology};
use crate::broker::rabbit::fuzzing::published;
use crate::finapi::callback_url::Signer;
use crate::finapi::fuzzing as finapi;
use crate::refresh::failure::Failure;
use crate::refresh::model::{Collected, Page};
use crate::refresh::query::Response;
use crate::{callbacks, refresh::state};

/// The longest a token is taken to be good.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

fn follow(body: &[u8], read: Result<Response, Failure>) {
    match read {
        // What follows would show it, too.
        Ok(_) if has_secret_elsewhere(body) => {}
        Ok(response) => {
            assert_hides_secrets(&format!("{response:?}"));
            on_response(&response);
        }
        Err(failure) => on_failure(&failure),
    }
}

/// Whether a mutation took a secret to where none belongs, such as a counterpart's name, so that it may be shown. The members named `url` hold one
/// each.
fn has_secret_elsewhere(body: &[u8]) -> bool {
    fn in_urls(value: &Value) -> usize {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| match value {
                    Value::String(text) if name == "url" => text.matches(SECRET).count(),
                    _ => in_urls(value),
                })
                .sum(),
            Value::Array(values) => values.iter().map(in_urls).sum(),
            _ => 0,
        }
    }
    let all = body
        .windows(SECRET.len())
        .filter(|bytes| *bytes == SECRET.as_bytes())
        .count();
    all > serde_json::from_slice(body).map_or(0, |value| in_urls(&value))
}

pub(super) fn task(body: &[u8]) {
    follow(body, finapi::task(body));
}

pub(super) fn tasks(body: &[u8]) {
    follow(body, finapi::tasks(body, 101.into()));
}

pub(super) fn web_form(body: &[u8]) {
    follow(body, finapi::web_form(body));
}

pub(super) fn connection(body: &[u8]) {
    follow(body, finapi::connection(body));
}

/// What a refresh asks for that has read nothing yet: the accounts, and the first page.
pub(super) fn accounts(body: &[u8]) {
    let of = |accounts| Collected {
        page: Some(Page::default()),
        ..accounts
    };
    follow(
        body,
        finapi::accounts(body).map(|accounts| Response::Collected(of(accounts))),
    );
}

pub(super) fn transactions(body: &[u8]) {
    let of = |page| Collected {
        accounts: Some(Vec::new()),
        page: Some(page),
        ..Collected::default()
    };
    let since = NOW - Duration::from_secs(7 * 24 * 3600);
    follow(
        body,
        finapi::transactions(body, since).map(|page| Response::Collected(of(page))),
    );
}

pub(super) fn error(body: &[u8]) {
    for failure in finapi::errors(body) {
        assert_hides_secrets(&format!("{failure:?}"));
        on_failure(&failure);
    }
}

/// The headers that say when to try again, and what finAPI calls the request.
pub(super) fn headers(value: &[u8]) {
    if let Some(failure) = finapi::headers(value) {
        on_failure(&Failure {
            request_id: None,
            ..failure
        });
    }
}

pub(super) fn token(body: &[u8]) {
    match finapi::token(body) {
        Ok(token) => {
            assert!(token.expires_in.is_none_or(|life| life <= TOKEN_LIFE_MAX));
            assert_hides_secrets(&format!("{token:?}"));
        }
        Err(failure) => on_failure(&failure),
    }
}

pub(super) fn credential(body: &[u8]) {
    match finapi::credential(body) {
        Ok(secret) => assert_hides_secrets(&format!("{secret:?}")),
        Err(failure) => on_failure(&failure),
    }
}

/// What another worker says of a password.
pub(super) fn password(body: &[u8]) {
    finapi::password(body);
}

/// The two variable parts of a callback's path.
pub(super) fn callback(path: &[u8]) {
    let path = String::from_utf8_lossy(path);
    let (command_id, tag) = path.split_once('/').unwrap_or((&path, ""));
    let (Ok(url), Ok(key)) = ("https://b.example".parse(), "0123456789abcdef".parse()) else {
        unreachable!("a URL and a key")
    };
    let signer = Signer::new(url, key, None);
    if signer.recognises(command_id, tag)
        && let Ok(id) = command_id.parse()
    {
        let own = signer.callbacks(id).finalised;
        assert!(
            own.ends_with(&tag.to_lowercase()),
            "recognises a tag that is not its own"
        );
        published(&callbacks::wake_up(&topology(), command_id));
    }
}

/// The body of a notification. What follows is an event, or a checkpoint that a worker reads.
pub(super) fn notification(body: &[u8]) {
    let topology = topology();
    if let Ok(Some(outgoing)) = callbacks::fuzzing::notification(&topology, body, NOW) {
        let message = published(&outgoing);
        if message.properties.kind.as_deref() == Some(state::MESSAGE_NAME) {
            amqp::read(message, topology.steps());
        }
    }
}
