//! The brokers under test, and how a test waits for them.

use std::time::Duration;

use bankrefresh::broker::memory::PublishFault;
use bankrefresh::broker::rabbit::{self, Settings};
use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{
    Broker, BrokerEvent, BrokerEvents, Delivery, Message, Outgoing, Properties, Subscription, memory,
};
use tokio::time::timeout;

use crate::support::rabbitmq::{self, RabbitMq};

/// Nothing here takes that long, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A broker, with a topology that no other test uses.
pub struct Subject {
    pub topology: Topology,
    server: Server,
}

enum Server {
    Memory(memory::Server),
    Rabbit(&'static RabbitMq),
    /// One that no other test uses.
    Own(Box<RabbitMq>),
}

/// How long a client waits for a confirm of a RabbitMQ that no other test uses.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(500);

impl Subject {
    pub fn memory() -> Self {
        let topology = Topology::new("test");
        let server = Server::Memory(memory::Server::new(&topology));
        Self { topology, server }
    }

    pub async fn rabbit() -> Self {
        let server = rabbitmq::shared().await;
        let topology = Topology::new(&rabbitmq::prefix());
        rabbit::declare(&settings(server, &topology), &topology).await.unwrap();
        let server = Server::Rabbit(server);
        Self { topology, server }
    }

    /// The same, with a RabbitMQ that no other test uses: what is done to it strikes everyone.
    pub async fn on_its_own(self) -> Self {
        if let Server::Memory(_) = self.server {
            return self;
        }
        let server = RabbitMq::start().await;
        let topology = self.topology;
        rabbit::declare(&settings(&server, &topology), &topology).await.unwrap();
        let server = Server::Own(Box::new(server));
        Self { topology, server }
    }

    fn rabbit_server(&self) -> Option<&RabbitMq> {
        match &self.server {
            Server::Memory(_) => None,
            Server::Rabbit(server) => Some(server),
            Server::Own(server) => Some(server),
        }
    }

    /// Sees to it that the broker refuses the second message of the next publish, if that goes to the background lane.
    pub async fn refuse(&self, broker: &Broker) {
        let name = self.topology.background();
        match &self.server {
            Server::Memory(server) => server.fail_next_publish(PublishFault::Refused { which: 1 }),
            Server::Rabbit(_) | Server::Own(_) => {
                let server = self.rabbit_server().expect("a RabbitMQ");
                let full = r#"{"max-length": 1}"#;
                server.set_policy(&name, &format!("^{name}$"), full).await;
                let filled = async {
                    let one = || vec![outgoing(self.topology.commands(), "background", "fills it")];
                    while broker.publish(one()).await.is_ok() {}
                };
                timeout(LIMIT, filled).await.expect("it is full one day");
            }
        }
    }

    /// Lets the next publish wait until [`Self::unblock`].
    pub async fn block(&self) {
        match &self.server {
            Server::Memory(server) => server.fail_next_publish(PublishFault::Late {
                by: Duration::from_secs(5),
            }),
            Server::Rabbit(_) | Server::Own(_) => self.rabbit_server().expect("a RabbitMQ").memory_alarm(true).await,
        }
    }

    /// Takes what [`Self::block`] let wait.
    pub async fn unblock(&self) {
        match self.rabbit_server() {
            Some(server) => server.memory_alarm(false).await,
            None => tokio::time::sleep(Duration::from_secs(10)).await,
        }
    }

    /// Connects, and waits until it is up.
    pub async fn connect(&self, subscriptions: Vec<Subscription>) -> (Broker, BrokerEvents) {
        let (broker, mut broker_events) = match &self.server {
            Server::Memory(server) => {
                let (client, broker_events) = server.connect(subscriptions);
                (Broker::Memory(client), broker_events)
            }
            Server::Rabbit(_) | Server::Own(_) => {
                let mut settings = settings(self.rabbit_server().expect("a RabbitMQ"), &self.topology);
                if let Server::Own(_) = self.server {
                    settings.confirm_timeout = CONFIRM_TIMEOUT;
                }
                let topology = self.topology.clone();
                let connected = rabbit::connect(settings, topology, subscriptions).unwrap();
                (Broker::Rabbit(connected.0), connected.1)
            }
        };
        assert_eq!(up(&mut broker_events).await, 1);
        (broker, broker_events)
    }

    /// Cuts every connection of this test; they come back.
    pub async fn cut(&self) {
        match &self.server {
            Server::Memory(server) => {
                server.outage(true);
                server.outage(false);
            }
            Server::Rabbit(server) => server.close_connections(&name(&self.topology)).await,
            Server::Own(server) => server.close_connections(&name(&self.topology)).await,
        }
    }

    /// Waits until a queue has so many ready messages.
    pub async fn ready(&self, queue: &str, expected: u32) {
        let reached = async {
            loop {
                let ready = match &self.server {
                    Server::Memory(server) => u32::try_from(server.depths()[queue].0).unwrap(),
                    Server::Rabbit(server) => server.depth(queue).await.0,
                    Server::Own(server) => server.depth(queue).await.0,
                };
                if ready == expected {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, reached).await.expect("the queue is as deep as expected");
    }

    /// Waits until nobody is sent anything of a queue, though what it was sent may not be acknowledged.
    pub async fn cancelled(&self, queue: &str) {
        if let Some(server) = self.rabbit_server() {
            timeout(LIMIT, server.cancelled(queue))
                .await
                .expect("no consumer is left");
        }
    }

    /// Waits until nobody consumes a queue. A consumer counts for as long as it has not acknowledged something.
    pub async fn unattended(&self, queue: &str) {
        // The one in this process stops at once.
        if let Some(server) = self.rabbit_server() {
            let unattended = async { while server.depth(queue).await.1 > 0 {} };
            timeout(LIMIT, unattended).await.expect("nobody consumes the queue");
        }
    }
}

/// The connections' name, by which they are found again.
fn name(topology: &Topology) -> String {
    topology.commands()
}

pub fn settings(server: &RabbitMq, topology: &Topology) -> Settings {
    Settings {
        connection_name: name(topology),
        ..Settings::new(server.url().parse().expect("a URL"))
    }
}

pub fn queue(name: String, prefetch: u16) -> Vec<Subscription> {
    vec![Subscription::Queue {
        name,
        prefetch,
        paused: false,
    }]
}

pub fn message(body: &str) -> Message {
    Message {
        body: body.to_owned().into(),
        properties: Properties::default(),
    }
}

pub fn outgoing(exchange: String, routing_key: &str, body: &str) -> Outgoing {
    Outgoing {
        exchange,
        routing_key: routing_key.to_owned(),
        message: message(body),
    }
}

pub async fn next(broker_events: &mut BrokerEvents) -> BrokerEvent {
    let next = timeout(LIMIT, broker_events.recv()).await;
    next.expect("a broker event comes").expect("the broker events continue")
}

pub async fn delivery(broker_events: &mut BrokerEvents) -> Delivery {
    match next(broker_events).await {
        BrokerEvent::Delivery(delivery) => delivery,
        other => panic!("no delivery: {other:?}"),
    }
}

/// The bodies of the next deliveries, which are not acknowledged.
pub async fn bodies(broker_events: &mut BrokerEvents, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let body = delivery(broker_events).await.message.body;
        bodies.push(String::from_utf8(body.to_vec()).unwrap());
    }
    bodies
}

pub async fn up(broker_events: &mut BrokerEvents) -> u64 {
    match next(broker_events).await {
        BrokerEvent::Connected { generation } => generation,
        other => panic!("not up: {other:?}"),
    }
}

pub async fn down(broker_events: &mut BrokerEvents) -> (u64, String) {
    match next(broker_events).await {
        BrokerEvent::Disconnected { generation, reason } => (generation, reason),
        other => panic!("not down: {other:?}"),
    }
}

/// Waits until the broker events end.
pub async fn ended(broker_events: &mut BrokerEvents) {
    let end = timeout(LIMIT, broker_events.recv()).await.expect("they end");
    assert!(end.is_none(), "{end:?}");
}
