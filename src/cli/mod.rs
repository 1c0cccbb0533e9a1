//! The command line: one file per subcommand.

mod batch;
mod config;
mod console;
mod dead_letters;
mod demo;
mod doctor;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod healthcheck;
mod orders;
mod rotation;
mod sandbox;
mod send;
mod show;
mod topology;
mod watch;
mod worker;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, ConfigError, WithFinApi};
use crate::plain::plain_lines;
use crate::telemetry::{self, LogLevel};

/// What a subcommand ends with: an exit code, or an error to show.
type Ended = Result<ExitCode, Box<dyn std::error::Error>>;

/// Keeps finAPI bank connections fresh: takes RefreshConnection commands from RabbitMQ, has finAPI update the connection, and
/// publishes the outcome as an event.
#[derive(Debug, Parser)]
#[command(name = "bankrefresh", version, max_term_width = 100)]
struct Cli {
    /// The settings file (TOML). The environment wins: `BANKREFRESH__<SECTION>__<KEY>` sets a value, `…__<KEY>_FILE` reads it from
    /// a file.
    #[arg(long, short, global = true, value_name = "FILE", env = "BANKREFRESH_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a worker until SIGTERM or SIGINT (a second signal stops it at once)
    Worker,
    /// Publish commands; with --wait, show their events until every command has its outcome
    Send(send::Args),
    /// Print events as they arrive
    Watch(watch::Args),
    /// Serve a web page that shows what workers do
    Console(console::Args),
    /// Stop new starts of a lane, a bank, a user, or all of them
    Pause(orders::PauseArgs),
    /// End a pause
    Resume(orders::ResumeArgs),
    /// Show what is paused, by whom and since when
    Paused,
    /// End the refresh of a command, or all of a user, wherever it waits
    Cancel(orders::CancelArgs),
    /// List, show, replay or discard messages that no worker could act on
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Declare exchanges and queues, check them, or print them as definitions for RabbitMQ
    #[command(subcommand)]
    Topology(topology::Command),
    /// Check with the worker's settings what can be checked without a refresh: broker, rights, queues, finAPI, clock, credentials
    Doctor(doctor::Args),
    /// Check the settings, or print the reference of all settings
    #[command(subcommand)]
    Config(config::Command),
    /// Ask the worker on this machine whether it is alive or ready (needs admin.listen)
    Healthcheck(healthcheck::Args),
    /// Serve a simulated finAPI
    Sandbox(sandbox::Args),
    /// Show everything at once on this machine, with a simulated finAPI; needs no broker
    Demo(demo::Args),
}

/// What the program can be asked, for what describes it: manual pages, completions of shells.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Only fails when one is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match runtime(&cli.command) {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(cli.dispatch());
    // The process ends now. Threads of lapin that still connect would panic without their runtime, one after the other.
    std::mem::forget(runtime);
    match ended {
        Ok(code) => code,
        Err(error) => failed(error.as_ref()),
    }
}

/// A worker does its work on one thread: what other threads would take over costs more to hand over than to do. More cores are
/// for more workers.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        Command::Worker | Command::Healthcheck(_) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

impl Cli {
    async fn dispatch(self) -> Ended {
        match self.command {
            Command::Sandbox(args) => sandbox::run(args).await,
            Command::Config(command) => config::run(&command, self.config),
            Command::Doctor(args) => doctor::run(args, load(self.config)?).await,
            Command::Healthcheck(args) => healthcheck::run(args, &load(self.config)?).await,
            Command::Worker => worker::run(self.config.clone(), load_with_finapi(self.config)?).await,
            Command::Send(args) => send::run(args, &load(self.config)?).await,
            Command::Watch(args) => watch::run(args, &load(self.config)?).await,
            Command::Console(args) => console::run(args, self.config.clone(), load(self.config)?).await,
            Command::Pause(args) => orders::pause(args, &load(self.config)?).await,
            Command::Resume(args) => orders::resume(args, &load(self.config)?).await,
            Command::Cancel(args) => orders::cancel(args, &load(self.config)?).await,
            Command::Paused => orders::paused(&load(self.config)?).await,
            Command::DeadLetters(command) => dead_letters::run(command, &load(self.config)?).await,
            Command::Topology(command) => topology::run(&command, &load(self.config)?).await,
            Command::Demo(args) => demo::run(args).await,
        }
    }
}

fn load(file: Option<PathBuf>) -> Result<Config, ConfigError> {
    Config::load(file.as_deref(), environment())
}

fn load_with_finapi(file: Option<PathBuf>) -> Result<WithFinApi, ConfigError> {
    Config::load_with_finapi(file.as_deref(), environment())
}

fn environment() -> impl Iterator<Item = (String, String)> {
    // A variable of ours that is not text shows as a setting that is not allowed.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}error{style:#}: {}", plain_lines(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {}", plain_lines(&error.to_string()));
        cause = error.source();
    }
    ExitCode::FAILURE
}

/// Only what an operator must act on, for the commands that print for people.
fn log_warnings(settings: &telemetry::Settings) {
    telemetry::logs::start(&telemetry::Settings {
        log_level: LogLevel::warnings(),
        ..settings.clone()
    });
}

/// Where a listener is found from the machine that it is on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_found_on_loopback() {
        let cases = [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ];
        for (listen, found) in cases {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), found);
        }
    }
}
