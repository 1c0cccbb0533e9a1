//! Fuzzing: everything that reads bytes from outside gets what no one should send.
//!
//! `cargo test --features fuzzing --test fuzz` runs each target of `bankrefresh::fuzzing` with a few thousand inputs, `-- --inputs N` with
//! others, `-- --input FILE NAME` runs one input of one target. A target fails when it panics, and when an input costs more than
//! [`campaign`] allows. The input is then made as short as possible and written to a file.

mod campaign;
mod corpus;
mod cost;
mod made;
mod mutation;
mod planted;
#[expect(unreachable_pub, reason = "shared with another test")]
#[path = "../support/runner.rs"]
mod runner;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use bankrefresh::fuzzing::{TARGETS, Target};
use clap::Parser;
use libtest_mimic::Trial;

#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
struct Options {
    /// How many inputs each target gets
    #[arg(long, value_name = "N", default_value_t = 2000)]
    inputs: u64,
    /// Which inputs: each seed makes others
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Runs this input alone
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    let (options, arguments) = runner::arguments::<Options>();
    cost::keep_panics_quiet();
    cost::keep_memory();
    let options = Arc::new(options);
    let rows = Arc::new(Mutex::new(Vec::new()));
    let trial = |target: &'static Target| {
        let (options, rows) = (Arc::clone(&options), Arc::clone(&rows));
        Trial::test(target.name, move || {
            let row = match &options.input {
                Some(file) => campaign::replay(target, &std::fs::read(file)?)?,
                None => campaign::run(target, options.inputs, options.seed)?,
            };
            rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
            Ok(())
        })
    };
    let mut trials: Vec<Trial> = TARGETS.iter().map(trial).collect();
    trials.push(Trial::test("planted", || Ok(planted::check()?)));
    let exit = runner::run(&arguments, trials);
    campaign::print(&rows.lock().unwrap_or_else(PoisonError::into_inner));
    exit
}
