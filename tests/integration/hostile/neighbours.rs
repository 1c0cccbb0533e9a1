//! Good commands beside something bad: a worker that serves them, and how long they take without it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use bankrefresh::message::COMMAND_NAME;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::sandbox::SandboxConfig;
use prost::Message as _;
use tokio::time::{sleep, timeout};

use crate::support::amqp::{Property, RawProperties, RawPublisher};
use crate::support::platform::{Platform, Reader, WorkerProcess, command, slow};

/// How many good commands there are at a time.
const GOOD: i64 = 10;

/// How much longer than usual a good command may take on a busy machine, beyond twice the time.
const GRACE: Duration = Duration::from_secs(4);

/// The connection of the bad command.
pub const BAD: i64 = 1_000_000;

/// A worker that is known to serve commands.
pub struct Neighbours {
    pub platform: Platform,
    pub worker: WorkerProcess,
    /// Writes what no client library would.
    pub raw: RawPublisher,
    /// How long good commands may take beside something bad.
    pub patience: Duration,
    connections: i64,
}

impl Neighbours {
    /// Starts a worker with these settings and has it serve good commands.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::of(Platform::start(swift()).await, settings).await
    }

    /// The same on a platform that is there.
    pub async fn of(platform: Platform, settings: &[(&str, &str)]) -> Self {
        let worker = platform.worker(settings);
        let raw = RawPublisher::connect(platform.rabbit).await;
        let patience = platform.patience;
        let mut neighbours = Self {
            platform,
            worker,
            raw,
            patience,
            connections: 0,
        };
        neighbours.worker.log.until("connected to RabbitMQ").await;
        let began = Instant::now();
        neighbours
            .are_served()
            .await
            .expect("they are served without anything bad");
        neighbours.patience = began.elapsed() * 2 + GRACE;
        neighbours
    }

    /// Sends good commands; the error says that some of them have no outcome in time.
    pub async fn are_served(&mut self) -> Result<(), String> {
        self.send(true).await;
        self.have_outcomes().await
    }

    /// Sends good commands to a lane.
    pub async fn send(&mut self, interactive: bool) {
        let first = self.connections + 1;
        self.connections += GOOD;
        let good = (first..=self.connections).map(command).collect();
        self.platform.send_all(good, interactive).await;
    }

    /// Waits until all good commands have their outcome. A bad one may have one, too.
    pub async fn have_outcomes(&mut self) -> Result<(), String> {
        let expected = self.connections;
        let users: Vec<String> = (1..=expected).map(|connection| format!("user-{connection}")).collect();
        let served = |platform: &Platform| users.iter().filter(|user| has_outcome(platform, user)).count();
        let patience = self.patience;
        let all = async {
            while served(&self.platform) < users.len() {
                self.platform.next_event().await;
            }
        };
        let in_time = timeout(patience, all).await.is_ok();
        let served = served(&self.platform);
        if in_time {
            return Ok(());
        }
        Err(format!(
            "{} good commands have no outcome after {patience:?}",
            users.len() - served
        ))
    }

    /// Sends good commands to each lane in turn, and names the lanes in which some have no outcome.
    pub async fn lanes_without_outcomes(&mut self) -> Vec<String> {
        let mut without = Vec::new();
        for (lane, interactive) in [("interactive", true), ("background", false)] {
            self.send(interactive).await;
            let case = self.have_outcomes().await.err();
            without.extend(case.map(|case| format!("{lane}: {case}")));
        }
        without
    }

    /// Publishes a bad message to the lane of the good ones.
    pub async fn publish_bad(&mut self, properties: &RawProperties, body: &[u8]) {
        let commands = self.platform.topology.commands();
        self.raw.publish(&commands, "interactive", properties, body).await;
    }

    /// What is wrong, if anything, beside one bad message.
    pub async fn are_served_beside_a_dead_letter(&mut self) -> Vec<String> {
        match self.are_served().await {
            Ok(()) => self.bad_are_dead(1).await.err().into_iter().collect(),
            Err(broken) => vec![broken],
        }
    }

    /// Waits for as long as good commands may take until a queue has so many messages.
    pub async fn until_ready(&self, queue: &str, count: u32) -> Result<(), String> {
        let mut ready = 0;
        let wait = async {
            loop {
                (ready, _) = self.platform.rabbit.depth(queue).await;
                if ready == count {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(self.patience, wait).await.is_ok();
        in_time
            .then_some(())
            .ok_or_else(|| format!("{queue} has {ready} messages, not {count}"))
    }

    /// The message ids of the dead letters, once there are so many, or good commands would have been served.
    pub async fn dead_message_ids(&self, count: usize) -> BTreeSet<String> {
        let queue = self.platform.topology.dead_letters();
        // Whatever is missing shows in the answer.
        let _ = self.until_ready(&queue, u32::try_from(count).expect("a few")).await;
        let (ready, _) = self.platform.rabbit.depth(&queue).await;
        let mut reader = Reader::new(&self.platform, &queue, 100);
        let mut ids = BTreeSet::new();
        for _ in 0..ready {
            ids.extend(reader.next().await.message.properties.message_id);
        }
        reader.broker.close().await;
        ids
    }

    /// The bad messages are dead letters, the only ones; they led to no event, and finAPI was not asked about their connection.
    pub async fn bad_are_dead(&self, count: u32) -> Result<(), String> {
        self.until_ready(&self.platform.topology.dead_letters(), count).await?;
        if self.platform.sandbox.asked().connections.contains_key(&BAD) {
            return Err("finAPI was asked about the bad message's connection".to_owned());
        }
        let bad = bad_user();
        if self
            .platform
            .events
            .values()
            .flatten()
            .any(|(event, _)| event.context().user_id == bad)
        {
            return Err("the bad message led to an event".to_owned());
        }
        Ok(())
    }
}

fn has_outcome(platform: &Platform, user: &str) -> bool {
    let mut events = platform.events.values().flatten().map(|(event, _)| event);
    events.any(|event| event.is_last() && event.context().user_id == user)
}

fn bad_user() -> String {
    bad_command().user_id
}

/// A command that is good in itself, for a message that is not. Always the same.
pub fn bad_command() -> RefreshConnection {
    RefreshConnection {
        command_id: "0198c0de-0000-4000-8000-000000000bad".to_owned(),
        requested_at: Some(SystemTime::now().into()),
        ..command(BAD)
    }
}

/// Its body.
pub fn bad_body() -> Vec<u8> {
    bad_command().encode_to_vec()
}

/// What `dead-letters` printed, and whether it succeeded.
pub async fn dead_letters(platform: &Platform, arguments: &[&str]) -> (bool, String) {
    let arguments = [&["dead-letters"], arguments].concat();
    let output = platform.program(&arguments, &[]).output().await.expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The properties that a command must have.
pub fn of_command() -> RawProperties {
    RawProperties::default().with(Property::Type, COMMAND_NAME.as_bytes())
}

/// A finAPI whose updates take half a second.
pub fn swift() -> SandboxConfig {
    SandboxConfig {
        ids_pick_behaviour: false,
        ..slow(Duration::from_millis(500))
    }
}
