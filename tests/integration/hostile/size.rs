//! Messages as large as the broker takes them: header tables up to the frame's limit, and bodies.

use std::time::Duration;

use bankrefresh::proto::{BankingInterface, RefreshConnection};
use futures_util::future::join_all;
use prost::Message as _;

use super::neighbours::{Neighbours, bad_body, bad_command, dead_letters, of_command, swift};
use crate::support::amqp::{RawProperties, RawPublisher, entry, nested_arrays, number, text};
use crate::support::platform::Platform;

const MB: usize = 1_000_000;

/// A header table that fills its frame, by one large value.
pub fn full(raw: &RawPublisher) -> RawProperties {
    let around = entry(b"large", &text(b"")).len();
    let value = vec![b'h'; of_command().room(raw.frame_max) - around];
    of_command().with_headers(&[entry(b"large", &text(&value))])
}

#[tokio::test]
async fn a_command_with_as_many_headers_as_a_frame_has_room_for_is_served() {
    let mut neighbours = Neighbours::start(&[]).await;
    let named = |n: usize| entry(format!("{n:06}").as_bytes(), &number(i64::MAX));
    let count = of_command().room(neighbours.raw.frame_max) / named(0).len();
    let headers: Vec<Vec<u8>> = (0..count).map(named).collect();
    let properties = of_command().with_headers(&headers);
    neighbours.publish_bad(&properties, &bad_body()).await;
    neighbours.are_served().await.expect("they are served");
    let id = bad_command().command_id;
    let events = neighbours.platform.outcome(&id).await;
    assert_eq!(events.len(), 1, "{events:?}");
}

/// What the broker was seen to take for such a message was 13 s at most.
const BY_ITSELF_MAX: Duration = Duration::from_secs(30);

/// RabbitMQ encodes the headers of such a message again when it delivers it, from 4.0 on also the first time. That takes it seconds, in which
/// it delivers nothing else to the same consumer. No worker can avoid these seconds, so they are measured without one.
#[tokio::test]
async fn a_command_with_headers_in_headers_is_a_dead_letter_and_the_others_are_served() {
    let mut neighbours = Neighbours::start(&[]).await;
    let around = entry(b"", &[]).len();
    let deep = nested_arrays(of_command().room(neighbours.raw.frame_max) - around);
    let properties = of_command().with_headers(&[entry(b"", &deep)]);
    let by_itself = RawPublisher::connect(neighbours.platform.rabbit)
        .await
        .passes_through(&properties, &bad_body())
        .await;
    println!("the broker takes {by_itself:?} for it");
    assert!(by_itself < BY_ITSELF_MAX, "the broker takes {by_itself:?} for it");
    // Twice, like the usual time of the others.
    neighbours.patience += by_itself * 2;
    neighbours.publish_bad(&properties, &bad_body()).await;
    let mut broken = neighbours.are_served_beside_a_dead_letter().await;
    if let Some(status) = neighbours.worker.child.try_wait().expect("its status") {
        broken.push(format!("the worker ended: {status}"));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test]
async fn a_dead_letter_with_a_full_header_frame_is_listed_each_time() {
    let platform = Platform::start(swift()).await;
    let mut raw = RawPublisher::connect(platform.rabbit).await;
    let properties = full(&raw);
    raw.publish(&platform.topology.dead_letters(), "", &properties, &bad_body())
        .await;
    let mut broken = Vec::new();
    for time in ["first", "second"] {
        let (listed, said) = dead_letters(&platform, &["list"]).await;
        if !listed {
            broken.push(format!("the {time} time: {said}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Messages of that many bytes each, so many at once.
struct Bodies {
    name: &'static str,
    count: u32,
    body: Vec<u8>,
}

/// What can't be read, large or many, and what can and asks finAPI for something large.
fn bodies() -> [Bodies; 3] {
    let interfaces = RefreshConnection {
        allowed_interfaces: vec![BankingInterface::FintsServer.into(); MB],
        ..bad_command()
    };
    let bodies = |name, count, body| Bodies { name, count, body };
    [
        bodies("12 bodies of 8 MB", 12, vec![0xff; 8 * MB]),
        bodies("a body of 100 MB", 1, vec![0xff; 100 * MB]),
        bodies("a million interfaces", 1, interfaces.encode_to_vec()),
    ]
}

#[tokio::test]
async fn a_command_with_a_large_body_is_a_dead_letter_and_the_memory_stays_small() {
    let broken = join_all(bodies().into_iter().map(beside)).await;
    let broken = broken.concat();
    assert!(broken.is_empty(), "{broken:#?}");
}

async fn beside(bodies: Bodies) -> Vec<String> {
    let mut neighbours = Neighbours::start(&[]).await;
    for _ in 0..bodies.count {
        neighbours.publish_bad(&of_command(), &bodies.body).await;
    }
    let mut broken: Vec<String> = neighbours.are_served().await.err().into_iter().collect();
    broken.extend(neighbours.bad_are_dead(bodies.count).await.err());
    let name = bodies.name;
    broken.into_iter().map(|case| format!("{name}: {case}")).collect()
}
