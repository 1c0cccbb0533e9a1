//! Reading a stream: from its beginning, and until all of it was delivered. RabbitMQ does not say where a stream ends.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};

/// How often the broker is asked whether there is more.
pub(super) const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// How often in a row the broker has to answer and deliver nothing. The channel that answers is the process that reads the stream, and it
/// reads on with each acknowledgement before it answers. Only the first message may come a moment later: until the stream has said how
/// long it is.
const ANSWERS: u32 = 4;

/// How much of a stream was read.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// How often the broker has answered since the last delivery.
    answers: u32,
    is_over: bool,
}

impl CatchUp {
    /// Before the first delivery of something; nothing is caught up with where it is no stream.
    pub(super) fn of(is_stream: bool) -> Self {
        Self {
            answers: 0,
            is_over: !is_stream,
        }
    }

    /// Whether more may come.
    pub(super) fn goes_on(&self) -> bool {
        !self.is_over
    }

    pub(super) fn on_delivery(&mut self) {
        self.answers = 0;
    }

    /// The broker answered, after what it had to deliver. Whether that was all; true only once.
    pub(super) fn on_answer(&mut self) -> bool {
        self.answers += 1;
        self.is_over = self.answers >= ANSWERS;
        self.is_over
    }
}

/// The consumer's arguments to read a stream from its beginning.
pub(super) fn from_first() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_when_the_broker_has_answered_often_enough_since_the_last_delivery() {
        let mut queue = CatchUp::of(false);
        assert!(!queue.goes_on());
        queue.on_delivery();
        let mut stream = CatchUp::of(true);
        let answers: Vec<bool> = (1..ANSWERS).map(|_| stream.on_answer()).collect();
        assert!(stream.goes_on() && !answers.contains(&true));
        stream.on_delivery();
        let answers: Vec<bool> = (1..=ANSWERS).map(|_| stream.on_answer()).collect();
        assert_eq!(answers.iter().position(|is_over| *is_over), Some(answers.len() - 1));
        assert!(!stream.goes_on());
    }
}
