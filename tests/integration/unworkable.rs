//! Messages that can't be worked on: unreadable, deadly, of a newer release, without a way.

use bankrefresh::broker::topology::DELIVERY_LIMIT;
use bankrefresh::broker::{Header, Message, Outgoing, Properties};
use bankrefresh::message::{COMMAND_NAME, QUEUE_HEADER, REASON_HEADER};
use bankrefresh::proto::refresh_state::{Locating, Phase};
use bankrefresh::proto::{RefreshConnection, RefreshState};
use bankrefresh::refresh::state;
use prost::Message as _;

use crate::support::platform::{Platform, Reader, assert_one_good_outcome_each, command, commands, die_with, quick};

/// Reads a queue, acknowledging nothing.
async fn first_of(platform: &Platform, queue: &str) -> Message {
    let mut reader = Reader::new(platform, queue, 1);
    let message = reader.next().await.message;
    reader.broker.close().await;
    message
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_with_its_reason_and_the_next_command_is_served() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let unreadable = |body: Vec<u8>| Outgoing {
        exchange: platform.topology.commands(),
        routing_key: "interactive".to_owned(),
        message: Message {
            body: body.into(),
            properties: Properties {
                kind: Some(COMMAND_NAME.to_owned()),
                headers: [("tenant".to_owned(), Header::from("blue"))].into(),
                ..Properties::default()
            },
        },
    };
    let noise = unreadable(vec![0xff; 40]);
    let no_user = RefreshConnection {
        user_id: String::new(),
        ..command(1)
    };
    let invalid = unreadable(no_user.encode_to_vec());
    // One after the other, so that they die in this order.
    platform.broker.publish(vec![noise]).await.expect("published");
    let dead_letters = platform.topology.dead_letters();
    platform.until_depth(&dead_letters, |(ready, _)| ready == 1).await;
    platform.broker.publish(vec![invalid]).await.expect("published");
    let id = platform.send(command(1)).await;
    platform.outcome(&id).await;
    platform.until_depth(&dead_letters, |(ready, _)| ready == 2).await;
    let dead = first_of(&platform, &dead_letters).await;
    let header = |name: &str| {
        dead.properties
            .headers
            .get(name)
            .and_then(Header::as_text)
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        header(REASON_HEADER).contains(COMMAND_NAME),
        "{:?}",
        dead.properties.headers
    );
    assert_eq!(header(QUEUE_HEADER), platform.topology.interactive());
    assert_eq!(header("tenant"), "blue");
    assert_eq!(dead.body, vec![0xff; 40]);
}

#[tokio::test]
async fn a_message_that_kills_workers_ends_as_a_dead_letter_and_its_neighbours_do_not() {
    let mut platform = Platform::start(quick()).await;
    let topology = platform.topology.clone();
    let interactive = topology.interactive();
    platform.send_all(commands(5), true).await;
    // Workers that die with all of them in flight.
    for _ in 0..3 {
        die_with(&platform, &interactive, 5).await;
    }
    let mut worker = platform.worker(&[]);
    platform.outcomes(5).await;
    assert_one_good_outcome_each(&platform, 5);
    // In good order: one that is killed may die with the next message in flight.
    worker.signal("TERM").await;
    worker.ended().await;
    // One that kills whoever tries it alone.
    let quarantined = Outgoing {
        exchange: topology.steps(),
        routing_key: topology.quarantine(),
        message: Message {
            body: command(6).encode_to_vec().into(),
            properties: Properties::default(),
        },
    };
    platform.broker.publish(vec![quarantined]).await.expect("published");
    for _ in 0..=DELIVERY_LIMIT {
        die_with(&platform, &topology.quarantine(), 1).await;
    }
    platform
        .until_depth(&topology.dead_letters(), |(ready, _)| ready == 1)
        .await;
}

#[tokio::test]
async fn a_state_that_finds_no_way_at_the_steps_exchange_continues() {
    let mut platform = Platform::start(quick()).await;
    let topology = platform.topology.clone();
    let now = Some(std::time::SystemTime::now().into());
    let checkpoint = RefreshState {
        version: state::VERSION,
        command: Some(RefreshConnection {
            requested_at: now,
            ..command(1)
        }),
        interactive: true,
        phase: Some(Phase::Locating(Locating::default())),
        phase_since: now,
        due_at: now,
        ..RefreshState::default()
    };
    let lost = Outgoing {
        exchange: topology.steps(),
        routing_key: "no queue is bound with this".to_owned(),
        message: Message {
            body: checkpoint.encode_to_vec().into(),
            properties: Properties {
                kind: Some(state::MESSAGE_NAME.to_owned()),
                ..Properties::default()
            },
        },
    };
    platform.broker.publish(vec![lost]).await.expect("published");
    let _worker = platform.worker(&[]);
    platform.outcomes(1).await;
    assert_one_good_outcome_each(&platform, 1);
}

#[tokio::test]
async fn a_newer_releases_state_is_left_to_it() {
    let platform = Platform::start(quick()).await;
    let mut worker = platform.worker(&[]);
    let newer = RefreshState {
        version: state::VERSION + 1,
        ..RefreshState::default()
    };
    let message = Outgoing {
        exchange: platform.topology.steps(),
        routing_key: platform.topology.steps(),
        message: Message {
            body: newer.encode_to_vec().into(),
            properties: Properties {
                kind: Some(state::MESSAGE_NAME.to_owned()),
                ..Properties::default()
            },
        },
    };
    platform.broker.publish(vec![message]).await.expect("published");
    worker.log.until("needs a newer release").await;
    let deferred = platform.topology.delay_queue("15s");
    platform.until_depth(&deferred, |(ready, _)| ready == 1).await;
    assert_eq!(first_of(&platform, &deferred).await.body, newer.encode_to_vec());
}
