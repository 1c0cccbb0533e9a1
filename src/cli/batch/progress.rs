//! What a batch shows while it runs: a bar on a terminal, else a line now and then.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a line is printed where no terminal is.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) commands: usize,
    pub(super) published: usize,
    /// Updated.
    pub(super) done: usize,
    /// Without an outcome, and the user has a web form to fill in.
    pub(super) waiting: usize,
    pub(super) failed: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            commands,
            published,
            done,
            waiting,
            failed,
        } = self;
        write!(
            f,
            "{published} of {commands} published, {done} done, {waiting} waiting for users, {failed} failed"
        )
    }
}

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    shown: Option<Counts>,
    shown_at: Instant,
}

impl Progress {
    /// On standard error.
    pub(super) fn new(commands: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {elapsed_precise} {msg}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(u64::try_from(commands).unwrap_or(u64::MAX));
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            shown: None,
            shown_at: Instant::now(),
        }
    }

    /// To be called often.
    pub(super) fn show(&mut self, counts: Counts) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(counts.done + counts.failed).unwrap_or_default());
            bar.set_message(counts.to_string());
            return;
        }
        let is_due = self.shown.is_none() || self.shown_at.elapsed() >= LINE_INTERVAL && self.shown != Some(counts);
        if is_due {
            eprintln!("{counts}");
            self.shown = Some(counts);
            self.shown_at = Instant::now();
        }
    }

    /// A line beside the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
