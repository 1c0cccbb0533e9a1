//! `bankrefresh dead-letters`

mod operations;
mod selection;

use std::collections::BTreeSet;

use clap::Subcommand;
use jiff::Timestamp;

use super::Ended;
use crate::broker::topology::Topology;
use crate::config::Config;
use crate::dead_letters::Visit;
use operations::{Action, Run};
use selection::{Format, Selected, Selection};

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Exit codes: 0 all of it is done; 1 an id was not found, or something could not be done; 2 the command line is wrong."
)]
pub(super) enum Command {
    /// Print one line for each dead letter: id, since when, queue, type and reason
    List {
        #[command(flatten)]
        selection: Selection,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print the whole messages as JSON, with secrets hidden
    Show {
        #[command(flatten)]
        selection: Selection,
    },
    /// Publish messages again to the queues from which they came, and remove them here
    Replay(Selected),
    /// Delete messages for good
    Discard(Selected),
}

/// How many are printed at most by default.
const PRINTED_MAX: usize = 1000;

pub(super) async fn run(command: Command, config: &Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let topology = Topology::new(&config.amqp.prefix);
    let (mut selection, action) = match command {
        Command::List { selection, format } => (selection, Action::List(format)),
        Command::Show { selection } => (selection, Action::Show),
        Command::Replay(Selected { selection, dry_run, .. }) => (selection, Action::Replay { dry_run }),
        Command::Discard(Selected { selection, dry_run, .. }) => (selection, Action::Discard { dry_run }),
    };
    if matches!(action, Action::List(_) | Action::Show) {
        selection.limit.get_or_insert(PRINTED_MAX);
    }
    let visit = Visit::open(&config.amqp.named("dead-letters"), &topology).await?;
    let mut run = Run {
        topology,
        selection,
        action,
        now: Timestamp::now(),
        visit,
        found: BTreeSet::new(),
        done: 0,
        failed: 0,
    };
    let went = run.through_all().await;
    // Also after a failure: it goes back in order this way.
    let code = run.summarize(went.is_ok());
    let closed = run.visit.close().await;
    went?;
    closed?;
    Ok(code)
}
