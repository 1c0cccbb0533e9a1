//! Where each command of a batch stands. Nothing here does I/O.

use std::collections::HashMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::check::{Checked, CheckedLine, Owner};
use super::progress::Counts;
use super::results::{Ending, Record};

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It may have an id already, and may have been published.
    Unconfirmed,
    Published,
    UserNeeded,
    Over(Ending),
}

/// A line of the input.
pub(super) struct Entry {
    pub(super) line: u64,
    pub(super) digest: u128,
    owner: Owner,
    /// Its id and when it was asked for, once they are in the results file.
    pub(super) named: Option<(Uuid, Timestamp)>,
    pub(super) phase: Phase,
}

/// All lines, in the order of the input.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) all: Vec<Entry>,
    by_id: HashMap<(Uuid, Owner), usize>,
}

impl Entries {
    pub(super) fn new(checked: Checked) -> Self {
        let entry = |CheckedLine { number, digest, owner }| Entry {
            line: number,
            digest,
            owner,
            named: None,
            phase: Phase::Unconfirmed,
        };
        Self {
            all: checked.lines.into_iter().map(entry).collect(),
            by_id: HashMap::new(),
        }
    }

    /// What an earlier run has written down.
    ///
    /// # Errors
    ///
    /// It is about a line that is not there.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        let line = match record {
            Record::Begin(_) => return Err("it begins twice".to_owned()),
            Record::Forgotten => {
                self.forget_published();
                return Ok(());
            }
            Record::Command { line, .. } | Record::Published { line } | Record::UserNeeded { line, .. } => *line,
            Record::Outcome(outcome) => outcome.line,
        };
        let index = self.all.binary_search_by_key(&line, |entry| entry.line);
        let index = index.map_err(|_| format!("it names line {line}, which is no command of the input"))?;
        match record {
            Record::Command {
                command_id,
                requested_at,
                ..
            } => self.name(index, *command_id, *requested_at),
            Record::Published { .. } => self.advance(index, Phase::Published),
            Record::UserNeeded { .. } => self.advance(index, Phase::UserNeeded),
            Record::Outcome(outcome) => self.advance(index, Phase::Over(outcome.outcome)),
            Record::Begin(_) | Record::Forgotten => {}
        }
        Ok(())
    }

    pub(super) fn name(&mut self, index: usize, command_id: Uuid, requested_at: Timestamp) {
        let entry = &mut self.all[index];
        entry.named = Some((command_id, requested_at));
        self.by_id.insert((command_id, entry.owner), index);
    }

    /// Never from an outcome to anything else, or from a user who is needed to published.
    pub(super) fn advance(&mut self, index: usize, phase: Phase) {
        let entry = &mut self.all[index];
        let rank = |phase: Phase| match phase {
            Phase::Unconfirmed => 0,
            Phase::Published => 1,
            Phase::UserNeeded => 2,
            Phase::Over(_) => 3,
        };
        if rank(phase) > rank(entry.phase) {
            entry.phase = phase;
        }
    }

    /// What has no outcome is to be published again. Says whether anything was published.
    pub(super) fn forget_published(&mut self) -> bool {
        let mut forgotten = false;
        for entry in &mut self.all {
            if matches!(entry.phase, Phase::Published | Phase::UserNeeded) {
                entry.phase = Phase::Unconfirmed;
                forgotten = true;
            }
        }
        forgotten
    }

    /// The command that an event is about.
    pub(super) fn find(&self, command_id: &str, user_id: &str, bank_connection_id: i64) -> Option<usize> {
        let id = Uuid::parse_str(command_id).ok()?;
        self.by_id.get(&(id, Owner::of(user_id, bank_connection_id))).copied()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            commands: self.all.len(),
            ..Counts::default()
        };
        for entry in &self.all {
            counts.published += usize::from(entry.phase != Phase::Unconfirmed);
            match entry.phase {
                Phase::Unconfirmed | Phase::Published => {}
                Phase::UserNeeded => counts.waiting += 1,
                Phase::Over(Ending::Updated) => counts.done += 1,
                Phase::Over(Ending::Failed) => counts.failed += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::Outcome;
    use super::*;

    fn entries() -> Entries {
        let line = |number| CheckedLine {
            number,
            digest: 0,
            owner: Owner::of("anna", 1),
        };
        Entries::new(Checked {
            lines: vec![line(2), line(3), line(5)],
            sha256: String::new(),
            bad: Vec::new(),
            bad_count: 0,
        })
    }

    #[test]
    fn what_was_written_down_is_continued_and_an_outcome_stays() {
        let mut entries = entries();
        let (command_id, at) = (Uuid::from_u128(7), Timestamp::UNIX_EPOCH);
        let outcome = Record::Outcome(Outcome {
            line: 3,
            command_id,
            user_id: "anna".to_owned(),
            bank_connection_id: 1,
            outcome: Ending::Failed,
            reason: String::new(),
            retryable: None,
            covered_until: None,
            event_id: String::new(),
            at,
        });
        for record in [
            Record::Command {
                line: 3,
                command_id,
                requested_at: at,
            },
            outcome.clone(),
            Record::Published { line: 3 },
            Record::Published { line: 5 },
            Record::UserNeeded { line: 5, at },
        ] {
            entries.apply(&record).expect("a line of the input");
        }
        let counts = Counts {
            commands: 3,
            published: 2,
            done: 0,
            waiting: 1,
            failed: 1,
        };
        assert_eq!(entries.counts(), counts);
        assert_eq!(entries.find(&command_id.to_string(), "anna", 1), Some(1));
        assert_eq!(
            entries.find(&command_id.to_string(), "bob", 1),
            None,
            "somebody else used the id"
        );
        entries.apply(&Record::Forgotten).expect("it is about all lines");
        let phases: Vec<Phase> = entries.all.iter().map(|entry| entry.phase).collect();
        assert_eq!(
            phases,
            [Phase::Unconfirmed, Phase::Over(Ending::Failed), Phase::Unconfirmed]
        );
        assert!(!entries.forget_published(), "there is nothing left to forget");
        assert!(entries.apply(&Record::Published { line: 4 }).is_err());
    }
}
