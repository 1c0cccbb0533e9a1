//! What belongs to a command and is not part of it.

/// What came with the command and is passed on with everything that follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Whether a user waits.
    pub interactive: bool,
    /// The AMQP correlation id.
    pub correlation_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// W3C trace state.
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
}
