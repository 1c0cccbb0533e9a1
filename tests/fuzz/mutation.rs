//! New inputs from others: bytes, words and JSON values are changed, taken away, repeated and exchanged.

use std::collections::BTreeSet;
use std::ops::Range;

use bankrefresh::fuzzing::Target;
use bankrefresh::random::stream;
use fastrand::Rng;

/// One input in so many is grown towards the most bytes that its target is given.
const GROWN_EVERY: u32 = 500;
/// Other inputs are not longer than this.
const USUAL_MAX: usize = 8 * 1024;
/// How many words of a corpus are used.
const WORDS_MAX: usize = 2000;

/// What no one should send.
const ODD: [&[u8]; 72] = [
    b"null",
    b"true",
    b"false",
    b"[]",
    b"{}",
    b"\"\"",
    b"[[]]",
    b"{\"\":0}",
    b"0",
    b"-0",
    b"-1",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"1E+2",
    b"0.1",
    b"00",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"2147483648",
    b"79228162514264337593543950336",
    b"0.00000000000000000000000000001",
    b"123456789012345678901234567890.123456789",
    b"\"NaN\"",
    b"\"12.50\"",
    b"NaN",
    b"Infinity",
    b"\"READY\"",
    b"\"COMPLETED\"",
    b"\"WEB_FORM_REQUIRED\"",
    b"\"9999-12-31T23:59:59.999+0000\"",
    b"\"-9999-01-01T00:00:00Z\"",
    b"\"0000-00-00\"",
    b"\"2026-02-30\"",
    b"\"2026-03-29 02:30:00.000\"",
    b"\"2026-10-25 02:30:00.000\"",
    b"\"2026-03-09T08:36:60Z\"",
    b"\"9999-12-31 23:59:59.999\"",
    b"\"-009999-01-01 00:00:00\"",
    b"\"2026-03-09T09:36:15.000+01:00\"",
    b"\"2026-03-09T09:36:15.000+99:99\"",
    b"\"2026-03-09T24:00:00Z\"",
    b"\"\\ud800\"",
    b"\"\\u0000\"",
    b"\"\xc3\x28\"",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\r\n",
    b"\n",
    b" ",
    b",",
    b":",
    b"\"",
    b"\\",
    b"{",
    b"[",
    b"}",
    b"]",
    b"<html>",
    b"../",
    b"%00",
    b"s3cret:1",
];

/// An input.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) bytes: Vec<u8>,
    /// The part that is one piece, repeated.
    grown: Option<Range<usize>>,
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, grown: None }
    }
}

impl Input {
    /// Inputs of twice the length: all of it twice, and what is repeated in it twice as often.
    pub(crate) fn doubles(&self) -> impl Iterator<Item = [Vec<u8>; 2]> {
        let bytes = &self.bytes;
        let all = [2, 4].map(|times| bytes.repeat(times));
        let grown = self.grown.clone().map(|Range { start, end }| {
            let more = |times| [&bytes[..start], &bytes[start..end].repeat(times), &bytes[end..]].concat();
            [2, 4].map(more)
        });
        std::iter::once(all).chain(grown)
    }
}

/// Makes inputs. The same seed, target and corpus make the same ones.
pub(crate) struct Mutator {
    rng: Rng,
    bytes_max: usize,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64, target: &Target, corpus: &[Vec<u8>]) -> Self {
        let mut words: Vec<Vec<u8>> = ODD.iter().map(|word| word.to_vec()).collect();
        let of_corpus: BTreeSet<&[u8]> = corpus.iter().flat_map(|bytes| words_in(bytes)).collect();
        words.extend(of_corpus.into_iter().take(WORDS_MAX).map(<[u8]>::to_vec));
        Self {
            rng: stream(seed, target.name),
            bytes_max: target.bytes_max,
            words,
        }
    }

    /// One input of the pool, changed once, twice or four times.
    pub(crate) fn next(&mut self, pool: &[Vec<u8>]) -> Input {
        let mut bytes = self.one_of(pool);
        if self.rng.u32(..GROWN_EVERY) == 0 {
            return self.grow(bytes);
        }
        bytes.truncate(USUAL_MAX);
        for _ in 0..1_u8 << self.rng.u8(..3) {
            self.change(&mut bytes, pool);
        }
        bytes.truncate(USUAL_MAX.min(self.bytes_max));
        bytes.into()
    }

    fn one_of(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        self.rng.choice(pool).cloned().unwrap_or_default()
    }

    fn change(&mut self, bytes: &mut Vec<u8>, pool: &[Vec<u8>]) {
        match self.rng.u8(..12) {
            0 if !bytes.is_empty() => {
                let at = self.rng.usize(..bytes.len());
                bytes[at] ^= 1 << self.rng.u8(..8);
            }
            1 if !bytes.is_empty() => {
                let at = self.rng.usize(..bytes.len());
                bytes[at] = self.rng.u8(..);
            }
            2 => {
                let at = self.rng.usize(..=bytes.len());
                let word = self.word();
                bytes.splice(at..at, word);
            }
            3 => {
                let (span, word) = (self.span(bytes), self.word());
                bytes.splice(span, word);
            }
            4 => {
                let span = self.span(bytes);
                bytes.drain(span);
            }
            5 => {
                let span = self.span(bytes);
                let repeated = bytes[span.clone()].repeat(self.rng.usize(2..5));
                bytes.splice(span, repeated);
            }
            6 => {
                let length = self.rng.usize(..=bytes.len());
                bytes.truncate(length);
            }
            7 => {
                let other = self.one_of(pool);
                let (span, from) = (self.span(bytes), self.span(&other));
                bytes.splice(span, other[from].iter().copied());
            }
            8 | 9 => {
                if let Some(value) = self.json_value(bytes) {
                    let word = self.word();
                    bytes.splice(value, word);
                }
            }
            10 => {
                let other = self.one_of(pool);
                if let (Some(value), Some(from)) = (self.json_value(bytes), self.json_value(&other)) {
                    bytes.splice(value, other[from].iter().copied());
                }
            }
            _ => {
                // A member or an element once more, or not at all.
                if let Some(Range { start, end }) = self.json_value(bytes) {
                    let start = bytes[..start]
                        .iter()
                        .rposition(|byte| b",{[".contains(byte))
                        .map_or(0, |at| at + 1);
                    let twice = [&bytes[start..end], b",", &bytes[start..end]].concat();
                    let once_more = self.rng.bool();
                    bytes.splice(start..end, if once_more { twice } else { Vec::new() });
                }
            }
        }
    }

    /// Repeats one piece until the input is much longer.
    fn grow(&mut self, mut bytes: Vec<u8>) -> Input {
        let value = self.json_value(&bytes);
        let (at, piece) = match (self.rng.u8(..4), value) {
            (0 | 1, Some(value)) => (value.start, [&bytes[value], b","].concat()),
            (2, _) => {
                let span = self.span(&bytes);
                (span.start, bytes[span].to_vec())
            }
            _ => (self.rng.usize(..=bytes.len()), self.word()),
        };
        let room = self.bytes_max.saturating_sub(bytes.len());
        // Each order of magnitude is as likely as the others.
        let length = room >> self.rng.u32(..8);
        let repeated = piece.repeat(length / piece.len().max(1));
        let grown = at..at + repeated.len();
        bytes.splice(at..at, repeated);
        Input {
            bytes,
            grown: Some(grown),
        }
    }

    fn word(&mut self) -> Vec<u8> {
        let of_corpus = self.rng.bool();
        let words = if of_corpus {
            &self.words[..]
        } else {
            &self.words[..ODD.len()]
        };
        self.rng.choice(words).cloned().unwrap_or_default()
    }

    /// A piece: short ones are more likely, and half of them end where something else begins.
    fn span(&mut self, bytes: &[u8]) -> Range<usize> {
        if bytes.is_empty() {
            return 0..0;
        }
        let start = self.rng.usize(..bytes.len());
        let longest = (bytes.len() - start).min(1 << self.rng.u32(..10));
        let end = start + self.rng.usize(1..=longest);
        if self.rng.bool() {
            return start..end;
        }
        let ends = |byte: &u8| b",:{}[]\n\"=".contains(byte);
        let (before, after) = (&bytes[..start], &bytes[end..]);
        let start = before.iter().rposition(ends).map_or(0, |at| at + 1);
        start..after.iter().position(ends).map_or(end, |at| end + at)
    }

    /// A whole value of a JSON object or array.
    fn json_value(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        if bytes.is_empty() {
            return None;
        }
        let from = self.rng.usize(..bytes.len());
        let start = from + bytes[from..].iter().position(|byte| b":[,".contains(byte))? + 1;
        Some(start..start + value_length(&bytes[start..]))
    }
}

fn value_length(bytes: &[u8]) -> usize {
    let (mut depth, mut is_text, mut is_escaped) = (0_u32, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

/// The texts in quotes, and whatever else stands between spaces and signs.
fn words_in(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_sign = |byte: &u8| byte.is_ascii_whitespace() || b",{}[]()=".contains(byte);
    let parts = bytes.split(is_sign);
    let halves = parts.flat_map(|part| [part, part.split(|byte| *byte == b':').next().unwrap_or_default()]);
    halves.filter(|word| (2..=64).contains(&word.len()))
}
