//! A message that kills whoever works on it, among many that are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::sleep;

use super::{bad, finapi};
use crate::support::platform::{Platform, WorkerProcess, command, resident_max};

/// How many are well.
const WELL: i64 = 2000;

/// How long a worker that died is gone.
const GONE: Duration = Duration::from_secs(1);

/// A worker that is started again whenever it dies.
#[derive(Clone, Default)]
struct Mortal {
    process_id: Arc<AtomicU32>,
    deaths: Arc<AtomicU32>,
    resident_max: Arc<AtomicU64>,
}

impl Mortal {
    async fn live(self, mut program: Command) {
        loop {
            let mut worker = WorkerProcess::start(&mut program);
            self.process_id
                .store(worker.child.id().expect("it runs"), Ordering::Relaxed);
            worker.child.wait().await.expect("its end");
            self.deaths.fetch_add(1, Ordering::Relaxed);
            sleep(GONE).await;
        }
    }

    fn die(&self) {
        let id = self.process_id.load(Ordering::Relaxed);
        self.look(id);
        let killed = std::process::Command::new("kill")
            .args(["-9", &id.to_string()])
            .status();
        assert!(killed.expect("kill runs").success());
    }

    fn look(&self, id: u32) {
        let resident = resident_max(id).unwrap_or_default();
        self.resident_max.fetch_max(resident, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn beside_a_message_that_kills_workers_all_are_done_within_two_minutes() {
    let mortal = Mortal::default();
    let killed = mortal.clone();
    // Whoever works on the message asks for its user's credential, and is killed then.
    let credential = move |Path(user): Path<String>| {
        let killed = killed.clone();
        async move {
            if user == "bad" {
                killed.die();
                std::future::pending::<()>().await;
            }
            format!(r#"{{"password":"secret-{user}"}}"#)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/{user}", get(credential));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut platform = Platform::start(finapi(Vec::new())).await;
    let program = platform.program(&["worker"], &[("CREDENTIALS__URL", &url)]);
    let mut commands: Vec<_> = (1..=WELL).map(command).collect();
    commands.insert(commands.len() / 2, bad(WELL + 1, "bad"));
    platform.send_all(commands, true).await;
    let began = Instant::now();
    tokio::spawn(mortal.clone().live(program));
    platform.outcomes(usize::try_from(WELL).expect("a count")).await;
    let took = began.elapsed();
    mortal.look(mortal.process_id.load(Ordering::Relaxed));
    let deaths = mortal.deaths.load(Ordering::Relaxed);
    let resident = mortal.resident_max.load(Ordering::Relaxed);
    println!("all were done after {took:?} and {deaths} deaths; a worker had {resident} kB of memory at most");
    assert!(took <= Duration::from_secs(120), "{took:?}, {deaths} deaths");
    assert!(deaths >= 3, "{deaths}");
    assert!(resident < 80_000, "a worker had {resident} kB of memory");
    let dead_letters = platform.topology.dead_letters();
    platform.until_depth(&dead_letters, |(ready, _)| ready == 1).await;
    platform
        .until_depth(&platform.topology.quarantine(), |depth| depth == (0, 0))
        .await;
}
