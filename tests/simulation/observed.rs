//! The known violations of a test, as a run observes them.

use crate::check::{self, Violation};
use crate::known::{self, Known};
use crate::neighbours;

/// Each with how often it occurred.
pub(crate) struct Observed(Vec<(Known, u64)>);

impl Observed {
    pub(crate) fn of(test: &str) -> Self {
        Self(known::of(test).into_iter().map(|known| (known, 0)).collect())
    }

    /// Whether a violation is known; if so, it is counted.
    pub(crate) fn count(&mut self, violation: &Violation) -> bool {
        let found = self.0.iter_mut().find(|(known, _)| is_of(known, violation));
        if let Some((_, count)) = found {
            *count += 1;
            return true;
        }
        false
    }

    /// Prints the list. Returns what is wrong with it: no entry may occur more often than its limit, and after a sweep that is long enough each
    /// must have occurred.
    pub(crate) fn print(&self, from: u64, seeds: u64) -> Vec<String> {
        println!(
            "   at most  observed  known violations ({} in tests/known-violations.txt)",
            self.0.len()
        );
        let mut wrong = Vec::new();
        for (known, count) in &self.0 {
            let Known {
                check, promise, issue, ..
            } = known;
            let limit = known.limit(seeds);
            println!("{limit:>10}{count:>10}  {check}: {promise} (issue {issue})");
            let name = name(known);
            if !check::exists(name, promise) && !neighbours::exists(name, promise) {
                wrong.push(format!("known violation of no check: {check}: {promise}"));
            } else if *count > limit {
                wrong.push(format!(
                    "known violation: {check}: {promise}: {count} times, at most {limit}"
                ));
            } else if *count == 0 && from == 1 && seeds >= known.shows_in {
                wrong.push(format!("known violation that no longer occurs: {check}: {promise}"));
            }
        }
        wrong
    }
}

fn is_of(known: &Known, violation: &Violation) -> bool {
    name(known) == violation.check && known.promise == violation.promise
}

/// The name of its check, without that of its test.
fn name(known: &Known) -> &'static str {
    known.check.split_once('/').map_or(known.check, |(_, name)| name)
}
