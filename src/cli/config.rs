//! `bankrefresh config`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::Ended;
use crate::config::reference;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print every setting in force as TOML, with secrets hidden; exit code 1 if one is not allowed
    Check,
    /// Print the reference of all settings as Markdown (docs/reference/settings.md)
    Reference,
}

pub(super) fn run(command: &Command, file: Option<PathBuf>) -> Ended {
    match command {
        Command::Check => print!("{}", toml::to_string_pretty(&super::load(file)?)?),
        Command::Reference => print!("{}", reference::page()),
    }
    Ok(ExitCode::SUCCESS)
}
