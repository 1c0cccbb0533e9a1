//! Sees every event: a durable queue of its own keeps them, whatever happens to the broker and to whoever reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bankrefresh::refresh::event::Event;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use tokio::time::sleep;

use crate::support::rabbitmq::RabbitMq;

const QUEUE: &str = "chaos.observer";

/// Reads the queue and takes nothing out of it: after each reconnect all of it comes once more and is counted anew, so
/// what the observer saw twice is never taken for what was published twice.
#[derive(Clone)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
}

/// What there is in the queue, as far as it was read.
#[derive(Default)]
pub struct Seen {
    /// Every copy of every event, by command.
    pub events: BTreeMap<String, Vec<Event>>,
    pub count: usize,
    /// Commands whose outcome, or its last part, has been seen. Never gets smaller.
    pub over: BTreeSet<String>,
    /// In which order events were seen first, by event id. Never forgotten: a queue may hand out again in another order.
    pub order: BTreeMap<String, usize>,
    /// What is no event or names itself otherwise than its message does.
    pub odd: usize,
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
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await?;
        self.seen().begin_anew();
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            let kind = delivery.properties.kind().as_ref().map(|kind| kind.as_str());
            let id = delivery.properties.message_id().as_ref().map(|id| id.as_str());
            let event = Event::decode(kind.unwrap_or_default(), &delivery.data);
            self.seen().add(event.ok(), id.unwrap_or_default());
        }
        Ok(())
    }
}

impl Seen {
    fn begin_anew(&mut self) {
        self.events.clear();
        self.count = 0;
        self.odd = 0;
    }

    fn add(&mut self, event: Option<Event>, message_id: &str) {
        self.count += 1;
        let context = event.as_ref().and_then(Event::context);
        let Some((event, context)) = event.as_ref().zip(context.filter(|c| c.event_id == message_id)) else {
            self.odd += 1;
            return;
        };
        let place = self.order.len();
        self.order.entry(context.event_id.clone()).or_insert(place);
        let command = context.command_id.clone();
        if event.is_last() {
            self.over.insert(command.clone());
        }
        self.events.entry(command).or_default().push(event.clone());
    }
}
