//! Text that is printed: one plain line, whoever wrote it.
//!
//! A text of a sender, a bank or finAPI may have control characters that command a terminal, line breaks that forge a line of a log, and
//! marks that turn the direction of what follows. None of them is printed.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character shows as itself, and nothing else happens. Control characters, line breaks of any kind, marks of direction and
/// other marks that do not show, and what Unicode has not assigned are not plain.
#[must_use]
pub fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // What the standard library shows as it is. It escapes what joins the character before, unless there is one.
    let mut text = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|text| text.escape_debug().nth(2).is_none())
}

/// The text with U+FFFD in the place of each character that is not plain. Other spaces become the usual one.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match c {
        c if is_plain(c) => c,
        c if c.is_whitespace() && !is_line_break(c) && !c.is_control() => ' ',
        _ => char::REPLACEMENT_CHARACTER,
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// The same for a text of several lines: its line feeds stay.
#[must_use]
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON in which each character of a text that is not plain is an escape, so that it means the same and is one plain line. Blanks between
/// the values stay.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let stays = |c: char| is_plain(c) || c == '\n';
    if json.chars().all(stays) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if stays(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a text can't fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    Cow::Owned(escaped)
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: [char; 16] = [
        '\0',
        '\u{1b}',
        '\t',
        '\r',
        '\n',
        '\u{7f}',
        '\u{85}',
        '\u{ad}',
        '\u{200b}',
        '\u{200e}',
        '\u{2028}',
        '\u{2029}',
        '\u{202e}',
        '\u{2066}',
        '\u{feff}',
        '\u{e0041}',
    ];

    #[test]
    fn what_does_more_than_show_is_replaced() {
        for c in ODD {
            assert!(!is_plain(c), "{c:?}");
            assert_eq!(plain(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(plain_lines("a\r\nb\u{2028}c\n"), "a\u{fffd}\nb\u{fffd}c\n");
        assert_eq!(plain("1\u{a0}000\u{2009}€"), "1 000 €");
    }

    #[test]
    fn what_shows_stays_as_it_is() {
        let text = "Müller & Söhne: \"Grüße\" aus 'Łódź' \\ 日本 u\u{308} 👍 \u{fffd}";
        assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
        assert!(matches!(plain_json(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn json_means_the_same_and_is_plain() {
        let text: String = ODD.iter().collect();
        let value = serde_json::json!({ "text": text, "emoji": "👍" });
        for json in [value.to_string(), format!("{value:#}")] {
            let escaped = plain_json(&json);
            assert!(escaped.chars().all(|c| is_plain(c) || c == '\n'), "{escaped:?}");
            let read: serde_json::Value = serde_json::from_str(&escaped).expect("JSON");
            assert_eq!(read, value);
        }
    }
}
