//! Consuming one subscription, on a channel of its own.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{FutureExt, ready, try_join_all};
use futures_util::stream::{BoxStream, SelectAll, once};
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::acks::{Ack, Acks};
use super::convert::{from_amqp, redeliveries, short, take_flaw};
use super::intake::Intake;
use super::status::Status;
use super::stream::{self, CatchUp};
use crate::broker::{BrokerEvent, Delivery, ROOM_PARTS, Subscription, Tag};

/// How many messages of an ephemeral queue one acknowledgement is for; well under [`EPHEMERAL_PREFETCH`](super::intake::EPHEMERAL_PREFETCH).
const EPHEMERAL_ACK_EVERY: u64 = 64;

/// How long the last of those messages wait for theirs. RabbitMQ closes a channel that has not acknowledged something for half an hour.
const EPHEMERAL_ACK_INTERVAL: Duration = Duration::from_secs(5);

/// How many messages wait for an ephemeral subscription that can't keep up; then the oldest go.
const EPHEMERAL_LENGTH_MAX: u32 = 100_000;

/// What to do with a subscription.
#[derive(Debug)]
pub(super) enum ConsumerCommand {
    /// Acknowledge this delivery tag.
    Acknowledge(u64),
    /// Stop consuming, hand over what the broker had sent, then say so.
    Cancel(oneshot::Sender<()>),
    /// Send what was acknowledged, then end.
    Finish,
}

/// Where a consuming task gets its commands.
pub(super) type Mailbox = mpsc::UnboundedReceiver<ConsumerCommand>;

/// The channels between a consuming task and its session.
#[derive(Clone)]
pub(super) struct ConsumerChannels {
    pub(super) broker_events: mpsc::Sender<BrokerEvent>,
    pub(super) intake: watch::Receiver<Intake>,
    pub(super) status: watch::Receiver<Status>,
}

/// A subscription that consumes.
pub(super) struct Consuming {
    source: Source,
    channel: Channel,
    consumers: Consumers,
    /// What the broker sent and nobody has seen.
    held: VecDeque<AmqpDelivery>,
    acks: Acks,
    catch_up: CatchUp,
    /// Who waits until nothing more comes.
    cancelled: Vec<oneshot::Sender<()>>,
    channels: ConsumerChannels,
}

/// Where deliveries come from.
struct Source {
    generation: u64,
    subscription: u32,
    /// The name in [`Delivery::queue`].
    name: String,
    /// The broker's name of it.
    queue: String,
    kind: Kind,
}

/// What is consumed. Deliveries of all but a queue are acknowledged as soon as they are handed over, and a blocked connection does not pause
/// them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Queue,
    Ephemeral,
    Stream,
}

/// What consumes, which is nothing while it is paused. The broker counts what is unacknowledged for each consumer by itself, also for
/// one that was cancelled. So a larger prefetch is another consumer. And after a pause the first consumer has only the room that deliveries
/// from before it leave, and others have what becomes free as those are acknowledged, an eighth of the prefetch at a time.
#[derive(Default)]
struct Consumers {
    deliveries: SelectAll<BoxStream<'static, Option<lapin::Result<AmqpDelivery>>>>,
    tags: Vec<ShortString>,
    /// The prefetch of all of them.
    window: u16,
    /// The newest delivery from before them.
    before: u64,
}

impl Consuming {
    /// Opens the channel, sets its prefetch and starts to consume unless it is paused.
    pub(super) async fn start(
        connection: &Connection,
        subscription: &Subscription,
        (generation, index): (u64, u32),
        channels: ConsumerChannels,
    ) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        let (name, queue, kind) = match subscription {
            Subscription::Queue { name, .. } => (name, name.clone(), Kind::Queue),
            Subscription::Ephemeral { exchange, keys, .. } => {
                let queue = declare_ephemeral(&channel, exchange, keys).await?;
                (exchange, queue, Kind::Ephemeral)
            }
            Subscription::Stream { name } => (name, name.clone(), Kind::Stream),
        };
        let source = Source {
            generation,
            subscription: index,
            name: name.clone(),
            queue,
            kind,
        };
        let mut consuming = Self {
            catch_up: CatchUp::of(kind == Kind::Stream),
            source,
            channel,
            consumers: Consumers::default(),
            held: VecDeque::new(),
            acks: Acks::default(),
            cancelled: Vec::new(),
            channels,
        };
        consuming.follow_intake().await?;
        Ok(consuming)
    }

    /// Hands over deliveries and sends acknowledgements until it is asked to finish.
    ///
    /// # Errors
    ///
    /// Why it can't continue.
    pub(super) async fn run(mut self, mut mailbox: Mailbox) -> Result<(), String> {
        let broker_events = self.channels.broker_events.clone();
        let mut commands = Vec::new();
        let mut ephemeral_acks = interval(EPHEMERAL_ACK_INTERVAL);
        ephemeral_acks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ask = interval(stream::ASK_INTERVAL);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Whatever waits for room among the broker events never keeps an acknowledgement waiting.
            tokio::select! {
                // All of them: one acknowledgement may do for many deliveries.
                count = mailbox.recv_many(&mut commands, usize::MAX) => {
                    let finish = count == 0 || self.perform(&mut commands);
                    self.send_acks().await.map_err(|error| self.failed(&error))?;
                    if finish {
                        return self.finish().await;
                    }
                    self.switch().await?;
                    self.say_cancelled();
                }
                Ok(()) = self.channels.intake.changed() => self.switch().await?,
                Ok(()) = self.channels.status.changed() => self.switch().await?,
                Some(item) = self.consumers.deliveries.next(), if self.held.is_empty() => self.take(item)?,
                _ = ask.tick(), if self.catch_up.goes_on() && self.held.is_empty() => {
                    self.ask_for_more().await?;
                }
                _ = ephemeral_acks.tick(), if self.source.kind != Kind::Queue => {
                    self.send_acks().await.map_err(|error| self.failed(&error))?;
                }
                Ok(permit) = broker_events.reserve(), if !self.held.is_empty() => {
                    if let Some(held) = self.held.pop_front() {
                        let tag = held.delivery_tag;
                        permit.send(BrokerEvent::Delivery(self.source.delivery(held)));
                        self.handed_over(tag).await.map_err(|error| self.failed(&error))?;
                        self.say_cancelled();
                    }
                }
            }
        }
    }

    /// The answer comes after what the broker had to deliver. The consumer's own prefetch stays as it is.
    async fn ask_for_more(&mut self) -> Result<(), String> {
        let prefetch = self.channels.intake.borrow().prefetch;
        let asking = async {
            self.send_acks().await?;
            let options = BasicQosOptions { global: false };
            self.channel.basic_qos(prefetch, options).await
        };
        asking.await.map_err(|error| self.failed(&error))?;
        while let Some(Some(item)) = self.consumers.deliveries.next().now_or_never() {
            self.take(item)?;
        }
        if self.held.is_empty() && self.catch_up.on_answer() {
            let stream = self.source.name.clone();
            // Nobody wants it who is gone.
            let _ = self.channels.broker_events.send(BrokerEvent::CaughtUp { stream }).await;
        }
        Ok(())
    }

    /// Whether to finish.
    fn perform(&mut self, commands: &mut Vec<ConsumerCommand>) -> bool {
        let mut finish = false;
        for command in commands.drain(..) {
            match command {
                ConsumerCommand::Acknowledge(tag) => self.acks.acknowledge(tag),
                ConsumerCommand::Cancel(done) => self.cancelled.push(done),
                ConsumerCommand::Finish => finish = true,
            }
        }
        finish
    }

    /// To be called when the consumers follow the pause.
    fn say_cancelled(&mut self) {
        if self.held.is_empty() {
            for done in self.cancelled.drain(..) {
                // Whoever asked may be gone.
                let _ = done.send(());
            }
        }
    }

    async fn send_acks(&mut self) -> lapin::Result<()> {
        let sending = self
            .acks
            .take()
            .into_iter()
            .map(|Ack { tag, multiple }| self.channel.basic_ack(tag, BasicAckOptions { multiple }));
        try_join_all(sending).await.map(drop)
    }

    async fn switch(&mut self) -> Result<(), String> {
        self.follow_intake().await.map_err(|error| self.failed(&error))
    }

    /// Consumes or stops to, as it should.
    async fn follow_intake(&mut self) -> lapin::Result<()> {
        let blocked = self.channels.status.borrow_and_update().is_blocked() && self.source.kind == Kind::Queue;
        let Intake { paused, prefetch, .. } = *self.channels.intake.borrow_and_update();
        let Consumers { window, before, .. } = self.consumers;
        let is_smaller = usize::from(prefetch) < usize::from(window) + self.acks.open_up_to(before);
        if paused || blocked || is_smaller {
            self.cancel().await?;
        }
        if paused || blocked {
            return Ok(());
        }
        self.consume(prefetch).await
    }

    /// Consumes as much as there is room for.
    async fn consume(&mut self, prefetch: u16) -> lapin::Result<()> {
        let Consumers { window, before, .. } = self.consumers;
        let old = u16::try_from(self.acks.open_up_to(before)).unwrap_or(u16::MAX);
        let room = (prefetch - window).saturating_sub(old);
        // Not worth another consumer.
        let is_little = window > 0 && old > 0 && room < prefetch / ROOM_PARTS;
        if room == 0 || is_little {
            return Ok(());
        }
        // Per consumer: a quorum queue refuses the global one by closing the connection.
        self.channel.basic_qos(room, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions {
            exclusive: self.source.kind == Kind::Ephemeral,
            ..BasicConsumeOptions::default()
        };
        let queue = short(&self.source.queue);
        let arguments = match self.source.kind {
            Kind::Stream => stream::from_first(),
            Kind::Queue | Kind::Ephemeral => FieldTable::default(),
        };
        let consumer = self.channel.basic_consume(queue, "".into(), options, arguments).await?;
        self.consumers.window += room;
        self.consumers.tags.push(consumer.tag());
        let deliveries = consumer.map(Some).chain(once(ready(None)));
        self.consumers.deliveries.push(deliveries.boxed());
        Ok(())
    }

    /// Stops the consumers and keeps what they had been sent, which all came before the answer.
    async fn cancel(&mut self) -> lapin::Result<()> {
        let mut cancelled = std::mem::take(&mut self.consumers);
        for tag in cancelled.tags {
            self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        }
        while let Some(Some(delivery)) = cancelled.deliveries.next().now_or_never() {
            if let Some(delivery) = delivery {
                self.hold(delivery?);
            }
        }
        self.consumers.before = self.acks.newest();
        Ok(())
    }

    /// What a consumer brings: a delivery, or none where it has ended. It says that once, and then nothing more would come.
    fn take(&mut self, item: Option<lapin::Result<AmqpDelivery>>) -> Result<(), String> {
        match item {
            Some(Ok(delivery)) => self.hold(delivery),
            Some(Err(error)) => return Err(self.failed(&error)),
            None => return Err(format!("the broker ended consuming {:?}", self.source.queue)),
        }
        Ok(())
    }

    fn hold(&mut self, delivery: AmqpDelivery) {
        self.acks.open(delivery.delivery_tag);
        self.catch_up.on_delivery();
        self.held.push_back(delivery);
    }

    async fn handed_over(&mut self, tag: u64) -> lapin::Result<()> {
        if self.source.kind == Kind::Queue {
            return Ok(());
        }
        self.acks.acknowledge(tag);
        if tag.is_multiple_of(EPHEMERAL_ACK_EVERY) {
            self.send_acks().await?;
        }
        Ok(())
    }

    /// The answer to closing the channel says that the broker has seen the acknowledgements. It need not have kept them: once 32 of
    /// them are on their way to a quorum queue, RabbitMQ stashes the next ones in the channel, and the stash is lost with the channel.
    /// So the fewer there are at the end, the better.
    async fn finish(self) -> Result<(), String> {
        let closing = self.channel.close(200, "OK".into());
        closing.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &lapin::Error) -> String {
        format!("consuming {:?}: {error}", self.source.queue)
    }
}

impl Source {
    fn delivery(&self, delivery: AmqpDelivery) -> Delivery {
        let mut message = from_amqp(delivery.data, &delivery.properties);
        let flaw = take_flaw(&mut message);
        Delivery {
            tag: Tag {
                generation: self.generation,
                subscription: self.subscription,
                number: delivery.delivery_tag,
            },
            queue: self.name.clone(),
            redeliveries: redeliveries(&message.properties, delivery.redelivered),
            flaw,
            message,
        }
    }
}

/// What the names of the ephemeral queues of an exchange begin with: permissions go by the names of queues.
pub(super) fn ephemeral_prefix(exchange: &str) -> String {
    format!("{exchange}.ephemeral.")
}

/// A queue that lives as long as this connection, paused or not, bound to the exchange. It is bounded and its messages are
/// acknowledged, so that an ephemeral queue that is read slowly fills neither the broker's memory nor ours.
pub(super) async fn declare_ephemeral(channel: &Channel, exchange: &str, keys: &[String]) -> lapin::Result<String> {
    let name = format!("{}{}", ephemeral_prefix(exchange), Uuid::new_v4());
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    // Quorum queues can't be exclusive, and a virtual host may make them the default.
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert(
        "x-max-length".into(),
        AMQPValue::LongLongInt(EPHEMERAL_LENGTH_MAX.into()),
    );
    channel.queue_declare(short(&name), options, arguments).await?;
    for key in keys {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(short(&name), short(exchange), short(key), options, none)
            .await?;
    }
    Ok(name)
}
