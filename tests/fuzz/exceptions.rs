//! Inputs that end the process: known violations. Each runs in a process of its own, and has to end it until it is fixed.

use std::path::Path;
use std::process::Command;

use bankrefresh::fuzzing::TARGETS;

use crate::{known, made};

/// What the names of this test's checks begin with in the list of known violations.
const TEST: &str = "fuzz";

pub(crate) fn check() -> Result<(), String> {
    for known in known::of(TEST) {
        let name = known.check.split('/').nth(1).unwrap_or_default();
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.ok_or_else(|| format!("{}: there is no such target", known.check))?;
        let ended = replay(name, &made::deepest_headers(target.bytes_max))?;
        let limit = known.limit(1);
        println!(
            "{} (issue {}): {}: {ended}; 1 time, at most {limit}",
            known.check, known.issue, known.promise
        );
        if limit < 1 {
            return Err(format!("{}: more often than its limit", known.check));
        }
    }
    Ok(())
}

/// How the process ended. The error says that it did not.
fn replay(target: &str, input: &[u8]) -> Result<String, String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}.known"));
    std::fs::write(&file, input).map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["--exact", target, "--input"])
        .arg(&file)
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.code() {
        None => Ok(output.status.to_string()),
        Some(_) => Err(format!(
            "{target}: a known violation no longer occurs; delete its line in known-violations.txt"
        )),
    }
}
