//! AMQP as `tests/fuzz` reads it: frames as the filter shows them to lapin, and what we make of their headers.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use lapin::BasicProperties;

use super::browse::DeadLetter;
use super::convert;
use super::frames::Filter;
use crate::broker::{Message, Outgoing, outgoing};

/// The most bytes of a body in these tests.
const BODY_MAX: usize = 4096;

/// The properties of all content headers that lapin finds in the bytes of a connection. It finds them however the bytes are split, and can
/// read each of them.
///
/// # Panics
///
/// When it can't.
pub(crate) fn connection(bytes: &[u8]) -> Vec<BasicProperties> {
    let shown = filtered(std::iter::once(bytes));
    let pieces = (0..).scan(bytes, |rest, turn| {
        let piece;
        (piece, *rest) = rest.split_at((turn % 9).min(rest.len()));
        (turn % 9 == 0 || !piece.is_empty()).then_some(piece)
    });
    assert_eq!(filtered(pieces), shown, "a split changes the result");
    let mut rest = &shown[..];
    let mut all = Vec::new();
    while let [kind, _, _, a, b, c, d, payload @ ..] = rest {
        let size = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        let is_header = *kind == 2 && size >= 12 && payload.get(size) == Some(&0xce);
        match parse_frame(rest) {
            Ok((behind, AMQPFrame::Header(_, header))) => {
                assert!(header.body_size <= BODY_MAX as u64, "a body above the limit");
                all.push(header.properties);
                rest = behind;
            }
            Ok((behind, _)) => rest = behind,
            Err(error) => {
                assert!(!is_header, "a content header can't be read: {error:?}");
                break;
            }
        }
    }
    all
}

fn filtered<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut filter = Filter::new(None, BODY_MAX);
    let mut shown = Vec::new();
    // `connection.tune`, with frames of 128 KiB.
    filter.push(
        &[1, 0, 0, 0, 0, 0, 12, 0, 10, 0, 30, 0, 0, 0, 2, 0, 0, 0, 0, 0xce],
        &mut shown,
    );
    shown.clear();
    pieces.for_each(|piece| filter.push(piece, &mut shown));
    shown
}

/// Properties whose header table has these bytes as its entries.
pub(crate) fn headers(entries: &[u8]) -> BasicProperties {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let start = &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0][..];
    let content = [start, &size(entries), entries].concat();
    let frame = [&[2, 0, 1][..], &size(&content), &content, &[0xce]].concat();
    let mut all = connection(&frame);
    assert_eq!(all.len(), 1, "one message");
    all.remove(0)
}

/// The message, and how often it came back.
pub(crate) fn message(body: Vec<u8>, properties: &BasicProperties, redelivered: bool) -> (Message, u32) {
    let mut message = convert::from_amqp(body, properties);
    let _ = convert::take_flaw(&mut message);
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
