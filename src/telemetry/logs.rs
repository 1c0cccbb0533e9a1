//! Log lines on standard error: one for each thing that happened.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat, Telemetry};

/// Starts logging. To be called once, before anything is logged.
///
/// # Errors
///
/// When `telemetry.log_level` is no filter.
pub fn start(settings: &Telemetry) -> Result<(), ConfigError> {
    // lapin logs what we log ourselves, which an operator may still ask for; but never messages that came back, body and all.
    let directives = format!("lapin=off,{},lapin::returned_messages=off", settings.log_level);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        ConfigError::Setting(format!(
            "telemetry.log_level must be filter directives, for instance \"info\": {error}"
        ))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
