//! The whole worker, simulated: workers, broker and finAPI in one thread, in virtual time, from one seed.
//!
//! `cargo test --test simulation` plays many seeds; `cargo test --test simulation -- --seed 7` plays one and tells what happened.
//! What must hold is in [`check`].

mod check;
mod commands;
mod crew;
mod draw;
#[path = "../support/known.rs"]
mod known;
mod line;
mod logs;
mod pairs;
mod platform;
mod scenario;
mod sweep;
mod trace;
mod world;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
struct Args {
    /// How many seeds are played
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    /// Plays this seed alone and tells what happened
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Lists the tests and plays nothing, as test runners ask
    #[arg(long)]
    list: bool,
    /// What else test runners say
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    others: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse_from(known(std::env::args()));
    if args.list {
        println!("simulation: test\n\n1 test, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    // A filter that names another test means none of these.
    let filters: Vec<&String> = args.others.iter().filter(|other| !other.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| "simulation".contains(filter.as_str())) {
        println!("\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out\n");
        return ExitCode::SUCCESS;
    }
    match args.seed {
        Some(seed) => sweep::tell(seed),
        None => {
            let differs = pairs::check();
            for what in &differs {
                println!("pairs: {what}");
            }
            let swept = sweep::sweep(args.from, args.seeds);
            if differs.is_empty() { swept } else { ExitCode::from(101) }
        }
    }
}

/// Puts what is ours before what is not, so that clap reads it wherever it stands.
fn known(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut arguments = arguments.peekable();
    let mut ours: Vec<String> = arguments.next().into_iter().collect();
    let mut others = Vec::new();
    while let Some(argument) = arguments.next() {
        let name = argument.split('=').next().unwrap_or_default();
        match name {
            "--seed" | "--seeds" | "--from" => {
                let has_value = argument.contains('=');
                ours.push(argument);
                ours.extend(arguments.next_if(|_| !has_value));
            }
            "--list" | "--help" => ours.push(argument),
            _ => others.push(argument),
        }
    }
    ours.push("--".to_owned());
    ours.extend(others);
    ours
}
