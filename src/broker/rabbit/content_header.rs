//! The properties of a message: whether lapin can read them, and what can be read of them where it can't.

use std::fmt;

/// The header in which the filter says why a message can't be read.
pub(crate) const FLAW_HEADER: &str = "bankrefresh_flaw";

/// How deep tables and arrays may be nested. The broker's own `x-death` has three levels.
const DEPTH_MAX: usize = 16;

/// The most bytes of a content header that the filter writes: with the 8 bytes around it a frame of the smallest size that AMQP allows.
const WRITTEN_MAX: usize = 4096 - 8;

/// What is before the properties: class, weight and the size of the body.
const BEFORE: usize = 12;

/// What a property is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Headers,
    Octet,
    Time,
}

/// The properties of class basic in their order, from the flags' highest bit down: content type and encoding, headers, delivery mode and
/// priority, five texts, timestamp, four texts.
const KINDS: [Kind; 14] = {
    let mut kinds = [Kind::Text; 14];
    kinds[2] = Kind::Headers;
    kinds[3] = Kind::Octet;
    kinds[4] = Kind::Octet;
    kinds[9] = Kind::Time;
    kinds
};

/// Why a message can't be read, whatever its body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A text of its properties is not UTF-8.
    NotUtf8,
    /// Tables in its headers are nested too deep.
    TooDeep,
    /// Its properties are not AMQP.
    Malformed,
    /// Its properties take more than a frame; how many bytes.
    LargeProperties(usize),
    /// Its body has more bytes than the limit; how many.
    LargeBody(u64),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => write!(f, "properties: a text is not UTF-8"),
            Self::TooDeep => write!(f, "headers: nested deeper than {DEPTH_MAX} levels"),
            Self::Malformed => write!(f, "properties: not AMQP 0-9-1"),
            Self::LargeProperties(size) => write!(f, "properties: {size} bytes do not fit a frame"),
            Self::LargeBody(size) => write!(f, "body: {size} bytes are more than the limit"),
        }
    }
}

/// The size of the body, if there is one in the content header.
pub(super) fn body_size(header: &[u8]) -> Option<u64> {
    let size = header.get(4..BEFORE)?;
    size.try_into().map(u64::from_be_bytes).ok()
}

/// Whether lapin can read a content header. To the byte: what follows the properties is a flaw to lapin, too.
pub(super) fn check(header: &[u8]) -> Result<(), Flaw> {
    let mut bytes = Bytes(header);
    bytes.take(BEFORE)?;
    let flags = bytes.flags()?;
    for kind in present(flags) {
        match kind {
            Kind::Text => check_text(bytes.text()?)?,
            Kind::Headers => check_table(bytes.long()?, 1)?,
            Kind::Octet => drop(bytes.take(1)?),
            Kind::Time => drop(bytes.take(8)?),
        }
    }
    if bytes.0.is_empty() {
        Ok(())
    } else {
        Err(Flaw::Malformed)
    }
}

/// A content header that lapin can read: the flaws, this size of the body, and what can be read of this header as far as there is room.
pub(super) fn rewrite(header: &[u8], body_size: u64, flaws: &[Flaw]) -> Vec<u8> {
    let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    let mut table = entry(FLAW_HEADER.as_bytes(), &text_value(&flaws.join("; ")));
    let (mut flags, mut before, mut after) = (flag(HEADERS), Vec::new(), Vec::new());
    let mut entries: &[u8] = &[];
    let mut bytes = Bytes(header.get(BEFORE..).unwrap_or_default());
    let given = bytes.flags().unwrap_or_default();
    for (place, kind) in KINDS.into_iter().enumerate() {
        if given & flag(place) == 0 {
            continue;
        }
        let read = match kind {
            Kind::Headers => {
                entries = bytes.long_or_rest();
                continue;
            }
            Kind::Text => bytes.text().map(|text| short(&lossy(text))),
            Kind::Octet => bytes.take(1).map(<[u8]>::to_vec),
            Kind::Time => bytes.take(8).map(<[u8]>::to_vec),
        };
        // Behind what can't be read nobody knows what is where.
        let Ok(read) = read else { break };
        flags |= flag(place);
        if place < HEADERS { &mut before } else { &mut after }.extend(read);
    }
    // The length of the table, and the flags.
    let around = BEFORE + 2 + before.len() + 4 + after.len();
    for (name, value) in readable(entries) {
        let entry = entry(&lossy(name), value);
        if name != FLAW_HEADER.as_bytes() && around + table.len() + entry.len() <= WRITTEN_MAX {
            table.extend(entry);
        }
    }
    let mut written = header.get(..4).unwrap_or(&[0, 60, 0, 0]).to_vec();
    written.extend(body_size.to_be_bytes());
    written.extend(flags.to_be_bytes());
    written.extend(before);
    written.extend(length(&table));
    written.extend(table);
    written.extend(after);
    written
}

/// Replaces each byte of a text that is in no UTF-8.
pub(super) fn lossy(text: &[u8]) -> Vec<u8> {
    let mut valid = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        valid.extend(chunk.valid().as_bytes());
        valid.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    valid
}

/// The place of the headers among the properties.
const HEADERS: usize = 2;

/// The flag that says that a property is there.
fn flag(place: usize) -> u16 {
    1 << (15 - place)
}

fn present(flags: u16) -> impl Iterator<Item = Kind> {
    let places = KINDS.into_iter().enumerate();
    places
        .filter(move |(place, _)| flags & flag(*place) != 0)
        .map(|(_, kind)| kind)
}

fn check_text(text: &[u8]) -> Result<(), Flaw> {
    std::str::from_utf8(text).map(drop).map_err(|_| Flaw::NotUtf8)
}

fn check_table(entries: &[u8], depth: usize) -> Result<(), Flaw> {
    let mut bytes = within(entries, depth)?;
    while !bytes.0.is_empty() {
        check_text(bytes.text()?)?;
        check_value(bytes.value()?, depth)?;
    }
    Ok(())
}

fn check_array(values: &[u8], depth: usize) -> Result<(), Flaw> {
    let mut bytes = within(values, depth)?;
    while !bytes.0.is_empty() {
        check_value(bytes.value()?, depth)?;
    }
    Ok(())
}

fn within(bytes: &[u8], depth: usize) -> Result<Bytes<'_>, Flaw> {
    if depth > DEPTH_MAX {
        Err(Flaw::TooDeep)
    } else {
        Ok(Bytes(bytes))
    }
}

/// A value with its type, as [`Bytes::value`] found it. Other texts than names may be any bytes to lapin.
fn check_value(value: &[u8], depth: usize) -> Result<(), Flaw> {
    match value.split_at_checked(5) {
        Some((start, content)) if start[0] == b'F' => check_table(content, depth + 1),
        Some((start, content)) if start[0] == b'A' => check_array(content, depth + 1),
        _ => Ok(()),
    }
}

/// The entries of a table that lapin can read once their names are UTF-8, as far as it is a table.
fn readable(entries: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut bytes = Bytes(entries);
    let all = std::iter::from_fn(move || Some((bytes.text().ok()?, bytes.value().ok()?)));
    all.filter(|(_, value)| check_value(value, 1).is_ok())
}

fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    [short(name), value.to_vec()].concat()
}

fn text_value(text: &str) -> Vec<u8> {
    [b"S", &length(text.as_bytes())[..], text.as_bytes()].concat()
}

/// A text of at most 255 bytes, as those that were read are.
fn short(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], &text[..length.into()]].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Bytes that are read from the front.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Flaw::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn flags(&mut self) -> Result<u16, Flaw> {
        let flags = self.take(2)?;
        Ok(u16::from_be_bytes([flags[0], flags[1]]))
    }

    /// A text with a length of one byte.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Flaw> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    /// What has a length of four bytes before it.
    fn long(&mut self) -> Result<&'a [u8], Flaw> {
        let length = self.length()?;
        self.take(length)
    }

    /// The same; all that there is where it is cut off.
    fn long_or_rest(&mut self) -> &'a [u8] {
        let length = self.length().unwrap_or_default().min(self.0.len());
        self.take(length).unwrap_or_default()
    }

    fn length(&mut self) -> Result<usize, Flaw> {
        let length = self.take(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        usize::try_from(length).map_err(|_| Flaw::Malformed)
    }

    /// A value with its type before it; what is in a table or an array is not checked. RabbitMQ's types, as lapin has them.
    fn value(&mut self) -> Result<&'a [u8], Flaw> {
        let all = self.0;
        match self.take(1)?[0] {
            b'V' => {}
            b't' | b'b' | b'B' => drop(self.take(1)?),
            b's' | b'U' | b'u' => drop(self.take(2)?),
            b'I' | b'i' | b'f' => drop(self.take(4)?),
            b'l' | b'L' | b'd' | b'T' => drop(self.take(8)?),
            b'D' => drop(self.take(5)?),
            b'S' | b'x' | b'A' | b'F' => drop(self.long()?),
            _ => return Err(Flaw::Malformed),
        }
        Ok(&all[..all.len() - self.0.len()])
    }
}
