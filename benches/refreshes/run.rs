//! One run: commands in the queue, workers on, and every event timed as it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{Broker, BrokerEvent, Outgoing, rabbit};
use bankrefresh::message;
use bankrefresh::proto::{self, RefreshConnection};
use bankrefresh::refresh::Envelope;
use bankrefresh::refresh::event::{Event, EventKind};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::authority::Authority;
use crate::options::Options;
use crate::process::{Running, Used};
use crate::protocol::Protocol;
use crate::simulator::{Heard, Simulator};
use crate::subject::Subject;
use crate::support::rabbitmq::{self, RabbitMq};
use crate::verdict;

/// Longer without an event means that something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many commands are published at once.
const BATCH: usize = 500;

/// Who is measured, and over what.
pub type Turn = (Subject, Protocol);

/// What a run came to.
pub struct Run {
    pub refreshes: usize,
    /// From the start of the workers to the last outcome.
    pub took: Duration,
    /// All workers together; memory of the largest.
    pub used: Used,
    /// From the end of each update to its event's arrival, in seconds, sorted.
    pub detections: Vec<f64>,
    /// Events per second of the run, from its start.
    pub waves: Vec<usize>,
    /// The memory of the largest worker after each quarter of the refreshes, in megabytes.
    pub memory: Vec<f64>,
    /// What finAPI was asked.
    pub heard: Heard,
    /// CPU of the simulator, in seconds.
    pub sandbox_cpu: f64,
    /// The mean size of an event.
    pub event_bytes: usize,
    /// Messages that reached the workers' queues and events.
    pub messages: usize,
    /// Kept alive, because the floors call it too.
    pub simulator: Simulator,
}

/// Simulator and workers, with every command in the queue.
struct Stage {
    simulator: Simulator,
    events: Consumer,
    workers: Vec<Running>,
    _channel: Channel,
    dir: TempDir,
}

impl Stage {
    async fn set(options: &Options, rabbit: &RabbitMq, (subject, protocol): Turn, authority: &Authority) -> Self {
        let prefix = rabbitmq::prefix();
        let topology = Topology::new(&prefix);
        let dir = tempfile::tempdir().expect("a directory");
        let simulator = Simulator::start(options, protocol, authority, dir.path()).await;
        publish(options, rabbit, &topology).await;
        let channel = rabbit.connection().await.create_channel().await.expect("a channel");
        let events = observe(&channel, &topology).await;
        let workers = (0..options.workers).map(|number| {
            let log = dir.path().join(log(number));
            subject.start(options, rabbit, &prefix, &simulator, log)
        });
        Self {
            workers: workers.collect(),
            simulator,
            events,
            _channel: channel,
            dir,
        }
    }

    /// What the first worker said last.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join(log(0))).expect("a log");
        log.lines().last().unwrap_or("its log is empty").to_owned()
    }

    fn used(&self) -> Used {
        let all = self.workers.iter().map(Running::used);
        all.fold(Used::default(), |sum, one| Used {
            cpu: sum.cpu + one.cpu,
            peak_mb: sum.peak_mb.max(one.peak_mb),
            now_mb: sum.now_mb.max(one.now_mb),
        })
    }
}

fn log(number: usize) -> String {
    format!("{number}.log")
}

/// Does one.
pub async fn run(options: &Options, rabbit: &RabbitMq, turn: Turn, authority: &Authority) -> Run {
    let mut stage = Stage::set(options, rabbit, turn, authority).await;
    let began = Instant::now();
    let mut detections = Vec::with_capacity(options.refreshes);
    let mut outcomes = BTreeSet::new();
    let mut waves = Vec::new();
    let mut bytes = 0;
    let mut memory = Vec::new();
    while detections.len() < options.refreshes {
        let Ok(delivery) = timeout(PATIENCE, stage.events.next()).await else {
            panic!(
                "no more events after {} of them; {}",
                detections.len(),
                stage.last_words()
            );
        };
        let delivery = delivery.expect("the consumer lives").expect("an event");
        let now = Timestamp::now();
        let kind = delivery.properties.kind().as_ref().expect("a type").as_str().to_owned();
        bytes += delivery.data.len();
        let event = Event::decode(&kind, &delivery.data).expect("an event");
        match event.kind() {
            EventKind::TransactionsUpdated(updated) => detections.push(detection(updated, now)),
            _ => panic!("not what was to come: {}", event.summary()),
        }
        outcomes.insert(event.context().command_id.clone());
        let second = usize::try_from(began.elapsed().as_secs()).expect("a time");
        waves.resize(waves.len().max(second + 1), 0);
        waves[second] += 1;
        if detections.len() >= (memory.len() + 1) * options.refreshes / 4 {
            memory.push(stage.used().now_mb);
        }
    }
    let took = began.elapsed();
    let used = stage.used();
    let sandbox_cpu = stage.simulator.running.used().cpu;
    stage.workers.clear();
    detections.sort_by(f64::total_cmp);
    let run = Run {
        refreshes: options.refreshes,
        took,
        used,
        detections,
        waves,
        memory,
        heard: stage.simulator.heard().await,
        sandbox_cpu,
        event_bytes: bytes / options.refreshes,
        messages: 2 * options.refreshes,
        simulator: stage.simulator,
    };
    verdict::run(options, &run, &outcomes);
    run
}

/// What workers cost for a time in which nothing happens to what they wait for.
pub async fn watch(options: &Options, rabbit: &RabbitMq, time: Duration, authority: &Authority) {
    let stage = Stage::set(options, rabbit, (Subject::Worker, options.over[0]), authority).await;
    let began = Instant::now();
    let asked = |calls: &BTreeMap<String, usize>| calls.get("start_update").copied().unwrap_or_default();
    while asked(&stage.simulator.heard().await.calls) < options.refreshes {
        sleep(Duration::from_millis(500)).await;
    }
    println!("all are asked for after {:.0} s", began.elapsed().as_secs_f64());
    // What was asked for last is written down.
    sleep(Duration::from_secs(5)).await;
    let (before, calls_before) = (stage.used(), stage.simulator.heard().await.calls);
    sleep(time).await;
    let (after, calls_after) = (stage.used(), stage.simulator.heard().await.calls);
    let seconds = time.as_secs_f64();
    let made = |calls: &BTreeMap<String, usize>| calls.values().sum::<usize>() as f64;
    println!(
        "while they wait, per second: {:.1} calls of finAPI, {:.2} ms of CPU of all workers; memory of the largest {:.1} MB, {:.1} MB at most",
        (made(&calls_after) - made(&calls_before)) / seconds,
        (after.cpu - before.cpu) * 1000.0 / seconds,
        after.now_mb,
        after.peak_mb,
    );
}

async fn publish(options: &Options, rabbit: &RabbitMq, topology: &Topology) {
    let settings = rabbit::Settings::new(rabbit.url().parse().expect("a URL"));
    let (client, mut detections) = rabbit::connect(settings, topology.clone(), Vec::new()).expect("settings");
    match timeout(PATIENCE, detections.recv()).await {
        Ok(Some(BrokerEvent::Connected { .. })) => {}
        other => panic!("no connection to the broker: {other:?}"),
    }
    let broker = Broker::Rabbit(client);
    let now = Timestamp::now();
    let envelope = Envelope {
        interactive: false,
        ..Envelope::default()
    };
    let commands: Vec<Outgoing> = (1..=options.refreshes)
        .map(|number| {
            let command = RefreshConnection {
                command_id: Uuid::now_v7().to_string(),
                user_id: format!("user-{}", number % options.users),
                bank_connection_id: i64::try_from(number).expect("an id"),
                ..RefreshConnection::default()
            };
            message::command(topology, command, &envelope, now)
        })
        .collect();
    for batch in commands.chunks(BATCH) {
        broker.publish(batch.to_vec()).await.expect("the broker takes commands");
    }
    broker.close().await;
}

async fn observe(channel: &Channel, topology: &Topology) -> Consumer {
    let queue = format!("{}.observer", topology.events());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let none = FieldTable::default;
    channel
        .queue_declare(queue.as_str().into(), durable, arguments)
        .await
        .expect("a queue");
    let bind = QueueBindOptions::default();
    let (name, exchange) = (queue.as_str().into(), topology.events().into());
    channel
        .queue_bind(name, exchange, "#".into(), bind, none())
        .await
        .expect("a binding");
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(queue.as_str().into(), "".into(), options, none())
        .await
        .expect("a consumer")
}

/// How long after its end an update was published. finAPI gives the end as the accounts' last successful update.
fn detection(event: &proto::TransactionsUpdated, now: Timestamp) -> f64 {
    let ends = event.accounts.iter().flat_map(|account| &account.interfaces);
    let ends = ends.filter_map(|interface| interface.last_successful_update.as_ref());
    let end = ends.filter_map(proto::timestamp).max().expect("the update's end");
    now.duration_since(end).as_secs_f64().max(0.0)
}
