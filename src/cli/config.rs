//! `bankrefresh config`

use std::process::ExitCode;

use clap::Subcommand;

use super::Ended;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print every setting in force as TOML, secrets hidden; exit code 1 if one is wrong
    Check,
}

pub(super) fn run(command: &Command, config: &Config) -> Ended {
    match command {
        Command::Check => print!("{}", toml::to_string_pretty(config)?),
    }
    Ok(ExitCode::SUCCESS)
}
