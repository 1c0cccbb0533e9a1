//! A promise that a test here checks. One that is broken today is listed in `tests/known-violations.txt`, like those of the simulation.

use crate::broken::Broken;
use crate::known::{self, Known};

/// What the names of these checks begin with in the list of known violations.
const TEST: &str = "integration";

/// What must hold, and the name of the check that finds out.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    pub check: &'static str,
    pub promise: &'static str,
}

impl Promise {
    /// Takes what broke the promise: a line for each case. Passes when nothing did, and when the list says that it is so.
    ///
    /// # Panics
    ///
    /// When a promise is broken that is not listed, or more often than the list says, and when a listed one is kept.
    pub fn check(self, cases: &[String]) {
        let mut broken = Broken::default();
        for case in cases {
            broken.unless(false, self.promise, || case.clone());
        }
        broken.judge(&format!("{TEST}/{}", self.check));
    }

    fn is(self, known: &Known) -> bool {
        known.check.strip_prefix(TEST) == Some(&format!("/{}", self.check)) && known.promise == self.promise
    }
}

#[test]
fn each_known_violation_is_of_a_check_here() {
    for known in known::of(TEST) {
        let is_checked = super::PROMISES.iter().any(|promise| promise.is(&known));
        assert!(
            is_checked,
            "known-violations.txt: nothing checks {}: {}",
            known.check, known.promise
        );
    }
}

/// Whether a check passes, without what its panic prints.
fn passes(promise: Promise, broken: &[&str]) -> bool {
    let broken: Vec<String> = broken.iter().map(|case| (*case).to_owned()).collect();
    std::panic::catch_unwind(|| promise.check(&broken)).is_ok()
}

#[test]
fn a_promise_passes_only_as_the_list_says() {
    let listed = super::PROMISES
        .iter()
        .find(|promise| known::of(TEST).iter().any(|known| promise.is(known)));
    if let Some(listed) = listed {
        assert!(!passes(*listed, &[]), "it no longer occurs");
        assert!(!passes(*listed, &["too often"; 100]));
    }
    let unlisted = Promise {
        check: "no check",
        promise: "nobody lists it",
    };
    assert!(passes(unlisted, &[]));
    assert!(!passes(unlisted, &["once"]));
}
