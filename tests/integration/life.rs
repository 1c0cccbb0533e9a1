//! The life of worker processes: rolling restarts, a message that kills whoever runs it, and a process that freezes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{Method, header};
use bankrefresh::broker::Header;
use bankrefresh::message::REASON_HEADER;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::{ApiVersion, Endpoint, SandboxConfig};
use tokio::task::JoinHandle;

use crate::support::gate::{Deadly, Gate};
use crate::support::platform::{
    Log, Platform, Reader, WorkerProcess, assert_one_good_outcome_each, client, command, commands, free_address, quick,
    slow,
};

/// How long the neighbours of a message that kills workers may take. Most take half a minute. Those that were tried with it come back with
/// it, twenty times, and wait 45 s longer because a start may have been lost. An unoptimized worker on a busy machine begins its next life more
/// slowly.
const NEIGHBOURS_TIME: Duration = match cfg!(debug_assertions) {
    true => Duration::from_secs(240),
    false => Duration::from_secs(120),
};

/// The log line, and its field, of a message that goes to the quarantine.
const QUARANTINED: &str = "fate=\"quarantined\"";
/// The log line, and its field, of a message that killed all who tried it alone.
const DEAD_LETTERED: &str = "fate=\"dead_lettered\"";

/// How many commands the long form of a test sends is an environment variable's to say.
fn count(variable: &str, otherwise: i64) -> i64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| given.parse().expect("a number"))
}

/// A sample of a worker's metrics.
async fn metric(address: &str, name: &str) -> f64 {
    let shown = client().get(format!("http://{address}/metrics")).send().await;
    let text = shown.expect("an answer").text().await.expect("metrics");
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in\n{text}"));
    let value = line.rsplit(' ').next().unwrap_or_default();
    value.parse().expect("a number")
}

/// A worker that is started again whenever its life ends.
struct Restarted {
    address: String,
    process: WorkerProcess,
}

impl Restarted {
    fn start(platform: &Platform, in_flight: &str) -> Self {
        let address = free_address();
        let process = platform.worker(&[
            ("ADMIN__LISTEN", &address),
            ("WORKER__IN_FLIGHT", in_flight),
            // A debug build on a busy machine parks more slowly.
            ("WORKER__DRAIN_TIMEOUT", "20s"),
        ]);
        Self { address, process }
    }

    /// How many deliveries came back to this life.
    async fn redeliveries(&self) -> f64 {
        metric(&self.address, "bankrefresh_redeliveries_total").await
    }
}

/// Set `LIFE_COMMANDS=10000` for the long form, in which workers have as much in flight as by default.
#[tokio::test]
async fn three_rolling_restarts_under_a_backlog_quarantine_nothing() {
    let config = SandboxConfig {
        ids_pick_behaviour: false,
        ..slow(Duration::from_secs(2))
    };
    let mut platform = Platform::start(config).await;
    let total = count("LIFE_COMMANDS", 3_000);
    // Less than half of the commands are in flight, so that more are delivered while a worker stops.
    let in_flight = if total < 10_000 { "500" } else { "2000" };
    let start = |platform: &Platform| Restarted::start(platform, in_flight);
    let mut workers = [start(&platform), start(&platform)];
    for worker in &mut workers {
        worker.process.log.until("connected to RabbitMQ").await;
    }
    let started = Instant::now();
    platform.send_all(commands(total), false).await;
    let mut redeliveries = Vec::new();
    let mut stops = Vec::new();
    for _ in 0..3 {
        for worker in &mut workers {
            redeliveries.push(worker.redeliveries().await);
            let since = Instant::now();
            worker.process.signal("TERM").await;
            assert!(worker.process.ended().await.success());
            stops.push(since.elapsed());
            let log = worker.process.log.text();
            assert!(!log.contains(QUARANTINED), "{log}");
            *worker = start(&platform);
            worker.process.log.until("connected to RabbitMQ").await;
        }
    }
    let restarted = started.elapsed();
    platform.outcomes(usize::try_from(total).expect("a count")).await;
    for worker in &workers {
        redeliveries.push(worker.redeliveries().await);
        let fates = metric(&worker.address, "bankrefresh_deliveries_total{fate=\"quarantined\"").await;
        assert_eq!(fates, 0.0);
        assert!(!worker.process.log.text().contains(QUARANTINED));
    }
    println!(
        "{total} commands: six restarts after {restarted:?}, all outcomes after {:?}; stops took {stops:?}; redeliveries {redeliveries:?}",
        started.elapsed()
    );
    // RabbitMQ may lose some of the last acknowledgements of a channel.
    let redelivered: f64 = redeliveries.iter().sum();
    assert!(
        redelivered * 100.0 <= total as f64,
        "{redelivered} deliveries came back"
    );
    assert_one_good_outcome_each(&platform, usize::try_from(total).expect("a count"));
}

/// The bearer token, or the user, that a worker dies of.
const POISON: &str = "poison";

/// Its first request with the token of the command kills the worker.
fn is_deadly_run(request: &Request) -> bool {
    let bearer = request.headers().get(header::AUTHORIZATION);
    bearer.is_some_and(|bearer| bearer.as_bytes().ends_with(POISON.as_bytes()))
}

/// The request for its user's password kills the worker.
fn is_deadly_token(request: &Request) -> bool {
    request.uri().path().ends_with(POISON)
}

#[tokio::test]
async fn a_message_that_kills_whoever_runs_it_is_isolated_and_2000_neighbours_are_done() {
    let poison = RefreshConnection {
        access_token: POISON.to_owned(),
        ..command(1_000_000)
    };
    isolates(poison, is_deadly_run, count("LIFE_NEIGHBOURS", 2_000)).await;
}

#[tokio::test]
async fn a_message_whose_token_kills_whoever_fetches_it_is_isolated_and_2000_neighbours_are_done() {
    let poison = RefreshConnection {
        user_id: POISON.to_owned(),
        ..command(1_000_000)
    };
    isolates(poison, is_deadly_token, count("LIFE_NEIGHBOURS", 2_000)).await;
}

/// What all lives of one worker have left behind.
type Logs = Arc<Mutex<Vec<Log>>>;

/// Starts a worker again whenever it dies.
async fn supervise(platform: &Platform, deadly: Deadly) -> (Logs, JoinHandle<()>) {
    let gate = Gate::start(platform, deadly).await;
    let credentials = format!("{}/sandbox/credentials", gate.url);
    let settings = [
        ("FINAPI__ACCESS_URL", gate.url.as_str()),
        ("FINAPI__WEB_FORM_URL", &gate.url),
        ("CREDENTIALS__URL", &credentials),
    ];
    let mut program = platform.program(&["worker"], &settings);
    let logs = Logs::default();
    let kept = Arc::clone(&logs);
    let supervising = tokio::spawn(async move {
        loop {
            let mut life = WorkerProcess::start(&mut program);
            gate.serves(life.child.id());
            kept.lock().expect("the logs").push(life.log.clone());
            life.child.wait().await.expect("its status");
        }
    });
    (logs, supervising)
}

async fn isolates(poison: RefreshConnection, deadly: Deadly, neighbours: i64) {
    let mut platform = Platform::start(quick()).await;
    let poison_id = poison.command_id.clone();
    // In the middle, before any worker runs, so that they are prefetched together.
    let mut all = commands(neighbours);
    all.insert(all.len() / 2, poison);
    platform.send_all(all, false).await;
    let started = Instant::now();
    let (first, one) = supervise(&platform, deadly).await;
    let (second, other) = supervise(&platform, deadly).await;
    platform.outcomes(usize::try_from(neighbours).expect("a count")).await;
    let neighbours_took = started.elapsed();
    platform
        .until_depth(&platform.topology.dead_letters(), |(ready, _)| ready == 1)
        .await;
    let took = started.elapsed();
    one.abort();
    other.abort();
    let logs: Vec<Log> = [first, second]
        .iter()
        .flat_map(|logs| logs.lock().expect("the logs").clone())
        .collect();
    let lines = |text: &str| {
        let count = |log: &Log| log.text().matches(text).count();
        logs.iter().map(count).sum::<usize>()
    };
    println!(
        "{neighbours} neighbours took {neighbours_took:?}, the dead letter {took:?}; {} lives, {} deliveries quarantined",
        logs.len(),
        lines(QUARANTINED)
    );
    let mut reader = Reader::new(&platform, &platform.topology.dead_letters(), 1);
    let dead = reader.next().await.message;
    let header = |name: &str| dead.properties.headers.get(name).and_then(Header::as_text);
    let reason = header(REASON_HEADER);
    // There may be two messages of it. If one kills the worker that is just giving up the other one, RabbitMQ does that.
    let by_broker = reason.is_none() && header("x-first-death-reason") == Some("delivery_limit");
    assert!(
        by_broker || reason.is_some_and(|reason| reason.contains("tried it alone")),
        "{:?}",
        dead.properties.headers
    );
    assert_eq!(
        dead.properties.correlation_id.as_deref(),
        Some(format!("c-{poison_id}").as_str())
    );
    reader.broker.close().await;
    assert_eq!(
        lines(DEAD_LETTERED),
        usize::from(!by_broker),
        "no neighbour is a dead letter"
    );
    assert!(neighbours_took < NEIGHBOURS_TIME, "{neighbours_took:?}");
    assert_one_good_outcome_each(&platform, usize::try_from(neighbours).expect("a count"));
}

#[tokio::test]
async fn a_worker_that_was_frozen_starts_nothing_before_it_hears_from_the_broker() {
    const REFRESHES: i64 = 20;
    let mut platform = Platform::start(quick()).await;
    let gate = Gate::start(&platform, |_| false).await;
    let rate = ("FINAPI__REQUESTS_PER_SECOND", "8");
    let mut frozen = platform.worker(&[
        rate,
        ("FINAPI__ACCESS_URL", &gate.url),
        ("FINAPI__WEB_FORM_URL", &gate.url),
        ("AMQP__HEARTBEAT", "3s"),
    ]);
    frozen.log.until("connected to RabbitMQ").await;
    let sent = Instant::now();
    platform.send_all(commands(REFRESHES), false).await;
    // Each has searched for a task and found none, and waits for its turn to start one.
    let searched = || gate.requests_since(sent, &Method::GET, Endpoint::Tasks.path(ApiVersion::V2));
    while searched() < 12 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    frozen.signal("STOP").await;
    let posts = |since: Instant| gate.requests_since(since, &Method::POST, Endpoint::StartUpdate.path(ApiVersion::V2));
    let before = posts(sent);
    let frozen_at = Instant::now();
    let mut other = platform.worker(&[rate]);
    platform.outcomes(usize::try_from(REFRESHES).expect("a count")).await;
    let woken_at = Instant::now();
    frozen.signal("CONT").await;
    frozen.log.until("lost the connection").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = posts(woken_at);
    println!(
        "frozen for {:?} after {before} of {REFRESHES} starts; {after} starts after it woke",
        woken_at - frozen_at
    );
    assert_eq!(after, 0, "it started something:\n{}", frozen.log.text());
    assert_one_good_outcome_each(&platform, usize::try_from(REFRESHES).expect("a count"));
    // It works again, by itself.
    other.signal("TERM").await;
    other.ended().await;
    platform.send_all((101..=105).map(command).collect(), false).await;
    platform
        .outcomes(usize::try_from(REFRESHES).expect("a count") + 5)
        .await;
    let connections: BTreeSet<i64> = (platform.events.values().flatten())
        .filter_map(|(event, _)| match event.kind() {
            EventKind::TransactionsUpdated(_) => Some(event.context().bank_connection_id),
            _ => None,
        })
        .collect();
    assert_eq!(connections.len(), 25);
    assert_eq!(posts(woken_at), 5);
    assert_one_good_outcome_each(&platform, 25);
}
