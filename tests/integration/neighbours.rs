//! One bad neighbour stops nobody: a hundred users beside one that is bad for good, compared with the run just before without it.

mod dead_connections;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{After, BodyFault, Endpoint, Fault, FaultKind, SandboxConfig};
use dead_connections::Proxy;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout_at};

use crate::support::platform::{Platform, WorkerProcess, command, free_address, slow, status};

/// How many are well.
const WELL: i64 = 100;

/// So many of them send their commands at once, and the next ones a little later.
const AT_ONCE: i64 = 10;
const APART: Duration = Duration::from_millis(300);

/// How late the well ones' outcomes were, and when all were there.
struct Times(Vec<Duration>);

impl Times {
    fn p95(&self) -> Duration {
        self.0[self.0.len() * 95 / 100 - 1]
    }

    /// How late 95 % may be beside a bad one.
    fn bound(&self) -> Duration {
        2 * self.p95() + Duration::from_millis(500)
    }
}

/// A finAPI whose updates take a second, where calls meet faults.
fn finapi(faults: Vec<Fault>) -> SandboxConfig {
    SandboxConfig {
        faults,
        ids_pick_behaviour: false,
        ..slow(Duration::from_secs(1))
    }
}

fn bad(connection: i64, user: &str) -> RefreshConnection {
    RefreshConnection {
        user_id: user.to_owned(),
        ..command(connection)
    }
}

/// Commands of one bad user, for several connections.
fn of_bad_user(count: i64) -> Vec<RefreshConnection> {
    (0..count).map(|number| bad(1000 + number % 20, "bad")).collect()
}

/// Has each of the well ones send a command, and waits for their outcomes.
async fn well_ones(platform: &mut Platform, interactive: bool) -> Times {
    let mut sent = BTreeMap::new();
    let mut times = Vec::new();
    let mut take = |event: &Event, sent: &BTreeMap<String, Instant>| {
        let is_outcome = event.is_last() && matches!(event.kind(), EventKind::TransactionsUpdated(_));
        if let Some(at) = sent.get(&event.context().command_id).filter(|_| is_outcome) {
            times.push(at.elapsed());
        }
        times.len()
    };
    let mut done = 0;
    for first in (1..=WELL).step_by(AT_ONCE as usize) {
        let commands: Vec<_> = (first..first + AT_ONCE).map(command).collect();
        sent.extend(
            commands
                .iter()
                .map(|command| (command.command_id.clone(), Instant::now())),
        );
        platform.send_all(commands, interactive).await;
        let next = tokio::time::Instant::now() + APART;
        while let Ok(event) = timeout_at(next, platform.next_event()).await {
            done = take(&event, &sent);
        }
    }
    while done < WELL as usize {
        done = take(&platform.next_event().await, &sent);
    }
    times.sort();
    Times(times)
}

/// A worker that says of itself what it has in flight.
struct Watched {
    process: WorkerProcess,
    admin: String,
}

impl Watched {
    fn start(platform: &Platform, settings: &[(&str, &str)]) -> Self {
        let admin = free_address();
        let listening = [("ADMIN__LISTEN", admin.as_str())];
        let process = platform.worker(&[&listening, settings].concat());
        Self { process, admin }
    }

    fn log(&self) -> String {
        self.process.log.text()
    }

    /// Waits until no more runs and no more permits are in use than this, and says how many refreshes wait then.
    async fn settles(&self, in_use_max: u64) -> u64 {
        let mut last = None;
        for _ in 0..100 {
            let status = status(&self.admin).await.expect("a status");
            let number = |name: &str| status[name].as_u64().expect("a number");
            let calls = status["finapi_calls"]["running"].as_u64().expect("a number");
            if number("running").max(calls) <= in_use_max {
                let held = status["held"].as_object().expect("the phases").values();
                let held: u64 = held.map(|phase| phase["count"].as_u64().expect("a number")).sum();
                return held + number("awaiting_token") + number("publishing");
            }
            last = Some(status);
            sleep(Duration::from_millis(100)).await;
        }
        panic!("more than {in_use_max} runs or permits are in use: {last:?}");
    }
}

/// The well ones alone, and then beside these commands.
async fn are_not_delayed(platform: &mut Platform, worker: &Watched, bad: Vec<RefreshConnection>) {
    let alone = well_ones(platform, true).await;
    assert_eq!(worker.settles(0).await, 0, "all of them are done");
    platform.send_all(bad, true).await;
    sleep(Duration::from_secs(1)).await;
    let beside = well_ones(platform, true).await;
    println!("95 % within {:?} alone and {:?} beside it", alone.p95(), beside.p95());
    assert!(
        beside.p95() <= alone.bound(),
        "95 % within {:?}, {:?} alone",
        beside.p95(),
        alone.p95()
    );
}

#[tokio::test]
async fn one_user_whose_calls_answer_500_delays_nobody() {
    for endpoint in [Endpoint::Tasks, Endpoint::BankConnection] {
        let fault = Fault {
            user_id: Some("bad".to_owned()),
            ..Fault::at(endpoint, FaultKind::status(500))
        };
        let mut platform = Platform::start(finapi(vec![fault])).await;
        let worker = Watched::start(&platform, &[]);
        are_not_delayed(&mut platform, &worker, of_bad_user(20)).await;
        worker.settles(0).await;
        assert!(!worker.log().contains("its breaker is open"), "{}", worker.log());
    }
}

#[tokio::test]
async fn twelve_users_whose_bodies_never_end_delay_nobody() {
    let drips = FaultKind::Body(BodyFault::Drips {
        bytes: 1,
        every: Duration::from_secs(1),
    });
    let users: Vec<String> = (0..12).map(|number| format!("bad-{number}")).collect();
    let fault = |user: &String| Fault {
        user_id: Some(user.clone()),
        ..Fault::at(Endpoint::Transactions, drips.clone())
    };
    let mut platform = Platform::start(finapi(users.iter().map(fault).collect())).await;
    let worker = Watched::start(&platform, &[("FINAPI__TIMEOUT", "3s")]);
    let commands = users.iter().zip(2000..).map(|(user, connection)| bad(connection, user));
    are_not_delayed(&mut platform, &worker, commands.collect()).await;
    sleep(Duration::from_secs(4)).await;
    // Each has one call at a time, which goes on.
    worker.settles(12).await;
    let log = worker.log();
    assert!(log.contains("no response in time"), "{log}");
    assert!(!log.contains("its breaker is open"), "{log}");
}

#[tokio::test]
async fn one_user_whose_credentials_never_come_delays_nobody() {
    let credential = |Path(user): Path<String>| async move {
        if user == "bad" {
            std::future::pending::<()>().await;
        }
        format!(r#"{{"password":"secret-{user}"}}"#)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/{user}", get(credential));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut platform = Platform::start(finapi(Vec::new())).await;
    let worker = Watched::start(&platform, &[("CREDENTIALS__URL", &url), ("FINAPI__CALLS_MAX", "16")]);
    are_not_delayed(&mut platform, &worker, of_bad_user(100)).await;
    assert!(worker.settles(0).await > 0, "the bad one's wait for a token");
    assert!(!worker.log().contains("its breaker is open"), "{}", worker.log());
}

/// A user may have an eighth of the runs at once.
#[tokio::test]
async fn one_user_whose_calls_hang_has_its_share_of_the_runs_and_delays_nobody() {
    let by = After::secs(10);
    let fault = Fault {
        user_id: Some("bad".to_owned()),
        ..Fault::at(Endpoint::Tasks, FaultKind::Slow { by })
    };
    let mut platform = Platform::start(finapi(vec![fault])).await;
    let worker = Watched::start(&platform, &[("FINAPI__CALLS_MAX", "16")]);
    are_not_delayed(&mut platform, &worker, of_bad_user(100)).await;
    worker.settles(2).await;
}

#[tokio::test]
async fn behind_one_users_flood_the_others_are_served_within_half_a_minute() {
    let mut platform = Platform::start(finapi(Vec::new())).await;
    let worker = Watched::start(&platform, &[("WORKER__IN_FLIGHT", "100")]);
    let alone = well_ones(&mut platform, false).await;
    platform.send_all(of_bad_user(8000), false).await;
    let behind = well_ones(&mut platform, false).await;
    let after = well_ones(&mut platform, false).await;
    println!(
        "95 % within {:?} alone, {:?} behind the flood, {:?} after it was parked",
        alone.p95(),
        behind.p95(),
        after.p95()
    );
    // The bad user's eighth of 64.
    worker.settles(8).await;
    assert!(behind.p95() <= Duration::from_secs(30), "{:?}", behind.p95());
    assert!(
        after.p95() <= alone.bound(),
        "{:?}, {:?} alone",
        after.p95(),
        alone.p95()
    );
}

#[tokio::test]
async fn kept_connections_that_died_without_a_word_delay_nobody_for_long() {
    let mut platform = Platform::start(finapi(Vec::new())).await;
    let proxy = Proxy::start(platform.finapi_url.trim_start_matches("http://").to_owned()).await;
    let (access, web_form) = ("FINAPI__ACCESS_URL", "FINAPI__WEB_FORM_URL");
    let worker = Watched::start(&platform, &[(access, &proxy.url), (web_form, &proxy.url)]);
    let alone = well_ones(&mut platform, true).await;
    // Many at once, so that many connections are kept.
    let burst = platform.events.len() + 100;
    platform.send_all((3000..3100).map(command).collect(), true).await;
    platform.outcomes(burst).await;
    let forgotten = proxy.forget();
    assert!(forgotten >= 20, "{forgotten} connections were kept");
    let beside = well_ones(&mut platform, true).await;
    assert_eq!(worker.settles(0).await, 0, "all of them are done");
    println!(
        "95 % within {:?} alone, {:?} with {forgotten} dead connections",
        alone.p95(),
        beside.p95()
    );
    assert!(
        beside.p95() <= alone.bound(),
        "{:?}, {:?} alone",
        beside.p95(),
        alone.p95()
    );
}
