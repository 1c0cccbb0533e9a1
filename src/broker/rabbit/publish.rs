//! Publishing with confirms.
//!
//! Every call has a channel to itself until its last confirm is in. lapin hands a returned message to whichever
//! confirm of the channel comes next, not to the one it belongs to; this way it is one of the same call in any case.
//! And a channel that the broker closes, for one message is too large, takes nobody else's messages with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::convert::{short, to_amqp};
use super::error::{NOT_FOUND, PRECONDITION_FAILED, refusal};
use crate::broker::outgoing::prepare;
use crate::broker::{Outgoing, PublishError};

/// How many calls publish at the same time; the next ones wait. RabbitMQ allows 2047 channels by default, and lapin looks at all of
/// a connection's with each frame.
const CHANNELS_MAX: usize = 64;

/// How often to check whether the broker takes messages again.
const BLOCKED_CHECK_INTERVAL: Duration = Duration::from_millis(250);

const MANDATORY: BasicPublishOptions = BasicPublishOptions {
    mandatory: true,
    immediate: false,
};

/// The publishing connection of one generation.
pub(super) struct Publisher {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
    permits: Semaphore,
    confirm_timeout: Duration,
    /// Becomes true when the generation ends.
    ended: watch::Sender<bool>,
    faults: mpsc::Sender<String>,
}

impl Publisher {
    /// `faults` receives the reason why the connection is of no use any more.
    pub(super) fn new(connection: Connection, confirm_timeout: Duration, faults: mpsc::Sender<String>) -> Self {
        Self {
            connection,
            idle: Mutex::default(),
            permits: Semaphore::new(CHANNELS_MAX),
            confirm_timeout,
            ended: watch::Sender::new(false),
            faults,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Everyone who waits for a confirm learns that it won't come.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(super) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let messages: Vec<_> = messages.into_iter().map(prepare).collect::<Result<_, _>>()?;
        let mut ended = self.ended.subscribe();
        let send = async {
            // The time for a confirm begins when there is room to send.
            let permit = self.permits.acquire().await;
            let _permit = permit.map_err(|_| PublishError::Down)?;
            let sent = async {
                self.unblocked().await;
                self.send(&messages).await
            };
            let sent = timeout(self.confirm_timeout, sent).await;
            sent.unwrap_or_else(|_| Err(self.timed_out()))
        };
        tokio::select! {
            biased;
            outcome = send => outcome,
            _ = ended.wait_for(|ended| *ended) => Err(PublishError::Down),
        }
    }

    /// While the broker lets publishers wait, nothing is written: each try would leave one more channel behind, and there are not that
    /// many.
    async fn unblocked(&self) {
        while self.connection.status().blocked() {
            sleep(BLOCKED_CHECK_INTERVAL).await;
        }
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<(), PublishError> {
        let channel = self.channel().await.map_err(|error| self.lost(&error))?;
        let confirmations = exchange(&channel, messages).await;
        let confirmations = confirmations.map_err(|error| self.failed(messages, &error))?;
        let verdict = verdict(confirmations);
        match verdict {
            // RabbitMQ 3.10 may keep refusing over a channel whose first message to a queue found its leader gone,
            // when another node has long taken over.
            Err(PublishError::Refused) => close(&channel).await,
            _ => self.release(channel),
        }
        verdict
    }

    /// How many messages of a queue wait to be handed out.
    pub(super) async fn ready(&self, queue: &str) -> Option<u32> {
        let _permit = self.permits.acquire().await.ok()?;
        let count = async {
            let channel = self.channel().await.ok()?;
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let arguments = FieldTable::default();
            let declared = channel.queue_declare(short(queue), passive, arguments).await;
            let count = declared.ok()?.message_count();
            self.release(channel);
            Some(count)
        };
        timeout(self.confirm_timeout, count).await.ok().flatten()
    }

    async fn channel(&self) -> lapin::Result<Channel> {
        if let Some(idle) = self.idle() {
            return Ok(idle);
        }
        let channel = self.connection.create_channel().await?;
        let options = ConfirmSelectOptions::default();
        channel.confirm_select(options).await?;
        Ok(channel)
    }

    fn idle(&self) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|channel| channel.status().connected())
    }

    /// Nothing is outstanding on it: the next call may have it.
    fn release(&self, channel: Channel) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(channel);
    }

    /// A connection that does not confirm is dead, unless the broker said that it lets us wait.
    fn timed_out(&self) -> PublishError {
        if !self.connection.status().blocked() {
            let limit = self.confirm_timeout;
            self.fault(format!("the broker confirmed nothing for {limit:?}"));
        }
        PublishError::TimedOut
    }

    fn failed(&self, messages: &[Outgoing], error: &lapin::Error) -> PublishError {
        match refusal(error) {
            // The exchange is not there.
            Some((NOT_FOUND, words)) => {
                // Rebuilding declares it again.
                self.fault(words.clone());
                unroutable(missing(messages, &words))
            }
            // "message size 20000000 is larger than configured max size 16777216"
            Some((PRECONDITION_FAILED, words)) if words.contains("larger than") => PublishError::TooLarge,
            Some((PRECONDITION_FAILED, words)) => {
                tracing::warn!(reason = words, "the broker refused a message");
                PublishError::Refused
            }
            _ => self.lost(error),
        }
    }

    fn lost(&self, error: &lapin::Error) -> PublishError {
        self.fault(error.to_string());
        PublishError::Down
    }

    /// One fault is enough to rebuild everything, so those after the first may be lost.
    pub(super) fn fault(&self, reason: String) {
        let _ = self.faults.try_send(format!("publishing: {reason}"));
    }
}

/// Publishes and waits for every confirm, so that nothing is outstanding on the channel when all went well.
async fn exchange(channel: &Channel, messages: &[Outgoing]) -> lapin::Result<Vec<Confirmation>> {
    let mut confirms = Vec::with_capacity(messages.len());
    let mut stopped = None;
    for Outgoing {
        exchange,
        routing_key,
        message,
    } in messages
    {
        let properties = to_amqp(&message.properties);
        let (exchange, key) = (short(exchange), short(routing_key));
        let written = channel.basic_publish(exchange, key, MANDATORY, &message.body, properties);
        match written.await {
            Ok(confirm) => confirms.push(confirm),
            Err(error) => {
                stopped = Some(error);
                break;
            }
        }
    }
    let confirmed = join_all(confirms).await;
    // The broker's own words say more than that the channel was closed when the next message was to be written.
    let mut errors = confirmed
        .iter()
        .filter_map(|confirm| confirm.as_ref().err())
        .chain(&stopped);
    match errors.clone().find(|error| error.is_amqp_error()).or(errors.next()) {
        Some(error) => Err(error.clone()),
        None => confirmed.into_iter().collect(),
    }
}

async fn close(channel: &Channel) {
    // One that is closed already is as good.
    let _ = channel.close(200, short("refused")).await;
}

fn verdict(confirmations: Vec<Confirmation>) -> Result<(), PublishError> {
    let refused = confirmations.iter().any(Confirmation::is_nack);
    let returned = confirmations.into_iter().find_map(Confirmation::take_message);
    if let Some(returned) = returned {
        return Err(PublishError::Unroutable {
            exchange: returned.exchange.to_string(),
            routing_key: returned.routing_key.to_string(),
        });
    }
    if refused {
        return Err(PublishError::Refused);
    }
    Ok(())
}

/// The message that the broker means with "no exchange 'x' in vhost '/'".
fn missing<'a>(messages: &'a [Outgoing], words: &str) -> Option<&'a Outgoing> {
    let named = |message: &&Outgoing| words.contains(&format!("'{}'", message.exchange));
    messages.iter().find(named).or(messages.first())
}

fn unroutable(message: Option<&Outgoing>) -> PublishError {
    match message {
        Some(message) => PublishError::Unroutable {
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
        },
        None => PublishError::Down,
    }
}
