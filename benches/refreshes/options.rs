//! What is measured.

use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::Protocol;

/// What is measured.
#[derive(Clone, Debug, clap::Parser)]
pub struct Options {
    /// Commands, all in the queue before the workers start
    #[arg(long, default_value_t = 2000)]
    pub refreshes: usize,
    /// How long an update takes, or `2s..3s`
    #[arg(long, default_value = "2s")]
    pub task: String,
    /// Users the connections belong to
    #[arg(long, default_value_t = 100)]
    pub users: usize,
    /// Worker processes
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// `worker.in_flight` of each
    #[arg(long, default_value_t = 2000)]
    pub in_flight: u16,
    /// What finAPI is spoken to with; each turn measures one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "http1")]
    pub over: Vec<Protocol>,
    /// finAPI calls back
    #[arg(long)]
    pub callbacks: bool,
    /// In place of all that: what refreshes cost that only wait, so long after the last of them was asked for
    #[arg(long, value_enum, requires = "watch")]
    pub wait_for: Option<WaitFor>,
    /// How long they are watched, such as `60s`
    #[arg(long, requires = "wait_for", value_parser = humantime_serde::re::humantime::parse_duration)]
    pub watch: Option<Duration>,
    /// Turns
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    /// More settings of the workers, such as `telemetry__log_level=off`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Measure this program in place of the one just built
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    #[command(subcommand)]
    pub part: Option<Part>,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// What refreshes wait for, which does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WaitFor {
    /// Updates that take an hour
    Updates,
    /// Users who do not open their web forms
    Users,
    /// The half hour after which finAPI is to be asked again
    RetryAfter,
}

/// What the benchmark starts itself again for.
#[derive(Clone, Debug, clap::Subcommand)]
#[command(hide = true)]
pub enum Part {
    /// finAPI
    Simulator(SimulatorPlan),
    /// The plain worker
    Minimal(MinimalPlan),
    /// The floor of the same HTTP calls
    Http(HttpPlan),
    /// The floor of the same messages
    Amqp(AmqpPlan),
}

/// What finAPI does, and how it is spoken to.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulatorPlan {
    #[arg(long, value_enum)]
    pub protocol: Protocol,
    #[arg(long)]
    pub script: PathBuf,
    #[arg(long)]
    pub certificates: PathBuf,
}

/// Where the plain worker finds everything.
#[derive(Clone, Debug, clap::Args)]
pub struct MinimalPlan {
    #[arg(long, value_enum)]
    pub protocol: Protocol,
    #[arg(long)]
    pub finapi: String,
    #[arg(long)]
    pub amqp: String,
    #[arg(long)]
    pub prefix: String,
    #[arg(long)]
    pub in_flight: u16,
}

/// The calls of all refreshes.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpPlan {
    #[arg(long, value_enum)]
    pub protocol: Protocol,
    #[arg(long)]
    pub url: String,
    #[arg(long)]
    pub refreshes: usize,
    #[arg(long)]
    pub users: usize,
    #[arg(long)]
    pub calls_max: usize,
    /// How many searches of users' tasks, starts, polls of a task, connections, accounts and pages of transactions.
    #[arg(long, value_delimiter = ',')]
    pub calls: Vec<usize>,
}

/// The messages of all refreshes.
#[derive(Clone, Debug, clap::Args)]
pub struct AmqpPlan {
    #[arg(long)]
    pub url: String,
    #[arg(long)]
    pub prefix: String,
    /// Messages taken and acknowledged
    #[arg(long)]
    pub taken: usize,
    /// Messages published and confirmed
    #[arg(long)]
    pub published: usize,
    /// The size of each
    #[arg(long)]
    pub bytes: usize,
}

impl Options {
    /// The simulator's script.
    pub fn script(&self) -> String {
        let after = match self.task.split_once("..") {
            Some((min, max)) => format!("{{ min = \"{min}\", max = \"{max}\" }}"),
            None => format!("\"{}\"", self.task),
        };
        let silent = |after: &str| format!("{{ silent = {{ after = {after} }} }}");
        let refused = "[[faults]]\nat = \"start_update\"\nkind = { status = { status = 429, retry_after = 1800 } }\n";
        let (update, faults) = match self.wait_for {
            None => (silent(&after), ""),
            Some(WaitFor::Updates) => (silent("\"1h\""), ""),
            Some(WaitFor::Users) => ("{ immediate_web_form = { user = \"waits\" } }".to_owned(), ""),
            Some(WaitFor::RetryAfter) => (silent(&after), refused),
        };
        format!(
            "ids_pick_behaviour = false\nallow_http_callbacks = true\n[default_script]\nsettles = \"0s\"\nupdates = [{update}]\n{faults}"
        )
    }
}
