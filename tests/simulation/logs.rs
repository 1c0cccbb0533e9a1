//! What the workers log, kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{Id, try_id};
use tokio::time::Instant;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;

/// Every line with its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<(Instant, String)>,
    runs: BTreeMap<Id, Run>,
    fetches: BTreeSet<Id>,
}

/// A run of a refresh: a task of the runtime that a worker works on one delivery with, until the refresh waits or ends.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) began: Instant,
    pub(crate) command: String,
    /// Its command and its connection.
    pub(crate) refresh: String,
}

/// What a worker logs first in every run of a refresh.
const RUN_BEGINS: &str = "running a refresh";

/// What a worker logs first in every task that fetches a user's token.
const FETCH_BEGINS: &str = "fetching a token";

impl Logs {
    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .without_time()
            .with_ansi(false)
            .with_writer(self.clone())
            .finish()
    }

    pub(crate) fn lines(&self) -> Vec<(Instant, String)> {
        self.kept().lines.clone()
    }

    pub(crate) fn runs(&self) -> BTreeMap<Id, Run> {
        self.kept().runs.clone()
    }

    pub(crate) fn fetches(&self) -> BTreeSet<Id> {
        self.kept().fetches.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Logs {
    /// Called once for each line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let at = Instant::now();
        let mut kept = self.kept();
        if let (true, Some(id), Some(command)) = (text.contains(RUN_BEGINS), try_id(), quoted(&text, "command_id")) {
            let command = command.to_owned();
            let connection = text.split_once("bank_connection_id=").map(|(_, rest)| rest);
            let connection = connection.and_then(|rest| rest.split([' ', '}']).next());
            let refresh = format!("{command} {}", connection.unwrap_or_default());
            let run = Run {
                began: at,
                command,
                refresh,
            };
            kept.runs.insert(id, run);
        } else if let (true, Some(id)) = (text.contains(FETCH_BEGINS), try_id()) {
            kept.fetches.insert(id);
        } else {
            kept.lines.push((at, text));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value of a field in a line.
fn quoted<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{field}=\""))?;
    rest.split('"').next()
}
