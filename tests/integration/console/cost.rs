//! What a console costs the workers that it looks at, in instructions.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::sleep;

use super::console;
use crate::support::platform::{Platform, WorkerProcess, command, quick};

/// How many refreshes a run has, and how many runs there are with a console and without.
const REFRESHES: i64 = 200;
const RUNS: usize = 3;

/// Commands come evenly, so that a worker does not end early and then idles for longer in one of the runs.
const PAUSE: Duration = Duration::from_millis(300);

/// With a console a refresh may take so much more.
const RATIO_MAX: f64 = 1.02;

/// How many instructions a worker runs for each refresh, all its background work included.
async fn instructions(with_console: bool) -> f64 {
    let mut platform = Platform::start(quick()).await;
    let looking_on = match with_console {
        true => Some(console(&platform, &[]).await),
        false => None,
    };
    let program = platform.program(&["worker"], &[]);
    let program = program.as_std();
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program.get_program())
        .arg("worker")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut worker = WorkerProcess::start(&mut valgrind);
    worker.resident_kb_max = u64::MAX;
    worker.log.until("connected to RabbitMQ").await;
    for connection in 1..=REFRESHES {
        platform.send(command(connection)).await;
        sleep(PAUSE).await;
    }
    platform.outcomes(usize::try_from(REFRESHES).expect("a count")).await;
    worker.signal("TERM").await;
    worker.ended().await;
    drop(looking_on);
    let text = worker.log.text();
    let (_, count) = text.split_once("Collected : ").expect("a count");
    let count: f64 = count
        .split_whitespace()
        .next()
        .expect("a count")
        .parse()
        .expect("a number");
    count / REFRESHES as f64
}

#[tokio::test]
#[ignore = "it needs valgrind and some minutes"]
async fn a_worker_costs_the_same_with_a_console() {
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        runs[0].push(instructions(false).await);
        runs[1].push(instructions(true).await);
    }
    println!(
        "instructions per refresh without a console {:.0?}, with one {:.0?}",
        runs[0], runs[1]
    );
    // Whatever else the machine does only adds to them: calls that take longer, and more of what is done now and then.
    let [without, with] = runs.map(|runs| runs.into_iter().fold(f64::INFINITY, f64::min));
    println!("ratio {:.4}", with / without);
    assert!(with / without <= RATIO_MAX, "{with} of {without}");
}
