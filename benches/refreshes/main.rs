//! What a refresh costs a worker, beside what a plain worker takes, and what its messages and its HTTP calls cost by themselves.
//!
//! `cargo bench --bench refreshes -- --refreshes 2000 --task 2s --repeat 5 --over http1,http2`, and `-- --help` for the rest
//!
//! A private RabbitMQ, finAPI's simulator and the workers are processes of their own. So are the plain worker ([`minimal`]) and the two
//! floors: a bare reqwest client that makes the same calls, and a bare lapin client that takes as many messages and publishes as many
//! with confirms. They run turn by turn with the worker, so that their ratio is one of the same minutes. finAPI is spoken to over TLS,
//! the broker without.

#![expect(unreachable_pub, reason = "nothing depends on a benchmark")]

mod authority;
mod floor;
mod minimal;
mod options;
mod process;
mod protocol;
mod report;
mod run;
mod simulator;
mod subject;
#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../../tests/integration/support/mod.rs"]
mod support;
mod verdict;

use clap::Parser as _;

use crate::authority::Authority;
use crate::options::{Options, Part};
use crate::protocol::Protocol;
use crate::report::Report;
use crate::run::Turn;
use crate::subject::Subject;
use crate::support::rabbitmq::RabbitMq;

#[tokio::main]
async fn main() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = Options::parse();
    match &options.part {
        Some(Part::Simulator(plan)) => simulator::serve::run(plan).await,
        Some(Part::Minimal(plan)) => minimal::run(plan).await.expect("a broker and finAPI"),
        Some(Part::Http(plan)) => floor::http::run(plan).await,
        Some(Part::Amqp(plan)) => floor::amqp::run(plan).await,
        None => measure(&options).await,
    }
}

async fn measure(options: &Options) {
    let rabbit = RabbitMq::start().await;
    let authority = Authority::new();
    if let (Some(_), Some(time)) = (options.wait_for, options.watch) {
        return run::watch(options, &rabbit, time, &authority).await;
    }
    println!(
        "{} refreshes of {} users, updates of {}; {} worker(s) with {} in flight; ends found by {}",
        options.refreshes,
        options.users,
        options.task,
        options.workers,
        options.in_flight,
        if options.callbacks { "callbacks" } else { "polling" },
    );
    let mut reports: Vec<Report> = Vec::new();
    for turn in 1..=options.repeat {
        for &protocol in &options.over {
            let report = take_turn(options, &rabbit, protocol, &authority).await;
            println!("turn {turn}, {protocol}: {report}");
            reports.push(report);
        }
    }
    for &protocol in &options.over {
        let of_it: Vec<&Report> = reports.iter().filter(|report| report.protocol == protocol).collect();
        report::medians(protocol, &of_it);
    }
}

async fn take_turn(options: &Options, rabbit: &RabbitMq, protocol: Protocol, authority: &Authority) -> Report {
    let of = |subject| -> Turn { (subject, protocol) };
    let worker = run::run(options, rabbit, of(Subject::Worker), authority).await;
    // Together, as in a worker.
    let (http, amqp) = tokio::join!(
        floor::http::measure(options, &worker),
        floor::amqp::measure(options, rabbit, &worker),
    );
    let minimal = run::run(options, rabbit, of(Subject::Minimal), authority).await;
    Report::new(&worker, &minimal, http, amqp)
}
