use lapin::protocol::basic::{AMQPProperties, parse_properties};
use lapin::types::AMQPValue;

use super::Filter;
use crate::broker::rabbit::content_header::FLAW_HEADER;

const END: u8 = 0xce;

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &size, payload, &[END]].concat()
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    [b"S".to_vec(), long(text)].concat()
}

/// A content header with headers and a correlation id.
fn header(body: u64, entries: &[u8], correlation_id: &[u8]) -> Vec<u8> {
    let start = [&[0, 60, 0, 0][..], &body.to_be_bytes(), &[0x24, 0]].concat();
    [start, long(entries), short(correlation_id)].concat()
}

fn deliver(routing_key: &[u8]) -> Vec<u8> {
    let tag = [0, 0, 0, 0, 0, 0, 0, 7, 0];
    let start = [0, 60, 0, 60];
    let parts = [&start[..], &short(b"c"), &tag, &short(b"e"), &short(routing_key)];
    frame(1, 1, &parts.concat())
}

fn tune(frame_max: u32) -> Vec<u8> {
    frame(
        1,
        0,
        &[&[0, 10, 0, 30, 0, 9][..], &frame_max.to_be_bytes(), &[0, 60]].concat(),
    )
}

fn filtered(filter: &mut Filter, bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::new();
    filter.push(bytes, &mut shown);
    shown
}

/// What lapin reads of the only frame in these bytes, and the size of the body.
fn read(shown: &[u8]) -> (AMQPProperties, u64) {
    let payload = &shown[7..shown.len() - 1];
    assert_eq!(frame(2, 1, payload), shown, "one content header");
    let (rest, properties) = parse_properties(&payload[12..]).expect("lapin reads it");
    assert!(rest.is_empty());
    (properties, u64::from_be_bytes(payload[4..12].try_into().unwrap()))
}

fn text_of(properties: &AMQPProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn flaw(properties: &AMQPProperties) -> String {
    text_of(properties, FLAW_HEADER).unwrap_or_default()
}

fn new() -> Filter {
    Filter::new(None, 1000)
}

#[test]
fn what_lapin_reads_passes_as_it_came() {
    let entries = [short(b"a"), text(b"\xff any bytes")].concat();
    let stream = [
        tune(0),
        frame(8, 0, b""),
        deliver(b"key"),
        frame(2, 1, &header(1000, &entries, b"id")),
        frame(3, 1, &[1; 600]),
        frame(3, 1, &[2; 400]),
        frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]
    .concat();
    assert_eq!(filtered(&mut new(), &stream), stream);
}

#[test]
fn what_is_no_amqp_passes_at_once() {
    for bytes in [&b"HTTP/1.1 400"[..], b"AMQP\0\0\x09\x01", b"\x15\x03", b"H"] {
        assert_eq!(filtered(&mut new(), bytes), bytes);
    }
    let ends_wrongly = [&frame(2, 1, &header(0, b"", b""))[..], b"\x01\0\0\0\0\0\x01a?", b"rest"].concat();
    assert_eq!(filtered(&mut new(), &ends_wrongly), ends_wrongly);
}

#[test]
fn a_text_that_is_not_utf8_is_shown_and_said() {
    let entries = [
        short(b"n\xff"),
        text(b"1"),
        short(b"x-delivery-count"),
        b"l\0\0\0\0\0\0\0\x05".to_vec(),
    ]
    .concat();
    for (entries, id) in [(&b""[..], &b"a\xffb"[..]), (&entries, b"id")] {
        let (properties, size) = read(&filtered(&mut new(), &frame(2, 1, &header(5, entries, id))));
        assert_eq!(flaw(&properties), "properties: a text is not UTF-8");
        assert_eq!(size, 5, "the body follows");
        let shown = properties.correlation_id().as_ref().map(|id| id.as_str().len());
        assert_eq!(shown, Some(id.len()));
        if !entries.is_empty() {
            assert_eq!(text_of(&properties, "n?").as_deref(), Some("1"));
            let headers = properties.headers().as_ref().unwrap();
            assert_eq!(
                headers.inner().get("x-delivery-count"),
                Some(&AMQPValue::LongLongInt(5))
            );
        }
    }
}

#[test]
fn a_routing_key_that_is_not_utf8_is_made_readable() {
    assert_eq!(filtered(&mut new(), &deliver(b"k\xff\xfe")), deliver(b"k??"));
}

#[test]
fn tables_that_are_nested_too_deep_are_taken_out() {
    let nested = |depth: usize, kind: &[u8]| {
        let deep = (1..depth).fold(b"F\0\0\0\0".to_vec(), |inner, _| [kind, &long(&inner)].concat());
        [short(b"deep"), deep, short(b"next"), text(b"1")].concat()
    };
    // The headers are a table, too.
    for depth in [1, 15] {
        let shown = filtered(&mut new(), &frame(2, 1, &header(0, &nested(depth, b"A"), b"")));
        assert_eq!(shown, frame(2, 1, &header(0, &nested(depth, b"A"), b"")));
    }
    for depth in [16, 20_000] {
        let (properties, _) = read(&filtered(
            &mut new(),
            &frame(2, 1, &header(0, &nested(depth, b"A"), b"")),
        ));
        assert_eq!(flaw(&properties), "headers: nested deeper than 16 levels");
        assert_eq!(text_of(&properties, "next").as_deref(), Some("1"));
    }
}

#[test]
fn what_is_no_property_is_said() {
    let unknown = [
        short(b"a"),
        text(b"1"),
        short(b"b"),
        b"?".to_vec(),
        short(b"c"),
        text(b"3"),
    ]
    .concat();
    let (properties, _) = read(&filtered(&mut new(), &frame(2, 1, &header(0, &unknown, b"id"))));
    assert_eq!(flaw(&properties), "properties: not AMQP 0-9-1");
    assert_eq!(text_of(&properties, "a").as_deref(), Some("1"));
    assert_eq!(properties.correlation_id().as_ref().map(|id| id.as_str()), Some("id"));
    let whole = header(0, b"", b"id");
    for cut in 12..whole.len() {
        let (properties, _) = read(&filtered(&mut new(), &frame(2, 1, &whole[..cut])));
        assert_eq!(flaw(&properties), "properties: not AMQP 0-9-1", "cut at {cut}");
    }
    let longer = [whole, vec![0]].concat();
    assert_eq!(
        flaw(&read(&filtered(&mut new(), &frame(2, 1, &longer))).0),
        "properties: not AMQP 0-9-1"
    );
}

#[test]
fn a_header_frame_above_the_negotiated_size_is_made_small() {
    let header = header(
        3,
        &[short(b"large"), text(&[b'x'; 8300]), short(b"small"), text(b"1")].concat(),
        b"id",
    );
    for (wanted, of_broker, fits) in [
        (None, 8192, false),
        (Some(8192), 0, false),
        (Some(8192), 131_072, false),
        (None, 131_072, true),
    ] {
        let mut filter = Filter::new(wanted, 1000);
        filtered(&mut filter, &tune(of_broker));
        let shown = filtered(&mut filter, &frame(2, 1, &header));
        if fits {
            assert_eq!(shown, frame(2, 1, &header));
            continue;
        }
        assert!(shown.len() <= 4096);
        let (properties, size) = read(&shown);
        assert_eq!(
            flaw(&properties),
            format!("properties: {} bytes do not fit a frame", header.len())
        );
        assert_eq!((text_of(&properties, "small").as_deref(), size), (Some("1"), 3));
        assert_eq!(text_of(&properties, "large"), None);
    }
}

#[test]
fn what_lapin_is_shown_fits_the_smallest_frame() {
    let full = [0xff; 255];
    let texts: Vec<u8> = (0..9).flat_map(|_| short(&full)).collect();
    let entries: Vec<u8> = (0..500)
        .flat_map(|n: u32| [short(&n.to_be_bytes()), text(b"value")].concat())
        .collect();
    let start = [&[0, 60, 0, 0][..], &[0; 8], &[0xe7, 0xbc]].concat();
    let all = [
        start,
        short(&full),
        short(&full),
        long(&entries),
        texts[..256 * 5].to_vec(),
        texts[..256 * 4].to_vec(),
    ];
    let shown = filtered(&mut new(), &frame(2, 1, &all.concat()));
    assert!(shown.len() <= 4096, "{}", shown.len());
    let (properties, _) = read(&shown);
    assert_eq!(flaw(&properties), "properties: a text is not UTF-8");
    assert!(properties.headers().as_ref().unwrap().inner().len() > 10);
}

#[test]
fn a_large_body_is_left_out_and_what_follows_it_is_not() {
    let good = [
        deliver(b"k"),
        frame(2, 1, &header(3, b"", b"good")),
        frame(3, 1, b"abc"),
    ]
    .concat();
    let large = frame(2, 1, &header(2500, b"", b"large"));
    let mut filter = new();
    let (properties, size) = read(&filtered(&mut filter, &large));
    assert_eq!(
        (flaw(&properties).as_str(), size),
        ("body: 2500 bytes are more than the limit", 0)
    );
    let alive = frame(8, 0, b"");
    assert_eq!(filtered(&mut filter, &frame(3, 1, &[0; 2000])), alive, "a sign of life");
    let of_another = frame(3, 2, &[1; 500]);
    assert_eq!(filtered(&mut filter, &of_another), of_another, "another channel's body");
    assert_eq!(filtered(&mut filter, &frame(3, 1, &[0; 500])), alive);
    assert_eq!(filtered(&mut filter, &good), good);
}

#[test]
fn a_body_that_is_never_sent_whole_leaves_out_no_other() {
    let mut filter = new();
    filtered(&mut filter, &frame(2, 1, &header(2500, b"", b"large")));
    let good = [
        deliver(b"k"),
        frame(2, 1, &header(3, b"", b"good")),
        frame(3, 1, b"abc"),
    ]
    .concat();
    assert_eq!(filtered(&mut filter, &good), good);
}

#[test]
fn any_split_shows_the_same() {
    let entries = [short(b"n\xff"), text(b"1")].concat();
    let stream = [
        tune(8192),
        deliver(b"\xff"),
        frame(2, 1, &header(3000, &entries, b"id")),
        frame(3, 1, &[END; 1700]),
        frame(3, 1, &[END; 1300]),
        frame(8, 0, b""),
        deliver(b"k"),
        frame(2, 1, &header(3, &[short(b"a"), text(&[b'x'; 9000])].concat(), b"id")),
        frame(3, 1, b"abc"),
        b"no frame".to_vec(),
    ]
    .concat();
    let whole = filtered(&mut new(), &stream);
    for at in 0..stream.len() {
        let mut filter = new();
        let (first, second) = stream.split_at(at);
        let shown = [filtered(&mut filter, first), filtered(&mut filter, second)].concat();
        assert_eq!(shown, whole, "split at {at}");
    }
    for size in [1, 2, 3, 7, 8, 4096] {
        let mut filter = new();
        let shown: Vec<u8> = stream
            .chunks(size)
            .flat_map(|piece| filtered(&mut filter, piece))
            .collect();
        assert_eq!(shown, whole, "pieces of {size}");
    }
}
