//! What belongs to a command and is not part of it.

use crate::limits::{CORRELATION_ID_BYTES_MAX, TRACE_PARENT_BYTES_MAX, TRACE_STATE_BYTES_MAX};

/// What came with the command and is passed on with everything that follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Whether a user waits.
    pub interactive: bool,
    /// The AMQP correlation id.
    pub correlation_id: String,
    /// W3C trace context, or nothing.
    pub traceparent: String,
    /// W3C trace state, or nothing.
    pub tracestate: String,
    /// How often the refresh was published in the place of a delivery that had brought it.
    pub revision: u32,
}

impl Envelope {
    /// The trace it belongs to, as log lines name it.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.split('-').nth(1)
    }

    /// The same without a trace that is none in W3C's form: whoever gets one starts a new trace.
    #[must_use]
    pub fn with_valid_trace(mut self) -> Self {
        if !is_trace_parent(&self.traceparent) {
            self.traceparent.clear();
            self.tracestate.clear();
        }
        if !is_trace_state(&self.tracestate) {
            self.tracestate.clear();
        }
        self
    }

    /// The same, if everything in it can be published.
    ///
    /// # Errors
    ///
    /// The name of what can't be.
    pub(super) fn checked(self) -> Result<Self, &'static str> {
        if self.correlation_id.len() > CORRELATION_ID_BYTES_MAX {
            return Err("correlation_id");
        }
        if !self.traceparent.is_empty() && !is_trace_parent(&self.traceparent) {
            return Err("traceparent");
        }
        match is_trace_state(&self.tracestate) {
            true => Ok(self),
            false => Err("tracestate"),
        }
    }
}

/// `00-<32 digits>-<16 digits>-<2 digits>`, all hexadecimal; a newer version than 00 may have more behind that.
fn is_trace_parent(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let mut next = |length: usize| parts.next().filter(|part| part.len() == length && is_hex(part));
    let (version, trace, span, flags) = (next(2), next(32), next(16), next(2));
    let known = [version, trace, span, flags].iter().all(Option::is_some);
    let rest_is_plain = parts.all(|part| part.bytes().all(|byte| byte.is_ascii_graphic()));
    known && rest_is_plain && (version != Some("00") || text.len() == 55) && text.len() <= TRACE_PARENT_BYTES_MAX
}

fn is_trace_state(text: &str) -> bool {
    text.len() <= TRACE_STATE_BYTES_MAX && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(traceparent: &str, tracestate: &str) -> Envelope {
        Envelope {
            traceparent: traceparent.to_owned(),
            tracestate: tracestate.to_owned(),
            ..Envelope::default()
        }
    }

    #[test]
    fn a_trace_has_the_form_of_w3c_or_is_left_out() {
        for good in [
            traced(PARENT, "vendor=1"),
            traced(&PARENT.replacen("00", "01", 1), ""),
            traced(&format!("01{}-more", &PARENT[2..]), ""),
        ] {
            assert_eq!(good.clone().checked(), Ok(good.clone()));
            assert_eq!(good.clone().with_valid_trace(), good);
        }
        let wrong = [
            "00-\r\nX: y-1".to_owned(),
            format!("{PARENT}-more"),
            PARENT.to_uppercase(),
            PARENT[..54].to_owned(),
            format!("01{}-{}", &PARENT[2..], "x".repeat(TRACE_PARENT_BYTES_MAX)),
        ];
        for wrong in wrong {
            assert_eq!(traced(&wrong, "").checked(), Err("traceparent"), "{wrong}");
            assert_eq!(traced(&wrong, "vendor=1").with_valid_trace(), Envelope::default());
        }
        for wrong in ["a\u{1b}[2J", "ä", &"x".repeat(TRACE_STATE_BYTES_MAX + 1)] {
            assert_eq!(traced(PARENT, wrong).checked(), Err("tracestate"), "{wrong}");
            assert_eq!(traced(PARENT, wrong).with_valid_trace(), traced(PARENT, ""));
        }
    }
}
