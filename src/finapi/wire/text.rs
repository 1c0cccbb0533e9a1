//! The text of a body, whatever encoding it came in. finAPI writes UTF-8, and what is on the way may change that.

use std::borrow::Cow;

/// A body's text. What no character could be made of is U+FFFD.
pub(super) fn decode<'a>(body: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    match body {
        [0xFE, 0xFF, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        // JSON begins with an ASCII character, which has one byte that is 0 in UTF-16.
        [0, 1..=0x7F, ..] => utf_16(body, u16::from_be_bytes),
        [1..=0x7F, 0, ..] => utf_16(body, u16::from_le_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => one_byte_or_more(rest, content_type),
        _ => one_byte_or_more(body, content_type),
    }
}

/// Whether a body needed no decoding.
pub(super) fn is_plain(body: &[u8], text: &str) -> bool {
    std::ptr::eq(body, text.as_bytes())
}

fn utf_16<'a>(body: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'a, str> {
    let (units, _) = body.as_chunks::<2>();
    let characters = char::decode_utf16(units.iter().map(|bytes| unit(*bytes)));
    let characters = characters.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER));
    Cow::Owned(characters.collect())
}

fn one_byte_or_more<'a>(body: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) if content_type.is_some_and(is_latin_1) => Cow::Owned(body.iter().copied().map(char::from).collect()),
        Err(_) => String::from_utf8_lossy(body),
    }
}

fn is_latin_1(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    ["iso-8859-1", "latin1", "windows-1252", "us-ascii"]
        .iter()
        .any(|charset| content_type.contains(charset))
}

/// JSON without what its texts may not have: half of a surrogate pair becomes U+FFFD, and a control character a blank.
pub(super) fn repaired(json: &str) -> String {
    let mut repaired = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        repaired.push_str(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(0xD800..0xDC00), Some(0xDC00..)) => 12,
            (Some(_), _) => {
                repaired.push('\u{fffd}');
                rest = &escape[6..];
                continue;
            }
            (None, _) => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        repaired.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    repaired.push_str(rest);
    repaired.replace(|c: char| c.is_ascii_control(), " ")
}

/// The half of a surrogate pair that an escape is.
fn surrogate(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xD800..0xE000).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"name":"Köln 👍"}"#;

    #[test]
    fn a_text_is_made_out_in_each_encoding() {
        let marked: Vec<u8> = [b"\xEF\xBB\xBF", TEXT.as_bytes()].concat();
        assert_eq!(decode(&marked, None), TEXT);
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = format!("{mark}{TEXT}").encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!((decode(&little, None), decode(&big, None)), (TEXT.into(), TEXT.into()));
        }
        let latin_1 = b"{\"name\":\"K\xF6ln\"}";
        assert_eq!(
            decode(latin_1, Some("application/json;charset=ISO-8859-1")),
            r#"{"name":"Köln"}"#
        );
        assert_eq!(decode(latin_1, None), "{\"name\":\"K\u{fffd}ln\"}");
        let plain = decode(TEXT.as_bytes(), None);
        assert!(is_plain(TEXT.as_bytes(), &plain) && !is_plain(&marked, &decode(&marked, None)));
        for odd in [&b""[..], b"\0", b"{", b"\xFE\xFF", b"\xFF\xFE\x00", b"\xEF\xBB\xBF"] {
            let _ = decode(odd, None);
        }
    }

    #[test]
    fn what_no_text_may_have_is_repaired() {
        let read = |json: &str| serde_json::from_str::<String>(&repaired(json)).expect("JSON");
        assert_eq!(read(r#""a\ud800b""#), "a\u{fffd}b");
        assert_eq!(read(r#""\uDC00""#), "\u{fffd}");
        assert_eq!(read(r#""\ud800\u0041\ud83d\udc4d""#), "\u{fffd}A👍");
        assert_eq!(read(r#""\\ud800\"\n""#), "\\ud800\"\n");
        assert_eq!(read("\"a\nb\u{1}\""), "a b ");
        for odd in ["\\", "\\u", "\\ud8", "\\ud800\\", "\\ä", ""] {
            let _ = repaired(odd);
        }
    }
}
