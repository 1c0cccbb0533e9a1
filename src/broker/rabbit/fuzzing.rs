//! AMQP as `tests/fuzz` reads it: frames as lapin parses them, and what we make of their headers.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use lapin::BasicProperties;
use lapin::types::parsing::parse_field_table;

use super::browse::DeadLetter;
use super::convert;
use crate::broker::{Message, Outgoing, outgoing};

/// The properties in a frame of bytes, if it is one that has them.
pub(crate) fn frame(bytes: &[u8]) -> Option<BasicProperties> {
    match parse_frame(bytes) {
        Ok((_, AMQPFrame::Header(_, header))) => Some(header.properties),
        _ => None,
    }
}

/// Properties whose header table has these bytes as its entries.
pub(crate) fn headers(entries: &[u8]) -> Option<BasicProperties> {
    let length = u32::try_from(entries.len()).ok()?.to_be_bytes();
    let bytes = [&length, entries].concat();
    let (_, table) = parse_field_table(&bytes[..]).ok()?;
    Some(BasicProperties::default().with_headers(table))
}

/// The message, and how often it came back.
pub(crate) fn message(body: Vec<u8>, properties: &BasicProperties, redelivered: bool) -> (Message, u32) {
    let message = convert::from_amqp(body, properties);
    let redeliveries = convert::redeliveries(&message.properties, redelivered);
    (message, redeliveries)
}

/// The message as an operator finds it among the dead letters.
pub(crate) fn dead_letter(body: Vec<u8>, properties: &BasicProperties) -> DeadLetter {
    DeadLetter::read(body, properties, 1)
}

/// What arrives of a message that is published.
///
/// # Panics
///
/// When it can't be published.
pub(crate) fn published(outgoing: &Outgoing) -> Message {
    let prepared = outgoing::prepare(outgoing.clone()).unwrap_or_else(|error| panic!("can't be published: {error}"));
    let message = prepared.message;
    let read = convert::from_amqp(message.body.to_vec(), &convert::to_amqp(&message.properties));
    assert_eq!(read, message, "a message reads as it was written");
    read
}
