//! Known violations: what a check finds broken today and a later issue fixes. They stand in `tests/known-violations.txt`, one a line:
//! the check, the promise that it breaks, the number of the issue, how long a run must be to show it, and how often such a run may show it at
//! most, with `|` between them. Lines that begin with `#` are comments.
//!
//! A run prints each entry with how often it occurred. It fails on a violation that is not listed, on an entry that occurs more often than
//! its limit, because a new defect could hide behind it, and on an entry that no longer occurs.

/// A promise that is broken today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The check, such as `simulation/data`. What stands before the slash is the test that makes it.
    pub(crate) check: &'static str,
    pub(crate) promise: &'static str,
    /// The issue that fixes it.
    pub(crate) issue: u32,
    /// A run of so many seeds, or commands, shows it.
    pub(crate) shows_in: u64,
    /// As often as that it may occur in a run of that length.
    most: u64,
}

impl Known {
    /// As often as that it may occur in a run of so many seeds, or commands.
    pub(crate) fn limit(&self, length: u64) -> u64 {
        self.most * length.div_ceil(self.shows_in)
    }
}

const FILE: &str = include_str!("../known-violations.txt");

/// The entries of one test.
///
/// # Panics
///
/// When the file has a line that is no entry.
pub(crate) fn of(test: &str) -> Vec<Known> {
    read(FILE)
        .into_iter()
        .filter(|known| known.check.split('/').next() == Some(test))
        .collect()
}

fn read(text: &'static str) -> Vec<Known> {
    let lines = text.lines().map(str::trim);
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.map(entry).collect()
}

fn entry(line: &'static str) -> Known {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [check, promise, issue, shows_in, most] = fields[..] else {
        panic!("known-violations.txt: not `check | promise | issue | shows in | at most`: {line}");
    };
    let number = |text: &str| -> u64 {
        text.parse()
            .unwrap_or_else(|_| panic!("known-violations.txt: not a number: {line}"))
    };
    let (issue, shows_in, most) = (number(issue), number(shows_in).max(1), number(most));
    Known {
        check,
        promise,
        issue: u32::try_from(issue).unwrap_or_default(),
        shows_in,
        most,
    }
}
