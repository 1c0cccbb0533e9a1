//! A dead letter in one line: its id, since when it is dead, where it came from and why.

use jiff::Timestamp;
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::broker::rabbit::DeadLetter;
use crate::broker::topology::Topology;
use crate::broker::{Header, Message, Outgoing};
use crate::message::{self, COMMAND_NAME, QUEUE_HEADER, REASON_HEADER};
use crate::plain::plain;
use crate::proto::{RefreshConnection, RefreshState};
use crate::refresh::state;

/// A dead letter as it is reported. Holds nothing of its body.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is called: its message id, else the id of its command, else a hash of its body.
    pub id: String,
    /// Since when it is dead.
    pub died_at: Option<Timestamp>,
    /// The queue that it came from.
    pub queue: String,
    /// Its `type`.
    pub kind: String,
    /// Why it is dead.
    pub reason: String,
}

impl Row {
    /// What is reported of a dead letter.
    #[must_use]
    pub fn of(letter: &DeadLetter, topology: &Topology) -> Self {
        let properties = &letter.message.properties;
        let header = |name| properties.headers.get(name).and_then(Header::as_text);
        // What the broker gave up carries its word only: a worker takes that off whatever it publishes.
        let (reason, queue, died_at) = match &letter.death {
            Some(death) => {
                let queue = match header(QUEUE_HEADER) {
                    Some(queue) if death.queue == topology.quarantine() => queue,
                    _ => &death.queue,
                };
                (death.reason.as_str(), queue, death.at)
            }
            None => (
                header(REASON_HEADER).unwrap_or_default(),
                header(QUEUE_HEADER).unwrap_or_default(),
                message::died_at(&letter.message),
            ),
        };
        let reasons = [Some(reason), letter.flaw.as_deref()];
        let reasons: Vec<&str> = reasons.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        Self {
            id: id(letter),
            died_at,
            queue: plain(queue).into_owned(),
            kind: plain(properties.kind.as_deref().unwrap_or_default()).into_owned(),
            reason: plain(&reasons.join("; ")).into_owned(),
        }
    }

    /// One plain line.
    #[must_use]
    pub fn line(&self) -> String {
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let died_at = self.died_at.map(|at| format!("{at:.0}")).unwrap_or_default();
        format!(
            "{}  {:<20}  {}  {}  {}",
            self.id,
            or_dash(&died_at),
            or_dash(&self.queue),
            or_dash(&self.kind),
            or_dash(&self.reason)
        )
    }

    /// The same as JSON, with its size.
    #[must_use]
    pub fn json(&self, letter: &DeadLetter) -> Value {
        json!({
            "id": self.id,
            "died_at": self.died_at,
            "queue": self.queue,
            "type": self.kind,
            "reason": self.reason,
            "size": letter.message.body.len(),
        })
    }
}

fn id(letter: &DeadLetter) -> String {
    let message = &letter.message;
    let named = message.properties.message_id.clone().filter(|id| is_fit(id));
    named
        .or_else(|| Some(command_of(message)?.command_id))
        .unwrap_or_else(|| hash(&[&message.body[..], letter.flaw.as_deref().unwrap_or_default().as_bytes()].concat()))
}

/// Whether an id can be typed. Whatever else a sender put there may be anything.
fn is_fit(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    (1..=64).contains(&id.len()) && !id.starts_with('-') && id.chars().all(fits)
}

/// Distinguishes bodies.
#[must_use]
pub fn hash(body: &[u8]) -> String {
    let mut hash = hex::encode(Sha256::digest(body));
    hash.truncate(12);
    hash
}

/// Of which refresh a dead letter is, if that can be read: its command's id, its user and its connection.
#[must_use]
pub fn refresh_of(letter: &DeadLetter) -> Option<(String, String, i64)> {
    let command = command_of(&letter.message)?;
    let text = |text: &str| plain(text).chars().take(64).collect::<String>();
    Some((
        text(&command.command_id),
        text(&command.user_id),
        command.bank_connection_id,
    ))
}

/// Whether a dead letter is about a user. What can be read says so itself; of anything else nobody can know more than whether the user's
/// id is in its bytes.
#[must_use]
pub fn is_about(letter: &DeadLetter, user_id: &str) -> bool {
    let message = &letter.message;
    match command_of(message) {
        Some(command) => command.user_id == user_id,
        None => holds(&message.body, user_id),
    }
}

/// Whether a text is among bytes and does not go on there: `anna` is not in `annabel`.
fn holds(bytes: &[u8], text: &str) -> bool {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_');
    let text = text.as_bytes();
    !text.is_empty()
        && bytes.windows(text.len()).enumerate().any(|(at, window)| {
            window == text
                && !is_part(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !is_part(bytes.get(at + text.len()))
        })
}

/// The command in a message. What says by its `type` that it is one needs an id that can be typed; it may be dead because that is no UUID. A
/// message without a `type` may be anything, and many other things decode as a command, too: such a one needs a UUID.
fn command_of(message: &Message) -> Option<RefreshConnection> {
    let body = message.body.clone();
    let (command, is_typed) = match message.properties.kind.as_deref() {
        Some(state::MESSAGE_NAME) => (RefreshState::decode(body).ok()?.command?, true),
        Some(COMMAND_NAME) => (RefreshConnection::decode(body).ok()?, true),
        None => (RefreshConnection::decode(body).ok()?, false),
        Some(_) => return None,
    };
    let id = &command.command_id;
    let is_one = Uuid::parse_str(id).is_ok() || (is_typed && is_fit(id));
    is_one.then_some(command)
}

/// A dead letter on its way back to where it came from.
///
/// # Errors
///
/// Why it has to stay.
pub fn replayed(letter: &DeadLetter, row: &Row, topology: &Topology) -> Result<Outgoing, String> {
    if let Some(flaw) = &letter.flaw {
        return Err(format!("not all of it can be read ({flaw:?})"));
    }
    let outgoing = message::replay(topology, &letter.message, &row.queue);
    outgoing.ok_or_else(|| "nobody can know where it came from".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Properties;

    fn message(kind: Option<&str>, body: Vec<u8>) -> Message {
        let properties = Properties {
            kind: kind.map(str::to_owned),
            ..Properties::default()
        };
        Message {
            body: body.into(),
            properties,
        }
    }

    #[test]
    fn a_dead_letter_is_about_its_user_and_what_cannot_be_read_about_whom_it_names() {
        let letter = |message: Message| DeadLetter::of(message);
        let command = RefreshConnection {
            command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            user_id: "anna".to_owned(),
            bank_connection_id: 7,
            labels: [("of".to_owned(), "bob".to_owned())].into(),
            ..RefreshConnection::default()
        };
        let readable = letter(message(Some(COMMAND_NAME), command.encode_to_vec()));
        assert!(is_about(&readable, "anna"));
        assert!(!is_about(&readable, "bob") && !is_about(&readable, "ann") && !is_about(&readable, ""));
        let unreadable = letter(message(Some("what?"), b"\xff{\"user\": \"anna\"} annabel".to_vec()));
        assert!(is_about(&unreadable, "anna") && is_about(&unreadable, "annabel"));
        assert!(!is_about(&unreadable, "nna") && !is_about(&unreadable, "bob") && !is_about(&unreadable, ""));
    }

    #[test]
    fn a_command_has_an_id_or_is_none() {
        let command = |id: &str| RefreshConnection {
            command_id: id.to_owned(),
            user_id: "anna".to_owned(),
            bank_connection_id: 7,
            ..RefreshConnection::default()
        };
        let id = "0198c0de-0000-7000-8000-000000000001";
        let state = RefreshState {
            command: Some(command(id)),
            ..RefreshState::default()
        };
        for (kind, body) in [
            (None, command(id).encode_to_vec()),
            (Some(COMMAND_NAME), command(id).encode_to_vec()),
            (Some(state::MESSAGE_NAME), state.encode_to_vec()),
        ] {
            assert_eq!(command_of(&message(kind, body)), Some(command(id)));
        }
        // What calls itself a command is one, also with an id that no worker takes.
        let other = command("order-4711");
        for (kind, expected) in [(Some(COMMAND_NAME), Some(other.clone())), (None, None)] {
            assert_eq!(command_of(&message(kind, other.encode_to_vec())), expected);
        }
        // Many a message of others decodes as a command.
        for body in [command("a secret of others").encode_to_vec(), Vec::new()] {
            for kind in [None, Some(COMMAND_NAME)] {
                assert_eq!(command_of(&message(kind, body.clone())), None);
            }
        }
    }
}
