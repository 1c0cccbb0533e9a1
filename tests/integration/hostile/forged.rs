//! Forged messages: what a sender writes into queues that are not for it, and in the name of others.

use std::collections::BTreeSet;
use std::time::SystemTime;

use bankrefresh::message::{QUEUE_HEADER, REASON_HEADER};
use bankrefresh::proto::{RefreshConnection, RefreshState, UpdateOrigin, refresh_state as wire};
use bankrefresh::refresh::state;
use futures_util::future::join_all;
use prost::Message as _;

use super::neighbours::{BAD, Neighbours, bad_body, bad_command, dead_letters, of_command, swift};
use super::promise::Promise;
use crate::support::amqp::{Property, RawProperties, RawPublisher, entry, number, text};
use crate::support::platform::{Platform, command};

pub const LANES: Promise = Promise {
    check: "checkpoints in a lane",
    promise: "a lane accepts commands only",
};

pub const STEPS: Promise = Promise {
    check: "commands in the steps queue",
    promise: "the steps queue accepts checkpoints only",
};

pub const CHECKPOINTS: Promise = Promise {
    check: "forged checkpoints",
    promise: "every part of a checkpoint is checked before anything is done with it",
};

pub const COUNTS: Promise = Promise {
    check: "a forged count of redeliveries",
    promise: "a sender's own header sends no command to the quarantine",
};

pub const PRINTED: Promise = Promise {
    check: "forged dead letters",
    promise: "a dead letter is printed in one plain line",
};

/// A good checkpoint of the bad command.
pub fn checkpoint() -> RefreshState {
    let now = Some(SystemTime::now().into());
    RefreshState {
        version: state::VERSION,
        command: Some(bad_command()),
        interactive: true,
        phase: Some(wire::Phase::Locating(wire::Locating::default())),
        phase_since: now,
        due_at: now,
        ..RefreshState::default()
    }
}

/// All transactions since 2000, for whoever reads the events.
fn whole_history() -> RefreshState {
    let since = prost_types::Timestamp {
        seconds: 946_684_800,
        nanos: 0,
    };
    let update = wire::Update {
        origin: UpdateOrigin::Silent.into(),
        ..wire::Update::default()
    };
    let collecting = wire::Collecting {
        update: Some(update),
        covered_from: Some(since),
        covered_until: Some(since),
        began: Some(since),
        page: 1,
        way: 1,
        part: 1,
        ..wire::Collecting::default()
    };
    RefreshState {
        phase: Some(wire::Phase::Collecting(collecting)),
        ..checkpoint()
    }
}

pub fn of_checkpoint() -> RawProperties {
    RawProperties::default().with(Property::Type, state::MESSAGE_NAME.as_bytes())
}

#[tokio::test]
async fn a_checkpoint_in_a_lane_is_a_dead_letter() {
    let cases = [("a new refresh", checkpoint()), ("the whole history", whole_history())];
    let cases = cases.map(|(name, state)| async move {
        let mut neighbours = Neighbours::start(&[]).await;
        neighbours.publish_bad(&of_checkpoint(), &state.encode_to_vec()).await;
        let mut broken = neighbours.are_served_beside_a_dead_letter().await;
        // Its type says that it belongs into the steps queue, but its sender chose that.
        let (replayed, said) = dead_letters(&neighbours.platform, &["replay", "--all"]).await;
        if !replayed {
            broken.push(format!("replay: {said}"));
        }
        broken.extend(neighbours.are_served_beside_a_dead_letter().await);
        prefixed(name, broken)
    });
    LANES.check(&join_all(cases).await.concat());
}

#[tokio::test]
async fn a_command_in_the_steps_queue_is_a_dead_letter() {
    let cases = ["at once", "through a delay queue"].map(|way| async move {
        let mut neighbours = Neighbours::start(&[]).await;
        let topology = neighbours.platform.topology.clone();
        let (exchange, key) = match way {
            "at once" => (topology.steps(), topology.steps()),
            _ => (topology.delay(), "1s".to_owned()),
        };
        neighbours
            .raw
            .publish(&exchange, &key, &of_command(), &bad_body())
            .await;
        prefixed(way, neighbours.are_served_beside_a_dead_letter().await)
    });
    STEPS.check(&join_all(cases).await.concat());
}

fn prefixed(name: &str, broken: Vec<String>) -> Vec<String> {
    broken.into_iter().map(|case| format!("{name}: {case}")).collect()
}

/// Checkpoints that no worker writes, each with its name.
fn forged_checkpoints() -> Vec<(&'static str, RefreshState)> {
    let year_9999 = || {
        Some(prost_types::Timestamp {
            seconds: 253_370_764_800,
            nanos: 0,
        })
    };
    let task = |id: &str| wire::Task {
        id: id.to_owned(),
        created_at: Some(SystemTime::now().into()),
    };
    let updating = |id: &str| Some(wire::Phase::Updating(wire::Updating { task: Some(task(id)) }));
    let awaiting = |form: &str| {
        Some(wire::Phase::AwaitingUser(wire::AwaitingUser {
            task: Some(task("b3f4a1de-4f6a-4b6e-9c27-0d1f6a2b7c11")),
            web_form_id: form.to_owned(),
            expires_at: Some(SystemTime::now().into()),
        }))
    };
    let of = |command: RefreshConnection| RefreshState {
        command: Some(command),
        ..checkpoint()
    };
    vec![
        (
            "a task id with a path",
            RefreshState {
                phase: updating("../../../internal/admin?x=1"),
                ..checkpoint()
            },
        ),
        (
            "a web form id with a path",
            RefreshState {
                phase: awaiting("../../../admin/delete"),
                ..checkpoint()
            },
        ),
        (
            "due in 9999",
            RefreshState {
                due_at: year_9999(),
                ..checkpoint()
            },
        ),
        (
            "a correlation id that fits no property",
            RefreshState {
                correlation_id: "c".repeat(300),
                ..checkpoint()
            },
        ),
        (
            "a trace parent of two lines",
            RefreshState {
                traceparent: "00-\r\nX: y-1".to_owned(),
                ..checkpoint()
            },
        ),
        (
            "requested in 9999",
            of(RefreshConnection {
                requested_at: year_9999(),
                ..bad_command()
            }),
        ),
        (
            "a user id of 500 characters",
            of(RefreshConnection {
                user_id: "u".repeat(500),
                ..bad_command()
            }),
        ),
        (
            "a connection below zero",
            of(RefreshConnection {
                bank_connection_id: -5,
                ..bad_command()
            }),
        ),
        (
            "no UUID",
            of(RefreshConnection {
                command_id: "no UUID".to_owned(),
                ..bad_command()
            }),
        ),
        (
            "no phase",
            RefreshState {
                phase: None,
                ..checkpoint()
            },
        ),
    ]
}

#[tokio::test]
async fn every_part_of_a_checkpoint_is_checked() {
    let mut neighbours = Neighbours::start(&[]).await;
    let steps = neighbours.platform.topology.steps();
    let mut names = BTreeSet::new();
    for (connection, (name, mut forged)) in (BAD..).zip(forged_checkpoints()) {
        names.insert(name.to_owned());
        let command = forged.command.as_mut().expect("a command");
        // Each is of another refresh, unless the refresh is what is wrong.
        if command.bank_connection_id == BAD && command.command_id == bad_command().command_id {
            command.bank_connection_id = connection;
            command.command_id = self::command(connection).command_id;
        }
        let properties = of_checkpoint().with(Property::MessageId, name.as_bytes());
        neighbours
            .raw
            .publish(&steps, &steps, &properties, &forged.encode_to_vec())
            .await;
    }
    let mut broken: Vec<String> = neighbours.are_served().await.err().into_iter().collect();
    let dead = neighbours.dead_message_ids(names.len()).await;
    broken.extend(names.difference(&dead).map(|name| format!("{name}: no dead letter")));
    CHECKPOINTS.check(&broken);
}

#[tokio::test]
async fn refreshes_whose_events_can_never_be_published_hold_nothing_that_others_need() {
    let mut neighbours = Neighbours::start(&[("FINAPI__CALLS_MAX", "2"), ("WORKER__IN_FLIGHT", "20")]).await;
    let steps = neighbours.platform.topology.steps();
    for connection in BAD..BAD + 40 {
        let forged = RefreshState {
            command: Some(RefreshConnection {
                requested_at: Some(SystemTime::now().into()),
                ..command(connection)
            }),
            correlation_id: "c".repeat(300),
            ..checkpoint()
        };
        neighbours
            .raw
            .publish(&steps, &steps, &of_checkpoint(), &forged.encode_to_vec())
            .await;
    }
    assert_eq!(neighbours.lanes_without_outcomes().await, [""; 0]);
}

#[tokio::test]
async fn what_is_forged_in_the_quarantine_and_the_delay_queues_delays_nobody() {
    let mut neighbours = Neighbours::start(&[]).await;
    let topology = neighbours.platform.topology.clone();
    let (steps, delay) = (topology.steps(), topology.delay());
    let quarantine = topology.quarantine();
    // As if workers had died of a message that they never saw.
    let forged = of_checkpoint().with_headers(&[
        entry(QUEUE_HEADER.as_bytes(), &text(topology.events().as_bytes())),
        entry(b"bankrefresh_quarantined_since", &number(i64::MAX)),
    ]);
    let noise = vec![0xff; 100];
    for _ in 0..20 {
        neighbours.raw.publish(&steps, &quarantine, &forged, &noise).await;
        neighbours
            .raw
            .publish(&delay, "1s", &RawProperties::default(), &noise)
            .await;
    }
    neighbours.are_served().await.expect("they are served");
    neighbours.bad_are_dead(40).await.expect("they are dead letters");
}

#[tokio::test]
async fn a_sender_sends_no_command_to_the_quarantine() {
    let headers = ["x-delivery-count", "x-acquired-count", "bankrefresh_redeliveries"];
    let cases = headers.map(|header| async move {
        let mut neighbours = Neighbours::start(&[]).await;
        let properties = of_command().with_headers(&[entry(header.as_bytes(), &number(5))]);
        neighbours.publish_bad(&properties, &bad_body()).await;
        neighbours.are_served().await.expect("they are served");
        neighbours.platform.outcome(&bad_command().command_id).await;
        let quarantined = neighbours.worker.log.text().contains("fate=\"quarantined\"");
        quarantined.then(|| format!("{header}: it was quarantined"))
    });
    let broken: Vec<String> = join_all(cases).await.into_iter().flatten().collect();
    COUNTS.check(&broken);
}

#[tokio::test]
async fn a_dead_letter_is_printed_in_one_plain_line() {
    let platform = Platform::start(swift()).await;
    let mut raw = RawPublisher::connect(platform.rabbit).await;
    let mut broken = Vec::new();
    for odd in ["\u{1b}[2J", "\r", "\n", "\u{85}", "\u{2028}", "\u{202e}"] {
        let headers = [REASON_HEADER, QUEUE_HEADER].map(|name| entry(name.as_bytes(), &text(odd.as_bytes())));
        let properties = RawProperties::default()
            .with(Property::Type, odd.as_bytes())
            .with_headers(&headers);
        raw.publish(&platform.topology.dead_letters(), "", &properties, odd.as_bytes())
            .await;
        let (listed, said) = dead_letters(&platform, &["list"]).await;
        let plain = said
            .trim_end_matches('\n')
            .chars()
            .all(|c| !odd.contains(c) || c.is_ascii_graphic());
        if !listed || said.lines().count() != 1 || !plain {
            broken.push(format!("{odd:?}: {said:?}"));
        }
        let (discarded, said) = dead_letters(&platform, &["discard", "--all"]).await;
        assert!(discarded, "{said}");
    }
    PRINTED.check(&broken);
}

#[tokio::test]
async fn a_command_that_its_sender_copies_into_the_other_lane_has_one_outcome() {
    let mut neighbours = Neighbours::start(&[]).await;
    // RabbitMQ routes a message by these headers, too.
    let key = [b"S".to_vec(), (10_u32).to_be_bytes().to_vec(), b"background".to_vec()].concat();
    let keys = [b"A".to_vec(), (key.len() as u32).to_be_bytes().to_vec(), key].concat();
    let properties = of_command().with_headers(&[entry(b"CC", &keys)]);
    neighbours.publish_bad(&properties, &bad_body()).await;
    neighbours.are_served().await.expect("they are served");
    neighbours.platform.outcome(&bad_command().command_id).await;
    let asked = neighbours.platform.sandbox.asked();
    assert_eq!(asked.connections[&BAD].tasks_made, 1);
}
