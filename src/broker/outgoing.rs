//! What holds for every message on its way out, whichever broker takes it.

use super::{Header, Outgoing, Properties, PublishError};
use crate::limits::HEADERS_BYTES_MAX;

/// The most bytes of an AMQP short string: names, keys and most properties.
pub(crate) const SHORT_MAX: usize = 255;

/// What our own headers on a message that is forwarded as it came take at most.
const OURS_MAX: usize = 1024;

/// Whether a header is the broker's record of where a message has been. It is for reading only and is never sent:
/// RabbitMQ's cycle check swallows a message that comes with the `x-death` of an earlier trip through a delay queue, a
/// count of an old queue says nothing about the new one, and `CC` and `BCC` would route the message a second time.
pub(crate) fn is_trace_of_broker(name: &str) -> bool {
    matches!(name, "x-death" | "x-delivery-count" | "x-acquired-count" | "CC" | "BCC")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

/// Takes the broker's own headers off a message and sees to it that the rest can be written.
///
/// # Errors
///
/// [`PublishError::TooLong`].
pub(super) fn prepare(mut outgoing: Outgoing) -> Result<Outgoing, PublishError> {
    let headers = &mut outgoing.message.properties.headers;
    headers.retain(|name, _| !is_trace_of_broker(name));
    check_short(&outgoing)?;
    check_headers(&outgoing.message.properties)?;
    Ok(outgoing)
}

/// Takes headers off a message that is forwarded as it came, the largest first, until the rest leaves room for those of ours. A frame has
/// room for thousands of headers, so they are sorted once.
pub(crate) fn shorten(properties: &mut Properties) {
    let headers = &mut properties.headers;
    let mut sizes: Vec<(usize, String)> = headers
        .iter()
        .map(|(name, value)| (header_len(name, value), name.clone()))
        .collect();
    sizes.sort_unstable();
    let mut total: usize = sizes.iter().map(|(size, _)| size).sum();
    while total > HEADERS_BYTES_MAX - OURS_MAX
        && let Some((size, largest)) = sizes.pop()
    {
        headers.remove(&largest);
        total -= size;
    }
}

fn check_short(outgoing: &Outgoing) -> Result<(), PublishError> {
    let properties = &outgoing.message.properties;
    let parts = [
        ("exchange", Some(&outgoing.exchange)),
        ("routing key", Some(&outgoing.routing_key)),
        ("content type", properties.content_type.as_ref()),
        ("type", properties.kind.as_ref()),
        ("message id", properties.message_id.as_ref()),
        ("correlation id", properties.correlation_id.as_ref()),
        ("app id", properties.app_id.as_ref()),
    ];
    for (what, text) in parts {
        if text.is_some_and(|text| text.len() > SHORT_MAX) {
            return Err(PublishError::TooLong { what });
        }
    }
    Ok(())
}

fn check_headers(properties: &Properties) -> Result<(), PublishError> {
    let mut total = 0;
    for (name, value) in &properties.headers {
        if name.len() > SHORT_MAX {
            return Err(PublishError::TooLong {
                what: "a header's name",
            });
        }
        total += header_len(name, value);
    }
    if total > HEADERS_BYTES_MAX {
        return Err(PublishError::TooLong { what: "headers" });
    }
    Ok(())
}

/// With a length byte, a type byte and four bytes of length at most.
fn header_len(name: &str, value: &Header) -> usize {
    let value = match value {
        Header::Text(text) => text.len(),
        Header::Integer(_) => 8,
        Header::Boolean(_) => 1,
    };
    name.len() + 6 + value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(name: &str, value: Header) -> Outgoing {
        let mut outgoing = Outgoing {
            exchange: "e".into(),
            routing_key: "k".into(),
            message: crate::broker::Message::default(),
        };
        let headers = &mut outgoing.message.properties.headers;
        headers.insert(name.to_owned(), value);
        outgoing
    }

    #[test]
    fn headers_of_the_broker_are_not_sent() {
        for name in [
            "x-death",
            "x-first-death-reason",
            "x-last-death-queue",
            "x-delivery-count",
            "x-acquired-count",
            "CC",
            "BCC",
        ] {
            let sent = prepare(with_header(name, Header::Integer(1))).unwrap();
            assert!(sent.message.properties.headers.is_empty(), "{name}");
        }
        let kept = prepare(with_header("traceparent", "00-1".into())).unwrap();
        assert_eq!(kept.message.properties.headers.len(), 1);
    }

    #[test]
    fn the_largest_headers_are_taken_off_and_thousands_of_them_in_no_time() {
        let mut properties = Properties::default();
        let headers = &mut properties.headers;
        headers.insert("large".to_owned(), "x".repeat(3000).into());
        headers.extend((0..200).map(|n| (format!("{n:03}"), Header::Boolean(true))));
        let mut few = properties.clone();
        few.headers
            .insert("huge".to_owned(), "x".repeat(HEADERS_BYTES_MAX).into());
        shorten(&mut few);
        assert_eq!(few, properties, "only the largest is too much");
        properties
            .headers
            .extend((0..30_000).map(|n| (format!("many-{n}"), Header::Integer(n))));
        let started = std::time::Instant::now();
        shorten(&mut properties);
        // Of 5,120 bytes 200 headers take 10 each; 10 of one digit take 20, 90 of two take 21, and the rest has room for 46 of 22.
        assert_eq!(properties.headers.len(), 200 + 10 + 90 + 46);
        assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    }

    #[test]
    fn what_amqp_cant_write_is_an_error() {
        let mut long = with_header("h", Header::Boolean(true));
        long.message.properties.correlation_id = Some("x".repeat(256));
        let what = "correlation id";
        assert_eq!(prepare(long), Err(PublishError::TooLong { what }));

        let large = with_header("h", "x".repeat(HEADERS_BYTES_MAX).into());
        let what = "headers";
        assert_eq!(prepare(large), Err(PublishError::TooLong { what }));
    }
}
