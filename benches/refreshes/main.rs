//! What a refresh costs a worker, beside what its messages and its HTTP calls cost by themselves.
//!
//! `cargo bench --bench refreshes -- --refreshes 2000 --task 2s --repeat 5`, and `-- --help` for the rest
//!
//! A private RabbitMQ, finAPI's simulator and the workers are processes of their own, and so are the two floors: a bare
//! reqwest client that makes the same calls, and a bare lapin client that takes as many messages and publishes as many with
//! confirms. They run turn by turn with the worker, so that their ratio is one of the same minutes.

#![expect(unreachable_pub, reason = "nothing depends on a benchmark")]

mod floor;
mod options;
mod process;
mod report;
mod run;
#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../../tests/integration/support/mod.rs"]
mod support;

use clap::Parser as _;

use crate::options::{Floor, Options};
use crate::report::Report;
use crate::support::rabbitmq::RabbitMq;

#[tokio::main]
async fn main() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = Options::parse();
    match &options.floor {
        Some(Floor::Http(plan)) => return floor::http::run(plan).await,
        Some(Floor::Amqp(plan)) => return floor::amqp::run(plan).await,
        None => {}
    }
    let rabbit = RabbitMq::start().await;
    if let (Some(_), Some(time)) = (options.wait_for, options.watch) {
        return run::watch(&options, &rabbit, time).await;
    }
    println!(
        "{} refreshes of {} users, updates of {}; {} worker(s) with {} in flight; notices by {}",
        options.refreshes,
        options.users,
        options.task,
        options.workers,
        options.in_flight,
        if options.callbacks { "callbacks" } else { "polling" },
    );
    let mut reports = Vec::new();
    for turn in 1..=options.repeat {
        let run = run::run(&options, &rabbit).await;
        // Together, as in a worker.
        let (http, amqp) = tokio::join!(
            floor::http::measure(&options, &run),
            floor::amqp::measure(&options, &rabbit, &run),
        );
        let report = Report::new(&run, http, amqp);
        println!("turn {turn}: {report}");
        reports.push(report);
    }
    report::medians(&reports);
}
