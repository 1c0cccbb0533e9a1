//! All that is there beside the workers: the broker, finAPI, the proxies before both, the publisher.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{Broker, BrokerEvent, Outgoing, rabbit};
use bankrefresh::message;
use bankrefresh::proto::from_timestamp;
use bankrefresh::refresh::Envelope;
use bankrefresh::sandbox::{self, Sandbox, SandboxConfig, ScriptedConnection};
use fastrand::Rng;
use jiff::Timestamp;
use lapin::options::BasicGetOptions;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until};

use crate::observer::{self, Observer};
use crate::polls::Polls;
use crate::proxy::{Entrance, Proxy};
use crate::schedule::{Order, Schedule};
use crate::support::rabbitmq::RabbitMq;

/// The share of finAPI's answers that go wrong.
const FAULT_RATE: f64 = 0.2;

const PREFIX: &str = "chaos";

/// How often workers try a call that fails: so often that no refresh gives up, whatever the chaos.
pub const RETRY_ATTEMPTS: u32 = 40;

/// How soon a publish that failed is tried again.
const PUBLISH_RETRY: Duration = Duration::from_millis(100);

pub struct Stage {
    pub rabbit: &'static RabbitMq,
    pub topology: Topology,
    pub sandbox: Arc<Sandbox>,
    pub to_broker: Proxy,
    pub to_finapi: Proxy,
    pub observer: Observer,
    pub polls: Arc<Polls>,
    entrance: Entrance,
    broker: Broker,
}

/// Commands as they were published, and how many messages that took.
pub struct Published {
    pub orders: Vec<Order>,
    pub messages: usize,
}

impl Stage {
    pub async fn set(schedule: &Schedule, seed: u64) -> Self {
        // The process ends with the run, and the broker with the process.
        let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
        let topology = Topology::new(PREFIX);
        let settings = rabbit::Settings {
            confirm_timeout: Duration::from_secs(5),
            reconnect_max: Duration::from_secs(1),
            ..rabbit::Settings::new(rabbit.url().parse().expect("a URL"))
        };
        let (client, mut broker_events) = rabbit::connect(settings, topology.clone(), Vec::new()).expect("settings");
        while !matches!(broker_events.recv().await, Some(BrokerEvent::Connected { .. })) {}
        tokio::spawn(async move { while broker_events.recv().await.is_some() {} });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let finapi = listener.local_addr().expect("an address");
        let sandbox = sandbox(schedule, seed);
        tokio::spawn(sandbox::serve(sandbox.clone(), listener, std::future::pending()));
        let observer = Observer::start(rabbit, &topology.events()).await;
        let to_broker = Proxy::new(SocketAddr::from(([127, 0, 0, 1], rabbit.port())));
        Self {
            entrance: to_broker.open(|_| {}),
            to_broker,
            to_finapi: Proxy::new(finapi),
            polls: Arc::default(),
            rabbit,
            topology,
            sandbox,
            observer,
            broker: Broker::Rabbit(client),
        }
    }

    /// A worker's own way to finAPI, by which its polls are known as its own.
    pub fn way_to_finapi(&self, worker: usize) -> Entrance {
        let polls = Arc::clone(&self.polls);
        self.to_finapi.open(move |sent| polls.read(worker, sent))
    }

    /// A worker's settings: everything by way of the proxies, and short enough for the run.
    pub fn settings(&self, to_finapi: &Entrance) -> Vec<(String, String)> {
        let finapi = format!("http://{}", to_finapi.address);
        let settings = [
            ("AMQP__URL", format!("amqp://guest:guest@{}/%2f", self.entrance.address)),
            ("AMQP__PREFIX", PREFIX.to_owned()),
            ("AMQP__CONFIRM_TIMEOUT", "5s".to_owned()),
            ("AMQP__CONNECT_TIMEOUT", "3s".to_owned()),
            ("FINAPI__ACCESS_URL", finapi.clone()),
            ("FINAPI__WEB_FORM_URL", finapi.clone()),
            ("FINAPI__CLIENT_ID", "sandbox-client".to_owned()),
            ("FINAPI__CLIENT_SECRET", "sandbox-secret".to_owned()),
            ("FINAPI__TIMEOUT", "5s".to_owned()),
            ("CREDENTIALS__SOURCE", "http".to_owned()),
            ("CREDENTIALS__URL", format!("{finapi}/sandbox/credentials")),
            ("WORKER__IN_FLIGHT", "200".to_owned()),
            ("WORKER__HOLD_MAX", "4s".to_owned()),
            ("WORKER__DRAIN_TIMEOUT", "3s".to_owned()),
            // What an update brought is then all that is published, so nothing else may be.
            ("EVENTS__MARGIN", "0s".to_owned()),
            ("POLLING__INITIAL", "1s".to_owned()),
            ("POLLING__FACTOR", "1.2".to_owned()),
            ("POLLING__MAX", "2s".to_owned()),
            ("POLLING__WEB_FORM_MAX", "2s".to_owned()),
            ("POLLING__LOCKED_MAX", "2s".to_owned()),
            ("RETRY__INITIAL", "1s".to_owned()),
            ("RETRY__MAX", "3s".to_owned()),
            ("RETRY__ATTEMPTS", RETRY_ATTEMPTS.to_string()),
            ("BREAKER__INITIAL", "1s".to_owned()),
            ("BREAKER__MAX", "2s".to_owned()),
            ("LIMITS__WEB_FORM_GRACE", "5s".to_owned()),
            ("EVENTS__SIZE_MAX", "65536".to_owned()),
            ("TELEMETRY__LOG_LEVEL", "debug".to_owned()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Publishes every command in its time, until the broker has confirmed it.
    pub async fn publish(self: Arc<Self>, mut orders: Vec<Order>, publishes: Vec<(Duration, usize)>) -> Published {
        let began = Instant::now();
        let mut messages = 0;
        for (at, index) in publishes {
            sleep_until(began + at).await;
            let order = &mut orders[index];
            let now = Timestamp::now();
            order.command.requested_at.get_or_insert_with(|| from_timestamp(now));
            let message = self.message(order, now);
            loop {
                messages += 1;
                order.copies += 1;
                // What was not confirmed may have arrived all the same.
                if self.broker.publish(vec![message.clone()]).await.is_ok() {
                    break;
                }
                sleep(PUBLISH_RETRY).await;
            }
        }
        Published { orders, messages }
    }

    fn message(&self, order: &Order, now: Timestamp) -> Outgoing {
        let envelope = Envelope {
            interactive: order.interactive,
            correlation_id: order.command.command_id.clone(),
            ..Envelope::default()
        };
        message::command(&self.topology, order.command.clone(), &envelope, now)
    }

    /// What became of messages that nobody could do anything with.
    pub async fn dead_letters(&self) -> Vec<String> {
        let connection = self.rabbit.connection().await;
        let channel = connection.create_channel().await.expect("a channel");
        let mut letters = Vec::new();
        let queue = self.topology.dead_letters();
        while let Ok(Some(letter)) = channel
            .basic_get(queue.as_str().into(), BasicGetOptions::default())
            .await
        {
            let properties = &letter.properties;
            letters.push(format!("{:?} {:?}", properties.message_id(), properties.headers()));
        }
        letters
    }

    /// The queues that are to become empty.
    pub fn queues(&self) -> Vec<String> {
        let queues = self.topology.queues().into_iter().map(|queue| queue.name);
        // Events that nobody has bound are to stay.
        let queues = queues.filter(|name| *name != self.topology.unrouted_events());
        queues.chain([observer::QUEUE.to_owned()]).collect()
    }

    /// Those of them that are not, with their ready and unacknowledged messages.
    pub async fn not_empty(&self) -> Vec<String> {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let command = ["list_queues", "-q", "--no-table-headers"];
        let listed = self.rabbit.ctl(&[&command[..], &columns[..]].concat()).await;
        let names = self.queues();
        let lines = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = lines.filter(|line| {
            let name = line.first().copied().unwrap_or_default();
            names.iter().any(|ours| ours == name)
        });
        let full = ours.filter(|line| line[1..] != ["0", "0"]);
        full.map(|line| line.join(" ")).collect()
    }
}

fn sandbox(schedule: &Schedule, seed: u64) -> Arc<Sandbox> {
    let mut rng = Rng::with_seed(seed);
    let connections = schedule.orders.iter().map(|order| ScriptedConnection {
        user_id: Some(order.command.user_id.clone()),
        connection_id: order.command.bank_connection_id,
        script: order.case.script(&mut rng),
    });
    Sandbox::new(SandboxConfig {
        seed,
        ids_pick_behaviour: false,
        web_form_life: Duration::from_secs(4),
        connections: connections.collect(),
        fault_rate: FAULT_RATE,
        ..SandboxConfig::default()
    })
}
