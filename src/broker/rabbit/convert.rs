//! Between lapin's messages and ours.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::content_header::FLAW_HEADER;
use crate::broker::{Header, Message, Properties};

/// `delivery_mode` of a message that is written to disk.
const PERSISTENT: u8 = 2;

/// The headers in which a quorum queue counts how often a message came back. From RabbitMQ 4.3 on the first one leaves out what came back
/// because its consumer took too long or its node was lost, and the second one has all.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// The properties to publish a message with. Its texts fit: [`crate::broker::outgoing::prepare`] saw to it.
pub(super) fn to_amqp(properties: &Properties) -> BasicProperties {
    let mut amqp = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let short = |text: &Option<String>| text.as_deref().map(short);
    if let Some(text) = short(&properties.content_type) {
        amqp = amqp.with_content_type(text);
    }
    if let Some(text) = short(&properties.kind) {
        amqp = amqp.with_type(text);
    }
    if let Some(text) = short(&properties.message_id) {
        amqp = amqp.with_message_id(text);
    }
    if let Some(text) = short(&properties.correlation_id) {
        amqp = amqp.with_correlation_id(text);
    }
    if let Some(seconds) = properties.timestamp {
        amqp = amqp.with_timestamp(seconds);
    }
    if let Some(text) = short(&properties.app_id) {
        amqp = amqp.with_app_id(text);
    }
    if properties.headers.is_empty() {
        return amqp;
    }
    let mut headers = FieldTable::default();
    for (name, value) in &properties.headers {
        headers.insert(self::short(name), to_amqp_value(value));
    }
    amqp.with_headers(headers)
}

/// A short string; what is too long for one becomes empty, for lapin's own conversion panics.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

fn to_amqp_value(value: &Header) -> AMQPValue {
    match value {
        Header::Text(text) => AMQPValue::LongString(text.as_str().into()),
        Header::Integer(number) => AMQPValue::LongLongInt(*number),
        Header::Boolean(truth) => AMQPValue::Boolean(*truth),
    }
}

/// A message, from what lapin read.
pub(super) fn from_amqp(data: Vec<u8>, amqp: &BasicProperties) -> Message {
    let text = |short: &Option<ShortString>| short.as_ref().map(|s| s.as_str().to_owned());
    Message {
        body: data.into(),
        properties: Properties {
            content_type: text(amqp.content_type()),
            kind: text(amqp.kind()),
            message_id: text(amqp.message_id()),
            correlation_id: text(amqp.correlation_id()),
            timestamp: *amqp.timestamp(),
            app_id: text(amqp.app_id()),
            headers: amqp.headers().iter().flat_map(scalars).collect(),
        },
    }
}

/// Why nobody can read a message, if the filter found that.
pub(super) fn take_flaw(message: &mut Message) -> Option<String> {
    match message.properties.headers.remove(FLAW_HEADER)? {
        Header::Text(flaw) => Some(flaw),
        Header::Integer(_) | Header::Boolean(_) => None,
    }
}

/// How often a message came back. Quorum queues count, other queues only say that it did. A count of a message that did not come back is its
/// sender's.
pub(super) fn redeliveries(properties: &Properties, redelivered: bool) -> u32 {
    let count = |name| match properties.headers.get(name) {
        Some(Header::Integer(count)) => u32::try_from(*count).unwrap_or_default(),
        _ => 0,
    };
    let [delivered, acquired] = COUNTS.map(count);
    if redelivered { delivered.max(acquired).max(1) } else { 0 }
}

fn scalars(table: &FieldTable) -> impl Iterator<Item = (String, Header)> {
    let entries = table.inner().iter();
    entries.filter_map(|(name, value)| Some((name.as_str().to_owned(), scalar(value)?)))
}

fn scalar(value: &AMQPValue) -> Option<Header> {
    Some(match value {
        AMQPValue::Boolean(truth) => Header::Boolean(*truth),
        AMQPValue::ShortShortInt(number) => Header::Integer((*number).into()),
        AMQPValue::ShortShortUInt(number) => Header::Integer((*number).into()),
        AMQPValue::ShortInt(number) => Header::Integer((*number).into()),
        AMQPValue::ShortUInt(number) => Header::Integer((*number).into()),
        AMQPValue::LongInt(number) => Header::Integer((*number).into()),
        AMQPValue::LongUInt(number) => Header::Integer((*number).into()),
        AMQPValue::LongLongInt(number) => Header::Integer(*number),
        AMQPValue::Timestamp(seconds) => Header::Integer(i64::try_from(*seconds).ok()?),
        AMQPValue::ShortString(text) => Header::Text(text.as_str().to_owned()),
        AMQPValue::LongString(text) => Header::Text(String::from_utf8(text.as_bytes().to_vec()).ok()?),
        AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_it_was_written() {
        let properties = Properties {
            content_type: Some("application/protobuf".into()),
            kind: Some("bankrefresh.v1.RefreshFailed".into()),
            message_id: Some("m".into()),
            correlation_id: Some("c".into()),
            timestamp: Some(1_700_000_000),
            app_id: Some("a".into()),
            headers: [
                ("text".to_owned(), Header::from("é")),
                ("integer".to_owned(), Header::Integer(-5)),
                ("boolean".to_owned(), Header::Boolean(true)),
            ]
            .into(),
        };
        let read = from_amqp(b"body".to_vec(), &to_amqp(&properties));
        assert_eq!(read.properties, properties);
        assert_eq!(read.body, "body");
    }

    #[test]
    fn headers_that_are_no_scalars_are_dropped() {
        let mut table = FieldTable::default();
        table.insert("table".into(), AMQPValue::FieldTable(FieldTable::default()));
        table.insert("bytes".into(), AMQPValue::LongString(vec![0xff].into()));
        table.insert("small".into(), AMQPValue::ShortShortUInt(200));
        let amqp = BasicProperties::default().with_headers(table);
        let headers = from_amqp(Vec::new(), &amqp).properties.headers;
        assert_eq!(headers, [("small".to_owned(), Header::Integer(200))].into());
    }

    #[test]
    fn a_message_came_back_as_often_as_the_queue_says() {
        let counted = |count| Properties {
            headers: [("x-delivery-count".to_owned(), Header::Integer(count))].into(),
            ..Properties::default()
        };
        let mut twice = counted(1);
        twice.headers.insert("x-acquired-count".to_owned(), Header::Integer(4));
        assert_eq!(redeliveries(&twice, true), 4, "a worker that took too long counts");
        assert_eq!(redeliveries(&Properties::default(), false), 0);
        assert_eq!(redeliveries(&Properties::default(), true), 1);
        assert_eq!(redeliveries(&counted(3), true), 3);
        assert_eq!(redeliveries(&counted(0), true), 1);
        assert_eq!(redeliveries(&counted(-1), true), 1);
        // Its sender wrote that.
        assert_eq!(redeliveries(&counted(5), false), 0);
    }
}
