//! Dead letters, as a worker writes them.

use bankrefresh::broker::{Delivery, Message, Outgoing, Tag};
use bankrefresh::message;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::Envelope;
use jiff::Timestamp;
use tokio::time::timeout;

use super::platform::{PATIENCE, Platform};

/// A message that came by a queue, as a dead letter.
pub fn dead(platform: &Platform, message: Message, queue: &str, reason: &str, at: Timestamp) -> Outgoing {
    let delivery = Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: queue.to_owned(),
        redeliveries: 0,
        flaw: None,
        message,
    };
    message::dead_letter(&platform.topology, &delivery, reason, at)
}

/// A command as its sender publishes it.
pub fn command_message(platform: &Platform, command: RefreshConnection) -> Message {
    message::command(&platform.topology, command, &Envelope::default(), Timestamp::now()).message
}

/// Waits until so many dead letters are ready and nobody reads them. `rabbitmqctl` would be seconds behind.
pub async fn until_dead(platform: &Platform, count: i64) {
    let queue = platform.topology.dead_letters();
    let expected = (u32::try_from(count).expect("a count"), 0);
    let mut seen = (u32::MAX, 0);
    let wait = async {
        while seen != expected {
            seen = platform.rabbit.depth(&queue).await;
        }
    };
    if timeout(PATIENCE, wait).await.is_err() {
        panic!("{queue} has (ready, consumers) {seen:?}, not {expected:?}");
    }
}
