//! A platform around real workers: a private RabbitMQ, finAPI's simulator over HTTP, and the program itself in processes of its
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{
    Broker, BrokerEvent, BrokerEvents, Delivery, Message, Outgoing, PublishError, Subscription, rabbit,
};
use bankrefresh::message;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::Envelope;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{self, After, Behaviour, Sandbox, SandboxConfig, Script};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::guard::Guard;
use super::rabbitmq::{self, RabbitMq};

/// Nothing that a test waits for takes longer on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct Platform {
    pub rabbit: &'static RabbitMq,
    pub topology: Topology,
    pub sandbox: Arc<Sandbox>,
    pub broker: Broker,
    pub finapi_url: String,
    /// The broker's, with the virtual host.
    url: String,
    prefix: String,
    broker_events: BrokerEvents,
    /// Every event so far by command, with the message it came in.
    pub events: BTreeMap<String, Vec<(Event, Message)>>,
    /// How long an event may take.
    pub patience: Duration,
    /// Why the observer lost the broker, each time. Events that come while it is away are not kept for it.
    lost: Vec<String>,
}

/// A `bankrefresh worker`, ended with the test at the latest.
pub struct WorkerProcess {
    pub child: Child,
    pub log: Log,
    /// The most memory that it may have had in the end, in kB.
    pub resident_kb_max: u64,
    _guard: Guard,
}

/// The most memory that a worker may have had, in kB, whatever was done to it. Unoptimized ones had 84,248 and 118,000 when many refreshes came
/// back to them at once, and 142,260 to 170,004 with 5,000 in flight.
const RESIDENT_KB_MAX: u64 = if cfg!(debug_assertions) { 250_000 } else { 80_000 };

/// What a process has written so far.
#[derive(Clone)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    written: watch::Receiver<usize>,
}

impl Platform {
    /// A platform on the broker that all tests share.
    pub async fn start(config: SandboxConfig) -> Self {
        Self::on(rabbitmq::shared().await, config).await
    }

    /// A platform on a broker of its own.
    pub async fn on(rabbit: &'static RabbitMq, config: SandboxConfig) -> Self {
        Self::under(rabbitmq::prefix(), rabbit, true, config).await
    }

    /// A platform under a prefix, which declares the topology or finds it there.
    pub async fn under(prefix: String, rabbit: &'static RabbitMq, declare: bool, config: SandboxConfig) -> Self {
        Self::at(rabbit.url(), prefix, rabbit, declare, config).await
    }

    /// A platform in a virtual host of its own on the broker that all tests share.
    pub async fn in_vhost(name: &str, config: SandboxConfig) -> Self {
        let rabbit = rabbitmq::shared().await;
        let url = rabbit.add_vhost(name).await;
        Self::at(url, rabbitmq::prefix(), rabbit, true, config).await
    }

    async fn at(url: String, prefix: String, rabbit: &'static RabbitMq, declare: bool, config: SandboxConfig) -> Self {
        let topology = Topology::new(&prefix);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let finapi_url = format!("http://{}", listener.local_addr().expect("an address"));
        let sandbox = Sandbox::new(config);
        tokio::spawn(sandbox::serve(sandbox.clone(), listener, std::future::pending()));
        let ephemeral = Subscription::Ephemeral {
            exchange: topology.events(),
            keys: vec!["#".to_owned()],
            optional: false,
        };
        let settings = rabbit::Settings {
            declare,
            ..rabbit::Settings::new(url.parse().expect("a URL"))
        };
        let (client, mut broker_events) =
            rabbit::connect(settings, topology.clone(), vec![ephemeral]).expect("settings");
        match timeout(PATIENCE, broker_events.recv()).await {
            Ok(Some(BrokerEvent::Connected { .. })) => {}
            other => panic!("no connection to the broker: {other:?}"),
        }
        Self {
            rabbit,
            topology,
            sandbox,
            broker: Broker::Rabbit(client),
            finapi_url,
            url,
            prefix,
            broker_events,
            events: BTreeMap::new(),
            patience: PATIENCE,
            lost: Vec::new(),
        }
    }

    /// The program with this platform's settings, and these on top.
    pub fn program(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        self.program_at(env!("CARGO_BIN_EXE_bankrefresh"), arguments, settings)
    }

    /// The same of another release.
    pub fn program_at(&self, path: impl AsRef<OsStr>, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .env("BANKREFRESH__AMQP__URL", &self.url)
            .env("BANKREFRESH__AMQP__PREFIX", &self.prefix)
            .env("BANKREFRESH__FINAPI__ACCESS_URL", &self.finapi_url)
            .env("BANKREFRESH__FINAPI__WEB_FORM_URL", &self.finapi_url)
            .env("BANKREFRESH__FINAPI__CLIENT_ID", "sandbox-client")
            .env("BANKREFRESH__FINAPI__CLIENT_SECRET", "sandbox-secret")
            .env("BANKREFRESH__CREDENTIALS__SOURCE", "http")
            .env(
                "BANKREFRESH__CREDENTIALS__URL",
                format!("{}/sandbox/credentials", self.finapi_url),
            )
            .env("BANKREFRESH__POLLING__INITIAL", "1s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in settings {
            command.env(format!("BANKREFRESH__{name}"), value);
        }
        command
    }

    /// Starts a worker.
    pub fn worker(&self, settings: &[(&str, &str)]) -> WorkerProcess {
        WorkerProcess::start(&mut self.program(&["worker"], settings))
    }

    /// Starts a worker in a shell that has run something before, with an argument of its own as `$1`.
    pub fn worker_after(&self, before: &str, argument: impl AsRef<OsStr>, settings: &[(&str, &str)]) -> WorkerProcess {
        let program = self.program(&["worker"], settings);
        let program = program.as_std();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &format!("{before} && exec \"$0\" worker")])
            .args([program.get_program(), argument.as_ref()])
            .env_clear()
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        WorkerProcess::start(&mut shell)
    }

    /// Publishes a command and says its id.
    pub async fn send(&self, command: RefreshConnection) -> String {
        let id = command.command_id.clone();
        self.send_all(vec![command], true).await;
        id
    }

    /// Publishes commands.
    pub async fn send_all(&self, commands: Vec<RefreshConnection>, interactive: bool) {
        let now = Timestamp::now();
        let messages: Vec<Outgoing> = commands
            .into_iter()
            .map(|command| {
                let envelope = Envelope {
                    interactive,
                    correlation_id: format!("c-{}", command.command_id),
                    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
                    ..Envelope::default()
                };
                message::command(&self.topology, command, &envelope, now)
            })
            .collect();
        let publish = async {
            while let Err(error) = self.broker.publish(messages.clone()).await {
                // A cluster that loses a queue's leader refuses what it can't be sure of.
                let passes = matches!(
                    error,
                    PublishError::Down | PublishError::Refused | PublishError::TimedOut
                );
                assert!(passes, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, publish)
            .await
            .expect("the broker takes commands in time");
    }

    /// Takes in one event.
    pub async fn next_event(&mut self) -> Event {
        loop {
            let patience = self.patience;
            let Ok(broker_event) = timeout(patience, self.broker_events.recv()).await else {
                let depths = self.depths().await;
                let over = self.events.keys().filter(|id| self.is_over(id)).count();
                let lost = &self.lost;
                panic!(
                    "no event in {patience:?}; {over} commands have their outcome; the observer lost the broker: {lost:?}\n{depths}"
                );
            };
            let delivery = match broker_event.expect("the broker client lives") {
                BrokerEvent::Delivery(delivery) => delivery,
                BrokerEvent::Connected { .. } | BrokerEvent::CaughtUp { .. } => continue,
                BrokerEvent::Disconnected { reason, .. } => {
                    self.lost.push(reason);
                    continue;
                }
            };
            let message = delivery.message;
            let kind = message.properties.kind.clone().expect("a type");
            let event = Event::decode(&kind, &message.body).expect("an event");
            let id = event.context().command_id.clone();
            self.events.entry(id).or_default().push((event.clone(), message));
            return event;
        }
    }

    /// The events of a command, once its outcome is among them.
    pub async fn outcome(&mut self, command_id: &str) -> Vec<Event> {
        while !self.is_over(command_id) {
            self.next_event().await;
        }
        self.events[command_id].iter().map(|(event, _)| event.clone()).collect()
    }

    /// Waits until so many commands have their outcome.
    pub async fn outcomes(&mut self, count: usize) {
        let mut over = self.events.keys().filter(|id| self.is_over(id)).count();
        while over < count {
            let event = self.next_event().await;
            let id = &event.context().command_id;
            let first = self.events[id].iter().filter(|(event, _)| event.is_last()).count() == 1;
            over += usize::from(event.is_last() && first);
        }
    }

    /// Where the user of a command acts, who was asked.
    pub fn web_form(&self, command_id: &str) -> String {
        let (event, _) = &self.events[command_id][0];
        match event.kind() {
            EventKind::UserActionRequired(asked) => asked.web_form_url.clone(),
            _ => panic!("{event:?}"),
        }
    }

    fn is_over(&self, command_id: &str) -> bool {
        self.events
            .get(command_id)
            .is_some_and(|events| events.iter().any(|(event, _)| event.is_last()))
    }

    /// Waits until a queue holds this many messages, ready and unacknowledged.
    pub async fn until_depth(&self, queue: &str, enough: impl Fn((u32, u32)) -> bool) {
        let mut seen = (0, 0);
        let wait = async {
            loop {
                seen = self.depth(queue).await;
                if enough(seen) {
                    return;
                }
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("queue {queue} has (ready, unacknowledged) {seen:?}");
        }
    }

    /// Waits until nobody is sent anything of a queue.
    pub async fn until_cancelled(&self, queue: &str) {
        timeout(PATIENCE, self.rabbit.cancelled(queue))
            .await
            .expect("no consumer is left");
    }

    /// A line for each queue: its name, how many messages are ready, and how many unacknowledged, as its leader counts them now.
    async fn depths(&self) -> String {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let list = ["list_queues", "-q", "--no-table-headers"];
        self.rabbit.ctl(&[&list[..], &columns].concat()).await
    }

    async fn depth(&self, queue: &str) -> (u32, u32) {
        let listed = self.depths().await;
        let line = listed
            .lines()
            .find(|line| line.split_whitespace().next() == Some(queue));
        let mut counts = line
            .into_iter()
            .flat_map(|line| line.split_whitespace().skip(1))
            .map(|count| count.parse().expect("a count"));
        (counts.next().unwrap_or(0), counts.next().unwrap_or(0))
    }

    /// Waits until the sandbox has been asked enough.
    pub async fn until_asked(&self, enough: impl Fn(&sandbox::Asked) -> bool) {
        let wait = async {
            while !enough(&self.sandbox.asked()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("finAPI is asked in time");
    }

    /// The most updates that were started for any connection.
    pub fn updates_per_connection_max(&self) -> u64 {
        self.sandbox
            .asked()
            .connections
            .values()
            .map(|asked| asked.tasks_made)
            .max()
            .unwrap_or(0)
    }
}

impl WorkerProcess {
    /// Starts a program that [`Platform::program`] prepared.
    pub fn start(program: &mut Command) -> Self {
        let mut child = program.spawn().expect("the program starts");
        let pid = child.id().expect("a process id").to_string();
        let log = Log::of(&mut child);
        Self {
            child,
            log,
            resident_kb_max: RESIDENT_KB_MAX,
            _guard: Guard::new("kill -9 $1", &[&pid]),
        }
    }

    /// The most memory that it has had so far, in kB; none once it has ended.
    pub fn resident_max(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kb = line.split_whitespace().next()?;
        Some(kb.parse().expect("a number"))
    }

    /// Sends a signal, by name.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().await;
        assert!(status.expect("kill runs").success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends in time")
            .expect("its status")
    }
}

/// Whatever a test does to a worker, its memory stays bounded.
impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if let Some(resident) = self.resident_max().filter(|_| !std::thread::panicking()) {
            println!("a worker had {resident} kB of memory");
            assert!(resident <= self.resident_kb_max, "a worker had {resident} kB of memory");
        }
    }
}

impl Log {
    pub fn of(child: &mut Child) -> Self {
        let (write, written) = watch::channel(0);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let out = Arc::clone(&lines);
        tokio::spawn(async move {
            let stdout = BufReader::new(stdout.expect("its output")).lines();
            let stderr = BufReader::new(stderr.expect("its errors")).lines();
            let (mut stdout, mut stderr) = (stdout, stderr);
            while let Ok(Some(line)) = tokio::select! {
                Ok(Some(line)) = stdout.next_line() => Ok(Some(line)),
                line = stderr.next_line() => line,
            } {
                let mut lines = out.lock().expect("the lines");
                lines.push(line);
                write.send_replace(lines.len());
            }
        });
        Self { lines, written }
    }

    /// Waits for a line that has this text.
    pub async fn until(&mut self, text: &str) {
        let lines = Arc::clone(&self.lines);
        let has = |_: &usize| lines.lock().expect("the lines").iter().any(|line| line.contains(text));
        let found = timeout(PATIENCE, self.written.wait_for(has))
            .await
            .is_ok_and(|seen| seen.is_ok());
        if !found {
            panic!("no line with {text:?} in:\n{}", self.text());
        }
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.lock().expect("the lines").join("\n")
    }
}

/// A command for a connection of a user of its own.
pub fn command(bank_connection_id: i64) -> RefreshConnection {
    RefreshConnection {
        command_id: Uuid::now_v7().to_string(),
        user_id: format!("user-{bank_connection_id}"),
        bank_connection_id,
        ..RefreshConnection::default()
    }
}

/// A client for whatever listens here.
pub fn client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::new()
}

/// What a worker says of itself at its operators' listener; none while that is not there.
pub async fn status(address: &str) -> Option<Value> {
    let response = client().get(format!("http://{address}/status")).send().await.ok()?;
    let text = response.text().await.ok()?;
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// What TLS needs in this process.
pub fn install_crypto() {
    // Fails when another test has installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A port of loopback's that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A sandbox whose users and banks are quick.
pub fn quick() -> SandboxConfig {
    let api_version = match speaks_v1() {
        true => sandbox::ApiVersion::V1,
        false => sandbox::ApiVersion::V2,
    };
    SandboxConfig {
        api_version,
        web_form_life: Duration::from_secs(4),
        default_script: Script {
            settles: sandbox::After::millis(100),
            ..Script::of(silent())
        },
        ..SandboxConfig::default()
    }
}

/// Tests that are about no version of Access speak V2, or V1 where this says so: `scripts/check` runs use cases in both.
pub fn speaks_v1() -> bool {
    std::env::var("BANKREFRESH_TEST_API_VERSION").is_ok_and(|version| version == "v1")
}

/// An update that takes a second and a half.
pub fn silent() -> sandbox::Behaviour {
    sandbox::Behaviour::Silent {
        after: sandbox::After::millis(1500),
    }
}

/// Somebody who reads a queue, beside the workers. Dropped or closed, what was not acknowledged goes back.
pub struct Reader {
    pub broker: Broker,
    broker_events: BrokerEvents,
}

impl Reader {
    pub fn new(platform: &Platform, queue: &str, prefetch: u16) -> Self {
        let subscription = Subscription::Queue {
            name: queue.to_owned(),
            prefetch,
            paused: false,
        };
        let settings = rabbit::Settings::new(platform.rabbit.url().parse().expect("a URL"));
        let (rabbit, broker_events) =
            rabbit::connect(settings, platform.topology.clone(), vec![subscription]).expect("settings");
        let broker = Broker::Rabbit(rabbit);
        Self { broker, broker_events }
    }

    pub async fn next(&mut self) -> Delivery {
        loop {
            match timeout(PATIENCE, self.broker_events.recv())
                .await
                .expect("a message in time")
            {
                Some(BrokerEvent::Delivery(delivery)) => return delivery,
                Some(
                    BrokerEvent::Connected { .. } | BrokerEvent::Disconnected { .. } | BrokerEvent::CaughtUp { .. },
                ) => {}
                None => panic!("the broker client has ended"),
            }
        }
    }
}

/// Takes so many messages of a queue and goes away without a word.
pub async fn die_with(platform: &Platform, queue: &str, count: u16) {
    let mut reader = Reader::new(platform, queue, count);
    for _ in 0..count {
        reader.next().await;
    }
    reader.broker.close().await;
}

/// Interactive commands of the connections from 1 on.
pub fn commands(count: i64) -> Vec<RefreshConnection> {
    (1..=count).map(command).collect()
}

/// Updates that take a while, so that workers hold them.
pub fn slow(after: Duration) -> SandboxConfig {
    let default_script = Script::of(Behaviour::Silent {
        after: After::Fixed(after),
    });
    SandboxConfig {
        default_script,
        ..quick()
    }
}

/// Each command has one outcome, by event id, and none of them failed.
pub fn assert_one_good_outcome_each(platform: &Platform, commands: usize) {
    assert_eq!(platform.events.len(), commands);
    for (command, events) in &platform.events {
        let ids: BTreeSet<String> = events
            .iter()
            .map(|(event, _)| event.context().event_id.clone())
            .collect();
        assert_eq!(ids.len(), 1, "{command}: {events:?}");
        assert!(
            events
                .iter()
                .all(|(event, _)| matches!(event.kind(), EventKind::TransactionsUpdated(_)))
        );
    }
    assert_eq!(platform.updates_per_connection_max(), 1, "no bank was asked twice");
}

/// Where nobody listens.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
