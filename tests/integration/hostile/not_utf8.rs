//! Bytes that are not UTF-8 where AMQP has short texts: RabbitMQ takes and delivers them, and a client library that reads texts cannot.

use futures_util::future::join_all;
use prost::Message as _;

use super::neighbours::{Neighbours, bad_body, bad_command, dead_letters, of_command, swift};
use crate::support::amqp::{Property, RawProperties, RawPublisher, entry, text};
use crate::support::platform::{Platform, command};

/// A byte that is in no UTF-8.
const FF: &[u8] = b"\xff";

/// A property of each kind, and a header's name.
fn properties() -> Vec<(&'static str, RawProperties)> {
    let named = |property| of_command().with(property, FF);
    vec![
        ("correlation_id", named(Property::CorrelationId)),
        ("message_id", named(Property::MessageId)),
        ("app_id", named(Property::AppId)),
        ("type", RawProperties::default().with(Property::Type, FF)),
        (
            "a header's name",
            of_command().with_headers(&[entry(FF, &text(b"value"))]),
        ),
    ]
}

#[tokio::test]
async fn a_command_with_a_text_that_is_not_utf8_is_a_dead_letter_and_the_others_are_served() {
    let cases = properties().into_iter().map(|(name, properties)| async move {
        let broken = beside(&properties).await;
        broken.map(|broken| format!("{name}: {broken}"))
    });
    let broken: Vec<String> = join_all(cases).await.into_iter().flatten().collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

async fn beside(properties: &RawProperties) -> Option<String> {
    let mut neighbours = Neighbours::start(&[]).await;
    neighbours.publish_bad(properties, &bad_body()).await;
    if let Some(broken) = neighbours.are_served_beside_a_dead_letter().await.pop() {
        return Some(broken);
    }
    let lost = neighbours.worker.log.text().contains("lost the connection");
    lost.then(|| "the worker lost its connection".to_owned())
}

#[tokio::test]
async fn dead_letters_are_worked_on_beside_one_with_a_text_that_is_not_utf8() {
    let platform = Platform::start(swift()).await;
    let topology = platform.topology.clone();
    let mut raw = RawPublisher::connect(platform.rabbit).await;
    let good = command(1);
    let body = good.encode_to_vec();
    let queue = topology.background();
    let letter = of_command().with_headers(&[entry(b"bankrefresh_queue", &text(queue.as_bytes()))]);
    let bad = of_command().with(Property::CorrelationId, FF);
    let exchange = topology.dead_letters();
    raw.publish(&exchange, "", &bad, &bad_body()).await;
    raw.publish(&exchange, "", &letter, &body).await;
    let mut broken = Vec::new();
    let (listed, said) = dead_letters(&platform, &["list"]).await;
    if !listed || said.lines().count() != 2 || !said.contains("properties: a text is not UTF-8") {
        broken.push(format!("list: {said}"));
    }
    let (shown, said) = dead_letters(&platform, &["show", &bad_command().command_id]).await;
    if !shown || !said.contains("\"correlation_id\": \"?\"") {
        broken.push(format!("show of the bad one: {said}"));
    }
    let (replayed, said) = dead_letters(&platform, &["replay", &bad_command().command_id]).await;
    if replayed || !said.contains("stays") {
        broken.push(format!("replay of the bad one: {said}"));
    }
    let (replayed, said) = dead_letters(&platform, &["replay", &good.command_id]).await;
    if !replayed {
        broken.push(format!("replay of the good one: {said}"));
    }
    let (discarded, said) = dead_letters(&platform, &["discard", "--all"]).await;
    if !discarded || platform.rabbit.depth(&exchange).await.0 > 0 {
        broken.push(format!("discard: {said}"));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
