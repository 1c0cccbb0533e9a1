//! What comes from the broker.

use lapin::BasicProperties;
use prost::Message as _;

use super::workflow::{assert_event, assert_workable};
use super::{NOW, SECRET, assert_hides_secrets, topology};
use crate::broker::rabbit::fuzzing::{self as rabbit, published};
use crate::broker::{Delivery, Message, Properties, Tag};
use crate::cli::fuzzing as cli;
use crate::id::CommandId;
use crate::limits::{LABEL_BYTES_MAX, LABELS_MAX, URL_CHARACTERS_MAX};
use crate::message::{self, COMMAND_NAME, Read};
use crate::proto::{RefreshConnection, UserActionRequired};
use crate::refresh::event::{Event, EventKind};
use crate::refresh::{Command, state};

const EVENTS: [&str; 3] = [
    "bankrefresh.v1.TransactionsUpdated",
    "bankrefresh.v1.UserActionRequired",
    "bankrefresh.v1.RefreshFailed",
];

/// The body of a command.
pub(super) fn command(body: &[u8]) {
    read(message_of(COMMAND_NAME, body), topology().interactive());
}

/// The body of a checkpoint.
pub(super) fn checkpoint(body: &[u8]) {
    read(message_of(state::MESSAGE_NAME, body), topology().steps());
}

/// The body of an event, for whoever watches.
pub(super) fn event(body: &[u8]) {
    for name in EVENTS {
        if let Ok(event) = Event::decode(name, body)
            && !has_secret_elsewhere(&event)
        {
            assert_event(&event);
        }
        let _ = cli::event(&message_of(name, body));
    }
}

/// Whether a mutation took a secret to where none belongs: only the URL of a web form is one.
fn has_secret_elsewhere(event: &Event) -> bool {
    let shown = match event.kind() {
        EventKind::UserActionRequired(event) => {
            let web_form_url = String::new();
            let rest = UserActionRequired {
                web_form_url,
                ..event.clone()
            };
            format!("{rest:?}")
        }
        EventKind::TransactionsUpdated(event) => format!("{event:?}"),
        EventKind::RefreshFailed(event) => format!("{event:?}"),
    };
    format!("{:?}{shown}", event.context()).contains(SECRET)
}

/// The body of a dead letter, for an operator.
pub(super) fn dead_letter(body: &[u8]) {
    let shows_else = RefreshConnection::decode(body).is_ok_and(|command| {
        let rest = RefreshConnection {
            access_token: String::new(),
            ..command
        };
        format!("{rest:?}").contains(SECRET)
    });
    for kind in [COMMAND_NAME, state::MESSAGE_NAME, "unknown"] {
        let properties = BasicProperties::default().with_type(kind.into());
        let letter = rabbit::dead_letter(body.to_vec(), &properties);
        let shown = cli::dead_letter(&letter, &topology());
        if kind == COMMAND_NAME && !shows_else {
            shown.iter().for_each(|shown| assert_hides_secrets(shown));
        }
    }
}

/// The body of a wake-up, which is a command's id.
pub(super) fn wake_up(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    if let Ok(id) = text.parse::<CommandId>() {
        assert_eq!(id.to_string(), text);
    }
}

/// Frames as they come from the socket. The first message of them is worked on.
pub(super) fn frame(bytes: &[u8]) {
    if let Some(properties) = rabbit::connection(bytes).first() {
        with_properties(properties);
    }
}

/// The entries of a header table.
pub(super) fn headers(entries: &[u8]) {
    with_properties(&rabbit::headers(entries));
}

/// A command with such properties comes by one of the queues, and is read and replayed. The number of headers chooses the queue, so that
/// one input costs no more than one delivery.
fn with_properties(properties: &BasicProperties) {
    let topology = topology();
    let command = RefreshConnection {
        command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        user_id: "anna".to_owned(),
        bank_connection_id: 101,
        ..RefreshConnection::default()
    };
    let (message, redeliveries) = rabbit::message(command.encode_to_vec(), properties, true);
    assert!(redeliveries >= 1);
    let times = [message::parked_at, message::deferred_since, message::died_at];
    let known = times.map(|time| time(&message)).into_iter().flatten().count();
    let queues = [topology.interactive(), topology.steps(), topology.quarantine()];
    let queue = &queues[(message.properties.headers.len() + known) % queues.len()];
    if let Some(replayed) = message::replay(&topology, &message, queue) {
        published(&replayed);
    }
    let letter = rabbit::dead_letter(Vec::new(), properties);
    let _ = cli::dead_letter(&letter, &topology);
    read(message, queue.clone());
}

fn message_of(kind: &str, body: &[u8]) -> Message {
    Message {
        body: body.to_vec().into(),
        properties: Properties {
            kind: Some(kind.to_owned()),
            ..Properties::default()
        },
    }
}

/// Reads a delivery, and publishes each message that may follow from it.
pub(super) fn read(message: Message, queue: String) {
    let topology = topology();
    let delivery = Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue,
        redeliveries: u32::MAX,
        flaw: None,
        message,
    };
    match message::read(&delivery, &topology, NOW) {
        Read::Refresh { refresh, .. } => {
            published(&message::quarantine(&topology, &delivery, NOW));
            assert_rules(&refresh.command);
            assert_workable(&refresh);
        }
        Read::Newer(version) => {
            assert!(version > state::VERSION);
            let mut deferred = message::defer(&topology, &delivery, NOW);
            message::keep_redeliveries(&mut deferred, message::redeliveries(&delivery, &topology));
            published(&deferred);
        }
        Read::Unreadable(reason) => {
            let kind = delivery.message.properties.kind.as_deref();
            if !kind.is_some_and(|kind| kind.contains(SECRET)) {
                assert_hides_secrets(&reason);
            }
            published(&message::dead_letter(&topology, &delivery, &reason, NOW));
        }
    }
}

/// The rules of `commands.proto`, once more.
fn assert_rules(command: &Command) {
    assert!((1..=36).contains(&command.user_id().as_str().chars().count()));
    assert!(command.connection_id().get() > 0);
    assert!(command.labels().len() <= LABELS_MAX);
    let fits = |text: &String| text.len() <= LABEL_BYTES_MAX;
    assert!(command.labels().iter().all(|(key, value)| fits(key) && fits(value)));
    assert!(command.profile_id().is_none_or(|id| id.chars().count() == 36));
    let is_url = |url: &str| url.chars().count() <= URL_CHARACTERS_MAX;
    assert!(command.redirect_url().is_none_or(is_url));
    let written = RefreshConnection::from(command);
    let again =
        Command::parse(written.clone()).unwrap_or_else(|why| panic!("a command reads as it was written: {why}"));
    assert_eq!(
        RefreshConnection::from(&again),
        written,
        "a command reads as it was written"
    );
}
