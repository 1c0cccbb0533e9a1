//! What is read depends on the queue that a message came by, and on nothing that its sender wrote.

use prost::Message as _;

use super::headers::REDELIVERIES_HEADER;
use super::quarantine::QUARANTINED_SINCE_HEADER;
use super::*;
use crate::broker::{Header, Message, Outgoing, Properties, Tag};
use crate::limits::COMMAND_REVISION_MAX;
use crate::proto::RefreshConnection;
use crate::refresh::{Command, Envelope};

fn topology() -> Topology {
    Topology::new("bankrefresh")
}

fn now() -> Timestamp {
    "2026-03-10T09:00:00Z".parse().expect("a time")
}

fn command() -> RefreshConnection {
    RefreshConnection {
        command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        user_id: "anna".to_owned(),
        bank_connection_id: 1,
        ..RefreshConnection::default()
    }
}

fn message(kind: Option<&str>, body: Vec<u8>, headers: &[(&str, Header)]) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Message {
        body: body.into(),
        properties: Properties {
            kind: kind.map(str::to_owned),
            headers: headers.collect(),
            ..Properties::default()
        },
    }
}

fn of_command(headers: &[(&str, Header)]) -> Message {
    message(Some(COMMAND_NAME), command().encode_to_vec(), headers)
}

fn of_checkpoint(headers: &[(&str, Header)]) -> Message {
    let parsed = Command::parse(command()).expect("a command");
    let refresh = Refresh::new(parsed, now(), Envelope::default(), now());
    message(Some(state::MESSAGE_NAME), state::encode(&refresh), headers)
}

fn delivery(queue: &str, message: Message) -> Delivery {
    Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: queue.to_owned(),
        redeliveries: 0,
        flaw: None,
        message,
    }
}

/// The reason why a message is not read in a queue, if it is not.
fn refused(queue: &str, message: Message) -> Option<String> {
    match read(&delivery(queue, message), &topology(), now()) {
        Read::Refresh { .. } => None,
        Read::Newer(version) => Some(format!("version {version}")),
        Read::Unreadable(reason) => Some(reason),
    }
}

#[test]
fn lanes_have_commands_and_the_steps_queue_has_checkpoints() {
    let topology = topology();
    for lane in [topology.interactive(), topology.background()] {
        assert_eq!(refused(&lane, of_command(&[])), None);
        assert_eq!(refused(&lane, message(None, command().encode_to_vec(), &[])), None);
        let reason = refused(&lane, of_checkpoint(&[])).expect("a checkpoint in a lane");
        assert!(
            reason.starts_with("type: must be bankrefresh.v1.RefreshConnection"),
            "{reason}"
        );
    }
    for queue in [topology.steps(), topology.quarantine()] {
        assert_eq!(refused(&queue, of_checkpoint(&[])), None);
        for command in [of_command(&[]), message(None, command().encode_to_vec(), &[])] {
            let reason = refused(&queue, command).expect("a command among checkpoints");
            assert!(
                reason.starts_with("type: must be bankrefresh.v1.RefreshState"),
                "{reason}"
            );
        }
    }
}

#[test]
fn what_is_quarantined_is_read_as_where_it_came_from_and_replayed_to_there() {
    let topology = topology();
    for (queue, message, other) in [
        (topology.interactive(), of_command(&[]), of_checkpoint(&[])),
        (topology.background(), of_command(&[]), of_checkpoint(&[])),
        (topology.steps(), of_checkpoint(&[]), of_command(&[])),
    ] {
        let quarantined = |message| quarantine(&topology, &delivery(&queue, message), now()).message;
        assert_eq!(refused(&topology.quarantine(), quarantined(message.clone())), None);
        assert!(refused(&topology.quarantine(), quarantined(other.clone())).is_some());
        // The type says nothing about where it belongs.
        for message in [message, other] {
            let back = replay(&topology, &message, &queue).expect("a way back");
            let key = back.routing_key.as_str();
            let expected = [
                ("interactive", topology.interactive()),
                ("background", topology.background()),
            ];
            let expected = expected.into_iter().find(|(_, lane)| *lane == queue);
            let steps = topology.steps();
            assert_eq!(key, expected.map_or(steps.as_str(), |(key, _)| key));
        }
    }
}

#[test]
fn a_checkpoint_of_an_unknown_queue_is_not_replayed_and_a_command_goes_to_the_background() {
    let topology = topology();
    let way =
        |message: &Message, queue: &str| replay(&topology, message, queue).map(|outgoing: Outgoing| outgoing.exchange);
    assert_eq!(way(&of_checkpoint(&[]), "other"), None);
    assert_eq!(way(&of_command(&[]), "other"), Some(topology.commands()));
    assert_eq!(
        way(&of_checkpoint(&[]), &topology.delay_queue("5m")),
        Some(topology.steps())
    );
}

#[test]
fn a_sender_s_own_headers_count_for_nothing_in_a_lane() {
    let topology = topology();
    let headers = [
        (REDELIVERIES_HEADER, Header::Integer(5)),
        (QUARANTINED_SINCE_HEADER, Header::Integer(now().as_millisecond())),
        (QUEUE_HEADER, topology.steps().into()),
        ("bankrefresh_revision", Header::Integer(i64::from(u32::MAX))),
    ];
    let in_lane = delivery(&topology.background(), of_command(&headers));
    assert_eq!(redeliveries(&in_lane, &topology), 0);
    assert_eq!(quarantined_since(&in_lane, &topology), None);
    let Read::Refresh { refresh, .. } = read(&in_lane, &topology, now()) else {
        panic!("a command is read in its lane")
    };
    assert_eq!(refresh.envelope.revision, 0);
    let in_steps = delivery(&topology.steps(), of_checkpoint(&headers));
    assert_eq!(redeliveries(&in_steps, &topology), 5);
    assert_eq!(quarantined_since(&in_steps, &topology), None);
    let tried = delivery(&topology.quarantine(), of_checkpoint(&headers));
    assert_eq!(quarantined_since(&tried, &topology), Some(now()));
    assert!(COMMAND_REVISION_MAX < revision(&in_lane.message));
}

#[test]
fn a_body_that_is_too_long_is_not_decoded() {
    let topology = topology();
    for (queue, kind, bytes_max) in [
        (topology.interactive(), COMMAND_NAME, COMMAND_BYTES_MAX),
        (topology.steps(), state::MESSAGE_NAME, CHECKPOINT_BYTES_MAX),
    ] {
        let of_size = |size| message(Some(kind), vec![0xff; size], &[]);
        let reason = refused(&queue, of_size(bytes_max + 1)).expect("too long");
        assert_eq!(
            reason,
            format!("body: must have at most {bytes_max} bytes, has {}", bytes_max + 1)
        );
        let reason = refused(&queue, of_size(bytes_max)).expect("no message");
        assert!(!reason.starts_with("body"), "{reason}");
    }
}
