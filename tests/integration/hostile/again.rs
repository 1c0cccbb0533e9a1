//! Bad messages that come again: a rejected event that is published again, a version that nobody reads, a full header frame that comes back;
//! and an event that only `watch` reads.

use std::collections::BTreeSet;
use std::time::Duration;

use bankrefresh::proto::RefreshState;
use bankrefresh::sandbox::{After, Behaviour, Script};
use prost::Message as _;
use tokio::time::{sleep, timeout};

use super::brokers::full_queue;
use super::forged::{checkpoint, of_checkpoint};
use super::neighbours::{BAD, Neighbours, bad_body, swift};
use super::size::full;
use crate::support::amqp::{Property, RawProperties, RawPublisher};
use crate::support::platform::{Log, Platform, command, die_with};

/// How often an event may be published again within the seconds below.
const REPEATS_MAX: usize = 3;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_one_queue_rejects_others_get_again_a_few_times_under_one_id_and_nothing_is_started_again() {
    let mut platform = Platform::start(swift()).await;
    let connection = platform.rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    full_queue(&platform, &channel).await;
    let failing = command(BAD);
    let fails = Script::of(Behaviour::Fails {
        after: After::millis(100),
        error_code: "BANK_SERVER_REJECTION".to_owned(),
        error_message: "no".to_owned(),
    });
    platform.sandbox.script(&failing.user_id, BAD, fails);
    let mut worker = platform.worker(&[]);
    let id = failing.command_id.clone();
    platform.send_all(vec![failing], true).await;
    worker.log.until("the broker refuses an event").await;
    sleep(3 * SECOND).await;
    // The full queue goes with its connection.
    connection.close(200, "done".into()).await.expect("closed");
    worker.log.until("published RefreshFailed").await;
    while timeout(SECOND, platform.next_event()).await.is_ok() {}
    let events = &platform.events[&id];
    let ids: BTreeSet<_> = events.iter().map(|(event, _)| &event.context().event_id).collect();
    assert_eq!(ids.len(), 1, "{events:?}");
    assert!((2..=1 + REPEATS_MAX).contains(&events.len()), "{} times", events.len());
    assert_eq!(platform.sandbox.asked().connections[&BAD].tasks_made, 1);
}

#[tokio::test]
async fn watch_shows_events_beside_one_that_is_not_utf8() {
    let platform = Platform::start(swift()).await;
    let _worker = platform.worker(&[]);
    let mut watch = platform.program(&["watch"], &[]).spawn().expect("it starts");
    let mut watched = Log::of(&mut watch);
    watched.until("watching").await;
    let mut raw = RawPublisher::connect(platform.rabbit).await;
    let properties = RawProperties::default().with(Property::CorrelationId, b"\xff");
    raw.publish(&platform.topology.events(), "refresh.failed", &properties, b"")
        .await;
    platform.send_all(vec![command(1)], true).await;
    watched.until("TransactionsUpdated").await;
    assert!(!watched.text().contains("lost the connection"), "{}", watched.text());
}

#[tokio::test]
async fn a_version_that_no_release_has_waits_and_delays_nobody() {
    let mut neighbours = Neighbours::start(&[]).await;
    let topology = neighbours.platform.topology.clone();
    let forged = RefreshState {
        version: u32::MAX,
        ..checkpoint()
    };
    for _ in 0..100 {
        let body = forged.encode_to_vec();
        neighbours
            .raw
            .publish(&topology.steps(), &topology.steps(), &of_checkpoint(), &body)
            .await;
    }
    neighbours.are_served().await.expect("they are served");
    // Deferred, again and again, and unread: in a delay queue, and with no worker.
    let steps = topology.steps();
    neighbours.platform.until_depth(&steps, |depth| depth == (0, 0)).await;
    neighbours.are_served().await.expect("they are served");
    assert!(!neighbours.platform.sandbox.asked().connections.contains_key(&BAD));
}

#[tokio::test]
async fn a_full_header_frame_that_comes_back_is_a_dead_letter() {
    let platform = Platform::start(swift()).await;
    let mut neighbours = Neighbours::of(platform, &[]).await;
    neighbours.worker.signal("TERM").await;
    neighbours.worker.ended().await;
    let properties = full(&neighbours.raw);
    neighbours.publish_bad(&properties, &bad_body()).await;
    // Whoever takes it first goes away without a word, and the broker writes down in its headers that it came back.
    let lane = neighbours.platform.topology.interactive();
    die_with(&neighbours.platform, &lane, 1).await;
    neighbours.worker = neighbours.platform.worker(&[]);
    let broken = neighbours.are_served_beside_a_dead_letter().await;
    assert!(broken.is_empty(), "{broken:?}");
}
