//! Holds what one test finds broken against the list of known violations.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::known;

/// What a test finds broken: promises, each with what breaks it.
#[derive(Debug, Default)]
pub(crate) struct Broken(BTreeMap<&'static str, Vec<String>>);

impl Broken {
    /// Something that breaks a promise, unless it holds.
    pub(crate) fn unless(&mut self, holds: bool, promise: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.0.entry(promise).or_default().push(what());
        }
    }

    /// Prints what is known to be broken.
    ///
    /// # Panics
    ///
    /// When something is broken that the list does not have, more often than the list has it, or no longer.
    pub(crate) fn judge(mut self, check: &str) {
        let test = check.split('/').next().unwrap_or_default();
        let mut wrong = Vec::new();
        for known in known::of(test).iter().filter(|known| known.check == check) {
            let found = self.0.remove(known.promise).unwrap_or_default();
            let (promise, issue, most) = (known.promise, known.issue, known.limit(1));
            let count = found.len();
            if count == 0 {
                wrong.push(format!("known violation that no longer occurs: {promise}"));
            } else if count as u64 > most {
                wrong.push(format!(
                    "{promise}: {count} times, at most {most}:\n{}",
                    found.join("\n")
                ));
            } else {
                // Not `println`, which is only shown for tests that fail.
                let line =
                    format!("known violation: {check}: {promise} (issue {issue}): {count} times, at most {most}");
                writeln!(std::io::stdout(), "{line}").expect("printed");
            }
        }
        let unknown = self.0.iter();
        wrong
            .extend(unknown.map(|(promise, found)| format!("{promise}: {} times:\n{}", found.len(), found.join("\n"))));
        assert!(wrong.is_empty(), "{check}\n{}", wrong.join("\n"));
    }
}
