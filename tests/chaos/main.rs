//! Chaos on the real thing: workers are killed, the broker crashes, connections are cut and slowed down, and finAPI fails
//! a fifth of its calls. Then every command is accounted for.
//!
//! `cargo test --test chaos -- --refreshes 5000 --kills 600 --broker-restarts 6 --seed 7`

#![expect(unreachable_pub, reason = "nothing depends on a test")]

mod account;
mod conduct;
#[path = "../support/known.rs"]
mod known;
mod logs;
mod observer;
mod options;
mod polls;
mod proxy;
mod report;
mod rows;
#[path = "../support/runner.rs"]
mod runner;
mod schedule;
mod stage;
#[expect(dead_code, reason = "shared with other tests, which need more of it")]
#[path = "../integration/support/mod.rs"]
mod support;
mod verdict;
mod workers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::Trial;

use crate::conduct::conduct;
use crate::known::Known;
use crate::logs::Logs;
use crate::options::Options;
use crate::rows::Run;
use crate::schedule::Schedule;
use crate::stage::Stage;
use crate::verdict::Invariant;

/// The invariants, each of which is a test. One run serves all of them.
const TESTS: [&str; 17] = [
    "every_command_has_an_outcome",
    "every_outcome_is_whole_and_the_only_one_by_event_id",
    "with_forty_attempts_a_call_copies_of_an_event_have_one_type",
    "outcomes_are_what_the_banks_did",
    "every_transaction_is_published_once_by_event_id",
    "users_are_notified_before_the_outcome_is_published",
    "no_update_is_started_twice",
    "no_task_is_polled_twice_within_a_second",
    "every_poll_that_arrived_has_a_sending_time",
    "every_event_can_be_read_and_carries_its_id",
    "all_queues_are_empty_at_the_end",
    "no_message_is_a_dead_letter",
    "no_worker_ends_by_itself_and_all_stop_when_asked",
    "no_secret_is_in_a_log",
    "no_worker_logs_an_error_or_a_panic",
    "every_scenario_happened_often_enough",
    "nothing_is_excused_more_often_than_its_limit",
];

fn main() -> ExitCode {
    let (options, arguments) = runner::arguments::<Options>();
    for known in known::of("chaos") {
        let is_test = TESTS.iter().any(|test| is_of(&known, test));
        assert!(is_test, "known-violations.txt: there is no {}", known.check);
    }
    let once: Arc<OnceLock<Vec<Invariant>>> = Arc::default();
    let tests = TESTS.map(|name| {
        let (once, options) = (Arc::clone(&once), options.clone());
        let test = move || {
            Ok(verdict(
                name,
                once.get_or_init(|| run_to_its_end(&options)),
                options.refreshes,
            )?)
        };
        Trial::test(name, test).with_kind("chaos")
    });
    runner::run(&arguments, tests.into())
}

fn is_of(known: &Known, test: &str) -> bool {
    known.check.strip_prefix("chaos/") == Some(test)
}

/// An invariant that is known to be broken must be, where the run is long enough to show it, and not more often than its limit.
fn verdict(name: &str, invariants: &[Invariant], refreshes: u32) -> Result<(), String> {
    let Some(invariant) = invariants.iter().find(|invariant| invariant.name == name) else {
        return Err("it was not checked, because the run ended with a panic".to_owned());
    };
    let known = known::of("chaos").into_iter().find(|known| is_of(known, name));
    match (known, report::broken(invariant)) {
        (Some(known), Ok(())) if u64::from(refreshes) >= known.shows_in => {
            Err(format!("known violation that no longer occurs: {}", known.promise))
        }
        (Some(known), holds) if invariant.broken.len() as u64 > known.limit(refreshes.into()) => holds,
        (Some(_), _) => Ok(()),
        (None, holds) => holds,
    }
}

/// A run that panics checks nothing. It is not tried again for the next test.
fn run_to_its_end(options: &Options) -> Vec<Invariant> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(options)))).unwrap_or_default()
}

async fn run(options: &Options) -> Vec<Invariant> {
    let temporary = tempfile::tempdir().expect("a directory");
    let logs = options.logs.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(logs).expect("a directory for logs");
    let schedule = Schedule::draw(options);
    let stage = Arc::new(Stage::set(&schedule, options.seed).await);
    let done = conduct(&stage, schedule, logs).await;
    judge(options, &stage, &done, &Logs::read(logs))
}

/// Judges a run and prints all about it.
fn judge(options: &Options, stage: &Stage, done: &conduct::Done, logs: &Logs) -> Vec<Invariant> {
    let (seen, asked) = (stage.observer.seen(), stage.sandbox.asked());
    let dropped: Vec<&str> = logs.with(rows::DROPPED).collect();
    let (mut invariants, figures) = verdict::judge(done, &seen, &asked, &stage.polls, &dropped.join("\n"));
    let run = Run {
        options,
        stage,
        done,
        seen: &seen,
        asked: &asked,
        logs,
        figures: &figures,
    };
    report::figures(&run);
    let (scenarios, excused) = (run.scenarios(), run.excused());
    report::rows("scenarios", "minimum", &scenarios);
    report::rows("excused", "limit", &excused);
    report::close_polls(&figures.close_polls);
    invariants.extend([done.queues.clone(), done.dead.clone(), done.ends.clone()]);
    invariants.extend([logs.secrets(), logs.errors()]);
    invariants.extend([rows::minima(&scenarios), rows::limits(&excused)]);
    report::invariants(&invariants);
    report::known(&known::of("chaos"), &invariants);
    invariants
}
