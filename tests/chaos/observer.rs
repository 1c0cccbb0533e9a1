//! Sees every event: a durable queue of its own keeps them, whatever happens to the broker and to whoever reads.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bankrefresh::refresh::event::Event;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, Consumer};
use tokio::time::{sleep, timeout};

use crate::support::rabbitmq::RabbitMq;

pub const QUEUE: &str = "chaos.observer";

/// How many events are in flight at a time.
const PREFETCH: u16 = 500;

/// How long the broker may take to answer before it is asked again. One that is starting may not answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the queue. What comes again because an acknowledgement was lost is not taken for what was published twice: it is
/// marked, and equal to the last bit to what was seen, the time in it included.
#[derive(Clone)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
}

/// What was seen so far.
#[derive(Default)]
pub struct Seen {
    /// Every copy of every event, by command.
    pub events: BTreeMap<String, Vec<Event>>,
    pub count: usize,
    /// Commands whose outcome, or its last part, has been seen.
    pub over: BTreeSet<String>,
    /// What is no event or names itself otherwise than its message does.
    pub odd: usize,
    /// What came again because the observer's own acknowledgement was lost.
    pub read_again: usize,
    bodies: HashSet<Vec<u8>>,
}

impl Observer {
    /// Declares the queue and begins to read it.
    pub async fn start(rabbit: &'static RabbitMq, exchange: &str) -> Self {
        let connection = rabbit.connection().await;
        let channel = connection.create_channel().await.expect("a channel");
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let declared = channel.queue_declare(QUEUE.into(), durable, quorum).await;
        declared.expect("the observer's queue");
        let bound = channel.queue_bind(
            QUEUE.into(),
            exchange.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.expect("bound");
        let observer = Self { seen: Arc::default() };
        let reading = observer.clone();
        tokio::spawn(async move {
            loop {
                // While the broker is down there is nothing to read.
                let _ = reading.read(&rabbit.url()).await;
                sleep(Duration::from_millis(100)).await;
            }
        });
        observer
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("what was seen")
    }

    async fn read(&self, url: &str) -> lapin::Result<()> {
        let connecting = timeout(PATIENCE, consume(url)).await;
        let Ok(consuming) = connecting else {
            return Ok(());
        };
        let (_connection, mut consumer) = consuming?;
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            self.seen().take(&delivery);
            delivery.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }
}

async fn consume(url: &str) -> lapin::Result<(Connection, Consumer)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default());
    let consumer = consumer.await?;
    Ok((connection, consumer))
}

impl Seen {
    fn take(&mut self, delivery: &Delivery) {
        let is_new = self.bodies.insert(delivery.data.clone());
        if delivery.redelivered && !is_new {
            self.read_again += 1;
            return;
        }
        self.count += 1;
        let kind = delivery.properties.kind().as_ref().map(|kind| kind.as_str());
        let id = delivery.properties.message_id().as_ref().map(|id| id.as_str());
        let event = Event::decode(kind.unwrap_or_default(), &delivery.data).ok();
        let context = event.as_ref().map(Event::context);
        let fits = context.filter(|context| Some(context.event_id.as_str()) == id);
        let Some((event, context)) = event.as_ref().zip(fits) else {
            self.odd += 1;
            return;
        };
        let command = context.command_id.clone();
        if event.is_last() {
            self.over.insert(command.clone());
        }
        self.events.entry(command).or_default().push(event.clone());
    }
}
