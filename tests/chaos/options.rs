//! The command line: the test's own options, and those of libtest that make sense for it.

use clap::Parser;

/// Real workers on a real broker, while everything that can be killed, cut or slowed down is.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub struct Options {
    /// How many commands are published.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub refreshes: u32,
    /// How many times a worker is killed, one every half second. How long the chaos lasts follows from it.
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

    /// As libtest: only tests whose name contains one of these.
    #[arg(hide = true)]
    filters: Vec<String>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    ignored: bool,
    /// As libtest: names the test and does nothing.
    #[arg(long, hide = true)]
    pub list: bool,

    // What libtest takes and what changes nothing here.
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, visible_alias = "no-capture", hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(short, long, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    test: bool,
    #[arg(long, hide = true)]
    test_threads: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(short = 'Z', hide = true)]
    unstable: Vec<String>,
}

impl Options {
    /// Whether what libtest was told leaves this test to be run.
    pub fn selects(&self, test: &str) -> bool {
        let fits = |pattern: &String| match self.exact {
            true => pattern == test,
            false => test.contains(pattern.as_str()),
        };
        let named = self.filters.is_empty() || self.filters.iter().any(fits);
        named && !self.skip.iter().any(fits) && !self.ignored
    }
}
