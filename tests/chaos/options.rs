//! The test's own options.

use clap::Parser;

/// Real workers on a real broker, while everything that can be killed, cut or slowed down is.
#[derive(Clone, Debug, Parser)]
#[command(name = "chaos", disable_help_flag = true)]
pub struct Options {
    /// How many commands are published.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub refreshes: u32,
    /// How many times a worker is killed, or every tenth time stopped, one every half second. How long the chaos lasts
    /// follows from it.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub kills: u32,
    /// How many times the broker crashes and is started again.
    #[arg(long, default_value_t = 1)]
    pub broker_restarts: u32,
    /// What the schedule is drawn from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keeps the workers' logs in this directory.
    #[arg(long)]
    pub logs: Option<std::path::PathBuf>,
}
