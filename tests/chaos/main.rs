//! Chaos on the real thing: workers are killed, the broker crashes, connections are cut and slowed down, and finAPI fails
//! a fifth of its calls. Then every command is accounted for.
//!
//! `cargo test --test chaos -- --refreshes 5000 --kills 600 --broker-restarts 5 --seed 7`

#![expect(unreachable_pub, reason = "nothing depends on a test")]

mod conduct;
mod observer;
mod options;
mod proxy;
mod report;
mod schedule;
mod stage;
#[expect(dead_code, reason = "shared with other tests, which need more of it")]
#[path = "../integration/support/mod.rs"]
mod support;
mod verdict;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;

use crate::conduct::conduct;
use crate::options::Options;
use crate::schedule::Schedule;
use crate::stage::Stage;

const NAME: &str = "chaos";

/// What libtest exits with when a test failed.
const FAILED: u8 = 101;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    if !options.selects(NAME) {
        report::summary(0, 0, 1, Duration::ZERO);
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if runtime.expect("a runtime").block_on(run(&options)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    }
}

async fn run(options: &Options) -> bool {
    let began = Instant::now();
    let kept = options.logs.clone();
    let temporary = tempfile::tempdir().expect("a directory");
    let logs = kept.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(logs).expect("a directory for logs");
    let schedule = Schedule::draw(options);
    let stage = Arc::new(Stage::set(&schedule, options.seed).await);
    let done = conduct(&stage, schedule, logs).await;
    let asked = stage.sandbox.asked();
    let (mut invariants, figures) = verdict::judge(&done, &stage.observer.seen(), &asked);
    invariants.extend([
        done.queues.clone(),
        done.dead.clone(),
        done.ends.clone(),
        report::secrets(logs),
    ]);
    report::figures(options, &stage, &done, &asked, &figures);
    report::invariants(&invariants, began.elapsed())
}
