//! Which dead letters are meant.

use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use jiff::Timestamp;

use crate::broker::rabbit::DeadLetter;
use crate::dead_letters::{Row, is_about};

/// Which dead letters are meant: those for which everything given holds.
#[derive(Debug, Parser)]
pub(in crate::cli) struct Selection {
    /// Only these, by the ids that `list` prints
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// Only those whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those that came from this queue, with or without amqp.prefix
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those of this type, with or without its package
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// Only those whose message is about this finAPI user. What cannot be read is about a user whose id is in its bytes
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only those that have been dead for longer than this, for example 4h
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::send::humantime)]
    older_than: Option<Duration>,
    /// At most this many, from the head of the queue [default of list and show: 1000]
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

/// A selection that has to be made.
#[derive(Debug, Parser)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["all", "ids", "reason", "queue", "kind", "user", "older_than"])))]
pub(in crate::cli) struct Selected {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "reason", "queue", "kind", "user", "older_than"])]
    all: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// One line for each
    Text,
    /// One JSON object for each
    Json,
}

impl Selection {
    pub(super) fn takes(&self, row: &Row, letter: &DeadLetter, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, holds: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(holds);
        let ends = |whole: &str, end: &str| whole.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
        (self.ids.is_empty() || self.ids.contains(&row.id))
            && is(&self.reason, &|text| row.reason.contains(text))
            && is(&self.queue, &|name| row.queue == name || ends(&row.queue, name))
            && is(&self.kind, &|name| row.kind == name || ends(&row.kind, name))
            && is(&self.user, &|user| is_about(letter, user))
            && self.older_than.is_none_or(|least| {
                row.died_at
                    .is_some_and(|at| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > least))
            })
    }
}
