//! Going through the queue, and what is done with what is selected.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;

use super::selection::{Format, Selection};
use crate::broker::Outgoing;
use crate::broker::topology::Topology;
use crate::dead_letters::{Found, Hidden, Row, Visit, routes, whole};
use crate::plain::plain_json;

/// What to do with what is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List(Format),
    Show,
    Replay { dry_run: bool },
    Discard { dry_run: bool },
}

/// Going through the queue.
pub(super) struct Run {
    pub(super) topology: Topology,
    pub(super) selection: Selection,
    pub(super) action: Action,
    pub(super) now: Timestamp,
    pub(super) visit: Visit,
    /// Which of the ids were there.
    pub(super) found: BTreeSet<String>,
    pub(super) done: usize,
    pub(super) failed: usize,
}

impl Run {
    pub(super) async fn through_all(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        while self.room() > 0 {
            let page = self.visit.next_page().await?;
            if page.is_empty() {
                break;
            }
            let mut selected: Vec<Found> = Vec::new();
            for (row, letter) in page {
                if selected.len() < self.room() && self.selection.takes(&row, &letter, self.now) {
                    self.found.insert(row.id.clone());
                    selected.push((row, letter));
                }
            }
            match self.action {
                Action::List(format) => self.list(&selected, format)?,
                Action::Show => self.show(&selected)?,
                Action::Replay { dry_run } => self.replay(selected, dry_run).await?,
                Action::Discard { dry_run } => self.discard(selected, dry_run).await?,
            }
        }
        Ok(())
    }

    /// How many more may be done.
    fn room(&self) -> usize {
        let limit = self.selection.limit.unwrap_or(usize::MAX);
        limit.saturating_sub(self.done + self.failed)
    }

    fn list(&mut self, selected: &[Found], format: Format) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for (row, letter) in selected {
            match format {
                Format::Text => writeln!(out, "{}", row.line())?,
                Format::Json => writeln!(out, "{}", plain_json(&row.json(letter).to_string()))?,
            }
        }
        self.done += selected.len();
        Ok(())
    }

    fn show(&mut self, selected: &[Found]) -> Result<(), Box<dyn std::error::Error>> {
        let mut out = std::io::stdout().lock();
        for (row, letter) in selected {
            writeln!(
                out,
                "{}",
                plain_json(&serde_json::to_string_pretty(&whole(row, letter, Hidden::Secrets))?)
            )?;
        }
        self.done += selected.len();
        Ok(())
    }

    async fn replay(&mut self, selected: Vec<Found>, dry_run: bool) -> Result<(), Box<dyn std::error::Error>> {
        let (did, fates) = match dry_run {
            true => ("would replay", routes(selected, &self.topology)),
            false => ("replayed", self.visit.replay(selected).await?),
        };
        for (row, why) in &fates.stay {
            self.report_failure(row, why);
        }
        for route in &fates.replayed {
            self.report(did, &route.row, Some(&route.outgoing))?;
        }
        Ok(())
    }

    async fn discard(&mut self, selected: Vec<Found>, dry_run: bool) -> Result<(), Box<dyn std::error::Error>> {
        if !dry_run {
            self.visit.discard(&selected).await?;
        }
        let did = if dry_run { "would discard" } else { "discarded" };
        for (row, _) in &selected {
            self.report(did, row, None)?;
        }
        Ok(())
    }

    fn report(&mut self, did: &str, row: &Row, to: Option<&Outgoing>) -> std::io::Result<()> {
        self.done += 1;
        let route = to.map(|to| format!(" to {} ({})", to.exchange, to.routing_key));
        writeln!(std::io::stdout(), "{did} {}{}", row.id, route.unwrap_or_default())
    }

    fn report_failure(&mut self, row: &Row, why: &str) {
        self.failed += 1;
        eprintln!("{} stays: {why}", row.id);
    }

    /// Says what is left to say, and how it ended.
    pub(super) fn summarize(&self, to_the_end: bool) -> ExitCode {
        let Self { done, failed, .. } = self;
        match self.action {
            Action::List(_) | Action::Show => {}
            Action::Replay { dry_run: false } => println!("{done} replayed, {failed} could not be"),
            Action::Replay { dry_run: true } => println!("{done} would be replayed, {failed} could not be"),
            Action::Discard { dry_run: false } => println!("{done} discarded"),
            Action::Discard { dry_run: true } => println!("{done} would be discarded"),
        }
        if !to_the_end {
            return ExitCode::FAILURE;
        }
        let left = self.visit.left();
        if left > 0 && self.room() > 0 {
            eprintln!("{left} were not read, because too many others lie before them");
            return ExitCode::FAILURE;
        }
        if left > 0 {
            eprintln!("stopped at --limit; {left} were not read");
            return code(*failed == 0);
        }
        let missing = self.selection.ids.iter().filter(|id| !self.found.contains(*id));
        let missing: Vec<&String> = missing.collect();
        for id in &missing {
            eprintln!("there is no dead letter {id}");
        }
        code(*failed == 0 && missing.is_empty())
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
