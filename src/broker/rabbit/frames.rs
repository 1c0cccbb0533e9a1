//! What a client library must not see: a filter on the bytes that come from the broker.
//!
//! lapin ends the connection, and with it every delivery in flight, when a text of a message's properties is not UTF-8 or when a header
//! frame has grown beyond the negotiated size by what the broker adds. It ends the process when tables are nested deep enough. Its
//! memory has no bound for bodies. RabbitMQ takes and delivers all of these. So the filter reads the frames before lapin does: properties
//! that lapin can't read are replaced by what can be read of them, a body above the limit is left out, and a header says so
//! ([`FLAW_HEADER`](super::content_header::FLAW_HEADER)). Everything else passes as it came. [Decision 0008](../../../docs/decisions/0008-a-filter-before-the-parser.md)
//! says why it is here.
//!
//! Frames are those of [AMQP 0-9-1](https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf), 4.2.3. `content_header` reads what is in one of
//! them, `filtered` puts the filter between the socket and lapin.

use std::collections::BTreeMap;

use super::content_header::{Bytes, Flaw, body_size, check, lossy, rewrite};

/// The types of frames.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

const FRAME_END: u8 = 0xce;

/// A frame begins with its type, its channel and the size of its payload. One byte ends it.
const START: usize = 7;

/// The smallest frame that a peer may insist on.
const FRAME_MIN: usize = 4096;

/// The most bytes of a payload that are kept to be read at once. RabbitMQ's frames have 128 KiB unless they are set to more.
const KEPT_MAX: usize = 1024 * 1024;

/// Methods, by class and number.
const CONNECTION_TUNE: [u8; 4] = [0, 10, 0, 30];
const BASIC_DELIVER: [u8; 4] = [0, 60, 0, 60];

/// What lapin is to see of the bytes that the broker sends. However they are split, the result is the same.
#[derive(Debug)]
pub(crate) struct Filter {
    /// What we ask for; none leaves it to the broker.
    frame_max_wanted: Option<usize>,
    /// What lapin takes.
    frame_max: usize,
    body_max: u64,
    state: State,
    /// The start of a frame, or its start and as much of its payload as is kept.
    kept: Vec<u8>,
    /// How many bytes of a body that is left out are still to come, by channel.
    left_out: BTreeMap<u16, u64>,
}

#[derive(Debug)]
enum State {
    /// Before or in the start of a frame.
    Starting,
    /// In a frame that is kept; how much of its payload and its end is to come.
    Keeping(usize),
    /// In a frame that passes; the same.
    Passing(usize),
    /// In a frame that is left out; the same.
    LeavingOut(usize),
    /// This is not AMQP, which is lapin's to say.
    Lost,
}

/// The start of a frame.
#[derive(Clone, Copy)]
struct Start {
    kind: u8,
    channel: u16,
    size: usize,
}

impl Filter {
    /// For a connection that asks for frames of this size; none leaves that to the broker. Bodies above the limit are left out.
    pub(crate) fn new(frame_max: Option<u32>, body_max: usize) -> Self {
        let wanted = frame_max.filter(|max| *max > 0);
        Self {
            frame_max_wanted: wanted.map(|max| usize::try_from(max).unwrap_or(usize::MAX)),
            frame_max: usize::MAX,
            body_max: u64::try_from(body_max).unwrap_or(u64::MAX),
            state: State::Starting,
            kept: Vec::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Takes the next bytes, and adds what lapin is to see of them.
    pub(crate) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let taken = match &mut self.state {
                State::Starting => self.start(input, out),
                State::Keeping(left) => {
                    let taken = input.len().min(*left);
                    let room = (START + KEPT_MAX).saturating_sub(self.kept.len());
                    // The end is kept in any case.
                    let is_end = taken == *left;
                    *left -= taken;
                    self.kept.extend(&input[..taken.min(room)]);
                    if is_end {
                        let end = input[taken - 1];
                        self.on_frame(end, out);
                    }
                    taken
                }
                State::Passing(left) => {
                    let taken = input.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.state = State::Starting;
                    }
                    out.extend(&input[..taken]);
                    taken
                }
                State::LeavingOut(left) => {
                    let taken = input.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.state = State::Starting;
                    }
                    taken
                }
                State::Lost => {
                    out.extend(input);
                    input.len()
                }
            };
            input = &input[taken..];
        }
    }

    /// Takes the start of a frame, and decides what becomes of the frame once all of it is there.
    fn start(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = input.len().min(START - self.kept.len());
        self.kept.extend(&input[..taken]);
        if !matches!(self.kept[0], METHOD | HEADER | BODY | HEARTBEAT) {
            self.lose(out);
        } else if self.kept.len() == START {
            let start = Start::of(&self.kept);
            // With the byte that ends it.
            let left = start.size.saturating_add(1);
            self.state = match start.kind {
                HEADER => State::Keeping(left),
                METHOD if start.size <= KEPT_MAX => State::Keeping(left),
                BODY if self.leave_out(start) => {
                    // A sign of life: lapin counts what it reads, and a large body may take longer than it waits for one.
                    out.extend(frame(HEARTBEAT, 0, &[]));
                    self.kept.clear();
                    State::LeavingOut(left)
                }
                _ => {
                    out.append(&mut self.kept);
                    State::Passing(left)
                }
            };
        }
        taken
    }

    /// Whether a body frame is of a body that is left out.
    fn leave_out(&mut self, start: Start) -> bool {
        let Some(left) = self.left_out.get_mut(&start.channel) else {
            return false;
        };
        *left = left.saturating_sub(u64::try_from(start.size).unwrap_or(u64::MAX));
        if *left == 0 {
            self.left_out.remove(&start.channel);
        }
        true
    }

    /// A frame that was kept is complete.
    fn on_frame(&mut self, end: u8, out: &mut Vec<u8>) {
        if end != FRAME_END {
            return self.lose(out);
        }
        self.state = State::Starting;
        let mut kept = std::mem::take(&mut self.kept);
        let start = Start::of(&kept);
        // Without the end, unless there was no room for that.
        kept.truncate(START + start.size);
        if start.kind == METHOD {
            self.on_method(start, &mut kept[START..]);
        } else if let Some(header) = self.on_header(start, &kept[START..]) {
            kept = frame(HEADER, start.channel, &header);
            kept.pop();
        }
        out.append(&mut kept);
        out.push(FRAME_END);
        kept.shrink_to(FRAME_MIN);
        self.kept = kept;
    }

    fn on_method(&mut self, start: Start, payload: &mut [u8]) {
        // Whatever it is, it ends the content before it.
        self.left_out.remove(&start.channel);
        let Some((method, arguments)) = payload.split_first_chunk_mut::<4>() else {
            return;
        };
        match *method {
            CONNECTION_TUNE => self.on_tune(arguments),
            // Without a text that can't be read it stays as it is.
            BASIC_DELIVER => drop(make_readable(arguments)),
            _ => {}
        }
    }

    /// lapin takes the smaller of the two sizes, and none is any.
    fn on_tune(&mut self, arguments: &[u8]) {
        let Some(&[a, b, c, d]) = arguments.get(2..6) else {
            return;
        };
        let of_broker = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let of_broker = Some(of_broker).filter(|max| *max > 0);
        let smaller = self.frame_max_wanted.into_iter().chain(of_broker).min();
        self.frame_max = smaller.unwrap_or(usize::MAX).max(FRAME_MIN);
    }

    /// What lapin is to see in place of a content header; none when it can read this one.
    fn on_header(&mut self, start: Start, header: &[u8]) -> Option<Vec<u8>> {
        // Without it, this is nothing that a broker sends.
        let size = body_size(header)?;
        let is_large = start.size > KEPT_MAX || start.size.saturating_add(START + 1) > self.frame_max;
        let large = is_large.then_some(Flaw::LargeProperties(start.size));
        let of_properties = large.or_else(|| check(header).err());
        let of_body = (size > self.body_max).then_some(Flaw::LargeBody(size));
        if of_body.is_some() {
            self.left_out.insert(start.channel, size);
        }
        let flaws: Vec<Flaw> = of_properties.into_iter().chain(of_body).collect();
        let shown = if of_body.is_some() { 0 } else { size };
        (!flaws.is_empty()).then(|| rewrite(header, shown, &flaws))
    }

    /// From here on everything passes.
    fn lose(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.kept);
        self.state = State::Lost;
    }
}

impl Start {
    /// Of at least [`START`] bytes.
    fn of(bytes: &[u8]) -> Self {
        let size = u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
        Self {
            kind: bytes[0],
            channel: u16::from_be_bytes([bytes[1], bytes[2]]),
            size: usize::try_from(size).unwrap_or(usize::MAX),
        }
    }
}

/// A routing key may be any bytes: what is published to a fanout exchange with one is delivered with it.
fn make_readable(arguments: &mut [u8]) -> Result<(), Flaw> {
    let texts = {
        let mut bytes = Bytes(arguments);
        let all = arguments.len();
        let text = |bytes: &mut Bytes<'_>| {
            let length = bytes.text()?.len();
            let end = all - bytes.0.len();
            Ok(end - length..end)
        };
        let consumer_tag = text(&mut bytes)?;
        // The delivery tag, and whether it was delivered before.
        bytes.take(9)?;
        [consumer_tag, text(&mut bytes)?, text(&mut bytes)?]
    };
    for text in texts {
        let readable = lossy(&arguments[text.clone()]);
        arguments[text].copy_from_slice(&readable);
    }
    Ok(())
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let parts = [
        &[kind][..],
        &channel.to_be_bytes(),
        &size.to_be_bytes(),
        payload,
        &[FRAME_END],
    ];
    parts.concat()
}

#[cfg(test)]
mod tests;
