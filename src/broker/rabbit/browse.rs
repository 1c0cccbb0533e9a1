//! The dead letters, as an operator goes through them: page by page, and only what is acknowledged leaves the queue.
//!
//! A page is a consumer that is cancelled once it was sent its share, on a channel that stays open for as long as something of
//! it is unacknowledged. So acknowledging brings nothing new, memory holds one page, and pages that are closed in their order
//! go back in their order: before what nobody has read yet, and behind what had come back already. (`basic.get` would make
//! every message a consumer of its own to a quorum queue, and those come back in any order.)

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::FutureExt;
use jiff::Timestamp;
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, Queue};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::check::{Depth, compare_queue};
use super::connection;
use super::connection::Purpose;
use super::convert::{from_amqp, short, take_flaw};
use super::error::{Difference, Error, refused};
use super::publish::Publisher;
use super::settings::Settings;
use crate::broker::topology::Topology;
use crate::broker::{Message, Outgoing, PublishError};

/// How many messages are read at a time. Few: of 97 acknowledgements just before a channel was closed, 59 were lost on 3.10.8,
/// as if no more than about 32 were under way to a quorum queue at a time.
const PAGE: u16 = 30;

/// How many pages may hold messages that are to go back. RabbitMQ allows 2047 channels by default.
const PAGES_MAX: usize = 2000;

/// After so long without a message the broker is asked whether there are any.
const QUIET: Duration = Duration::from_millis(250);

/// How often the broker has to say that a queue is empty: it may also say so when the queue's leader does not answer it.
const EMPTY_TIMES: u32 = 4;

/// How long the broker may take to hand out a message that it says is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for a page that was returned to be in the queue again. Somebody else may have taken it: then the others are
/// not waited for.
const BACK_MAX: Duration = Duration::from_secs(2);

/// The queue of dead letters, being gone through.
pub struct DeadLetters {
    queue: String,
    consuming: Connection,
    publisher: Publisher,
    /// Keeps the publisher's line open; what it says is in its errors, too.
    _faults: mpsc::Receiver<String>,
    /// How many were there when it was opened and have not been read.
    left: u32,
    /// Every page of which something is unacknowledged, in the queue's order.
    pages: Vec<Page>,
}

struct Page {
    channel: Channel,
    unacked: u32,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// What the broker says of its death, when it was the broker that gave it up.
    pub death: Option<Death>,
    /// As in [`crate::broker::Delivery::flaw`].
    pub flaw: Option<String>,
    tag: u64,
}

/// The newest entry of a message's `x-death`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// Why, for instance `delivery_limit`.
    pub reason: String,
    /// The queue it was in.
    pub queue: String,
    /// When.
    pub at: Option<Timestamp>,
}

impl DeadLetters {
    /// Connects. What is in the queue now will be read, and nothing that comes later: a message that is replayed may be back
    /// in no time.
    ///
    /// # Errors
    ///
    /// There is no connection, or no such queue.
    pub async fn open(settings: &Settings, topology: &Topology) -> Result<Self, Error> {
        let addresses = settings.addresses()?;
        let (_, [consuming, publishing]) =
            connection::open(&addresses, 0, settings, [Purpose::Consumer, Purpose::Publisher]).await?;
        let (fault, faults) = mpsc::channel(1);
        let mut letters = Self {
            queue: topology.dead_letters(),
            consuming,
            publisher: Publisher::new(publishing, settings.confirm_timeout, fault),
            _faults: faults,
            left: 0,
            pages: Vec::new(),
        };
        letters.check(topology).await?;
        let channel = letters.channel().await?;
        let inspected = letters.inspect_repeatedly(&channel).await;
        let queue = inspected.map_err(|error| letters.failed(&error))?;
        letters.left = queue.message_count();
        if queue.consumer_count() > 0 {
            tracing::warn!("another program reads this queue too, so the messages that it holds are missing here");
        }
        // Nothing is outstanding on it.
        let _ = channel.close(200, "OK".into()).await;
        Ok(letters)
    }

    async fn check(&self, topology: &Topology) -> Result<(), Error> {
        let queues = topology.queues();
        let Some(queue) = queues.into_iter().find(|queue| queue.name == self.queue) else {
            return Ok(());
        };
        match compare_queue(&self.consuming, queue, Depth::Arguments).await? {
            Some(missing @ Difference::MissingQueue { .. }) => Err(Error::Missing(vec![missing])),
            Some(different @ Difference::DifferentQueue { .. }) => {
                tracing::warn!(
                    "{different}; without its own delivery limit RabbitMQ 4 drops what was read 20 times, and older ones lose \
                     the order"
                );
                Ok(())
            }
            // Who may not look at its arguments may still read it.
            _ => Ok(()),
        }
    }

    /// How many there were at first and have not been read.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next ones; none when all were read, or when so many are held that no more should be.
    ///
    /// # Errors
    ///
    /// The connection is lost, and with it what was not acknowledged goes back.
    pub async fn next_page(&mut self) -> Result<Vec<DeadLetter>, Error> {
        let size = PAGE.min(u16::try_from(self.left).unwrap_or(PAGE));
        if size == 0 || self.pages.len() >= PAGES_MAX {
            return Ok(Vec::new());
        }
        let channel = self.channel().await?;
        let deliveries = self.take(&channel, size).await?;
        let taken = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
        // Fewer than there were: somebody else takes them, too.
        self.left = if taken < u32::from(size) {
            0
        } else {
            self.left.saturating_sub(taken)
        };
        self.pages.push(Page {
            channel,
            unacked: taken,
        });
        Ok(deliveries.into_iter().map(DeadLetter::from).collect())
    }

    /// Takes dead letters of the newest page out of the queue for good.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::next_page`].
    pub async fn ack(&mut self, letters: &[DeadLetter]) -> Result<(), Error> {
        let Some(page) = self.pages.last_mut() else {
            return Ok(());
        };
        let queue = self.queue.clone();
        let failed = |error: lapin::Error| refused(&format!("acknowledging to {queue:?}"), &error);
        for letter in letters {
            let acknowledging = page.channel.basic_ack(letter.tag, BasicAckOptions::default());
            acknowledging.await.map_err(failed)?;
            page.unacked = page.unacked.saturating_sub(1);
        }
        if page.unacked == 0 {
            // The answer says that the broker has seen the acknowledgements.
            page.channel.close(200, "OK".into()).await.map_err(failed)?;
            self.pages.pop();
        }
        Ok(())
    }

    /// As [`crate::broker::Broker::publish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        self.publisher.publish(messages).await
    }

    /// Returns what was not acknowledged, page by page: the broker lets a channel go only after it has said that it is closed,
    /// so the next page waits until this one is in the queue again. Whoever looks then sees all of it, in its order.
    ///
    /// # Errors
    ///
    /// The connection was lost; the broker requeues everything by itself.
    pub async fn close(mut self) -> Result<(), Error> {
        let pages = std::mem::take(&mut self.pages);
        let channel = self.channel().await?;
        let mut back = self.left;
        let mut comes_back = true;
        for page in pages {
            let closing = page.channel.close(200, "OK".into());
            closing.await.map_err(|error| self.failed(&error))?;
            back = back.saturating_add(page.unacked);
            if comes_back {
                match timeout(BACK_MAX, self.until_ready(&channel, back)).await {
                    Ok(ready) => ready.map_err(|error| self.failed(&error))?,
                    Err(_) => comes_back = false,
                }
            }
        }
        let publishing = self.publisher.connection();
        tokio::join!(connection::close(&self.consuming), connection::close(publishing));
        Ok(())
    }

    /// Has so many messages sent, or all there are.
    async fn take(&self, channel: &Channel, size: u16) -> Result<Vec<AmqpDelivery>, Error> {
        let failed = |error| self.failed(&error);
        let options = BasicQosOptions { global: false };
        channel.basic_qos(size, options).await.map_err(failed)?;
        let consuming = channel.basic_consume(
            short(&self.queue),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = consuming.await.map_err(failed)?;
        let mut taken = Vec::with_capacity(size.into());
        let mut last = Instant::now();
        while taken.len() < usize::from(size) {
            match timeout(QUIET, consumer.next()).await {
                Ok(Some(delivery)) => {
                    taken.push(delivery.map_err(failed)?);
                    last = Instant::now();
                }
                Ok(None) => return Err(self.ended("the broker ended it; is the queue still there?")),
                Err(_) if self.inspect_repeatedly(channel).await.map_err(failed)?.message_count() == 0 => break,
                Err(_) if last.elapsed() < PATIENCE => {}
                Err(_) => {
                    return Err(self.ended("messages are there, but none comes; does somebody else read the queue?"));
                }
            }
        }
        let options = BasicCancelOptions::default();
        channel.basic_cancel(consumer.tag(), options).await.map_err(failed)?;
        while let Some(Some(delivery)) = consumer.next().now_or_never() {
            taken.push(delivery.map_err(failed)?);
        }
        Ok(taken)
    }

    /// Inspects the queue again while the queue seems to be empty.
    async fn inspect_repeatedly(&self, channel: &Channel) -> lapin::Result<Queue> {
        for _ in 1..EMPTY_TIMES {
            let queue = self.inspect(channel).await?;
            if queue.message_count() > 0 {
                return Ok(queue);
            }
            sleep(QUIET / EMPTY_TIMES).await;
        }
        self.inspect(channel).await
    }

    async fn inspect(&self, channel: &Channel) -> lapin::Result<Queue> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(short(&self.queue), passive, FieldTable::default());
        declared.await
    }

    async fn until_ready(&self, channel: &Channel, count: u32) -> lapin::Result<()> {
        while self.inspect(channel).await?.message_count() < count {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let channel = self.consuming.create_channel().await;
        channel.map_err(|error| refused("a channel", &error))
    }

    fn failed(&self, error: &lapin::Error) -> Error {
        refused(&format!("reading {:?}", self.queue), error)
    }

    fn ended(&self, why: &str) -> Error {
        Error::Refused {
            what: format!("reading {:?}", self.queue),
            why: why.to_owned(),
        }
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("queue", &self.queue)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl From<AmqpDelivery> for DeadLetter {
    fn from(delivery: AmqpDelivery) -> Self {
        Self::read(delivery.data, &delivery.properties, delivery.delivery_tag)
    }
}

impl DeadLetter {
    /// One that was in no queue, for tests.
    #[cfg(test)]
    pub(crate) fn of(message: Message) -> Self {
        Self {
            message,
            death: None,
            flaw: None,
            tag: 0,
        }
    }

    pub(super) fn read(body: Vec<u8>, properties: &BasicProperties, tag: u64) -> Self {
        let mut message = from_amqp(body, properties);
        Self {
            death: death(properties),
            flaw: take_flaw(&mut message),
            tag,
            message,
        }
    }
}

fn death(properties: &BasicProperties) -> Option<Death> {
    let Some(AMQPValue::FieldArray(deaths)) = properties.headers().as_ref()?.inner().get("x-death") else {
        return None;
    };
    let Some(AMQPValue::FieldTable(newest)) = deaths.as_slice().first() else {
        return None;
    };
    let text = |name| match newest.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    };
    let at = match newest.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
        _ => None,
    };
    Some(Death {
        reason: text("reason"),
        queue: text("queue"),
        at: at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_death_counts() {
        let entry = |reason: &str, seconds| {
            let mut entry = FieldTable::default();
            entry.insert("reason".into(), AMQPValue::LongString(reason.into()));
            entry.insert("queue".into(), AMQPValue::LongString("q".into()));
            entry.insert("time".into(), AMQPValue::Timestamp(seconds));
            AMQPValue::FieldTable(entry)
        };
        let deaths = vec![entry("delivery_limit", 5), entry("expired", 1)];
        let mut headers = FieldTable::default();
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths.into()));
        let newest = Death {
            reason: "delivery_limit".into(),
            queue: "q".into(),
            at: Timestamp::from_second(5).ok(),
        };
        assert_eq!(death(&BasicProperties::default().with_headers(headers)), Some(newest));
        assert_eq!(death(&BasicProperties::default()), None);
    }
}
