//! The whole worker, simulated: workers, broker and finAPI in one thread, in virtual time, from one seed.
//!
//! `cargo test --test simulation` plays many seeds; `cargo test --test simulation -- --seed 7` plays one and reports what happened.
//! What must hold is in [`check`].

mod check;
mod commands;
mod crew;
mod draw;
#[path = "../support/known.rs"]
mod known;
mod line;
mod logs;
mod neighbours;
mod observed;
mod pairs;
mod platform;
#[expect(unreachable_pub, reason = "shared with another test")]
#[path = "../support/runner.rs"]
mod runner;
mod scenario;
mod strange;
mod sweep;
mod trace;
mod world;

use std::process::ExitCode;

use clap::Parser;
use libtest_mimic::Trial;

#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
struct Options {
    /// How many seeds are played
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    /// Plays this seed alone and reports what happened
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Plays the pair of this seed, beside a bad neighbour and without it, and reports what happened
    #[arg(long, value_name = "S")]
    pair: Option<u64>,
    /// Plays the strange run of this seed and reports what happened
    #[arg(long, value_name = "S")]
    strange: Option<u64>,
    /// Plays so many commands of one user in front of a hundred other users'
    #[arg(long, value_name = "N")]
    flood: Option<usize>,
}

fn main() -> ExitCode {
    let (options, arguments) = runner::arguments::<Options>();
    let test = Trial::test("simulation", move || {
        let played = match options {
            Options {
                flood: Some(commands), ..
            } => neighbours::flood(commands),
            Options { pair: Some(seed), .. } => neighbours::report(seed),
            Options {
                strange: Some(seed), ..
            } => sweep::report_strange(seed),
            Options { seed: Some(seed), .. } => sweep::report(seed),
            Options { from, seeds, .. } => sweep::sweep(from, seeds),
        };
        Ok(played?)
    });
    let pairs = Trial::test("pairs", || {
        let differs = pairs::check();
        if differs.is_empty() {
            Ok(())
        } else {
            Err(differs.join("\n").into())
        }
    });
    runner::run(&arguments, vec![pairs, test])
}
