//! What the checks of one run found.

use std::collections::BTreeMap;

/// What was violated, what was excused, and what there was to check.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    violated: Vec<String>,
    excused: BTreeMap<&'static str, u64>,
    met: BTreeMap<&'static str, u64>,
}

impl Findings {
    /// Something that must not be.
    pub(super) fn push(&mut self, what: String) {
        self.violated.push(what);
    }

    /// Something that may be, as often as [`super::limits::EXCUSED`] allows.
    pub(super) fn excuse(&mut self, name: &'static str) {
        *self.excused.entry(name).or_default() += 1;
    }

    /// Something that a check is about. It must happen as often as [`super::limits::SCENARIOS`] says, or the check shows nothing.
    pub(super) fn meet(&mut self, name: &'static str) {
        *self.met.entry(name).or_default() += 1;
    }

    pub(super) fn take_violated(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violated)
    }

    pub(super) fn excused(&self) -> &BTreeMap<&'static str, u64> {
        &self.excused
    }

    pub(super) fn met(&self) -> &BTreeMap<&'static str, u64> {
        &self.met
    }
}
