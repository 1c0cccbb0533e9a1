//! What is printed at the end.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bankrefresh::sandbox::Asked;

use crate::conduct::Done;
use crate::options::Options;
use crate::stage::Stage;
use crate::verdict::{Figures, Invariant};

/// How many of those who broke an invariant are named.
const NAMED_MAX: usize = 20;

/// Words that must be in no log, or begin with these. The values of tokens and the ends of web forms' URLs are 64 digits.
const SECRETS: [&str; 4] = [
    "secret-user-",
    "sandbox-secret",
    "guest:guest",
    "DE89370400440532013000",
];
const TOKEN_LENGTH: usize = 64;

/// Looks for secrets in the workers' logs.
pub fn secrets(logs: &Path) -> Invariant {
    let mut invariant = Invariant::new("no_secret_is_in_a_log");
    let mut files: Vec<_> = fs::read_dir(logs)
        .expect("the logs")
        .flatten()
        .map(|f| f.path())
        .collect();
    files.sort();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).expect("a log")).into_owned();
        for line in text.lines() {
            invariant.check(!tells(line), || format!("{}: {line}", file.display()));
        }
    }
    invariant
}

fn tells(line: &str) -> bool {
    let token = |word: &str| word.len() >= TOKEN_LENGTH && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    SECRETS.iter().any(|secret| line.contains(secret)) || line.split(|c: char| !c.is_ascii_alphanumeric()).any(token)
}

/// The lines of the workers' logs that have this text.
pub fn lines_with(logs: &Path, text: &str) -> Vec<String> {
    let files = fs::read_dir(logs).expect("the logs").flatten();
    let lines = |file: fs::DirEntry| {
        let log = fs::read(file.path()).expect("a log");
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    files.flat_map(lines).collect()
}

/// Prints the figures of a run.
pub fn figures(options: &Options, stage: &Stage, done: &Done, asked: &Asked, figures: &Figures) {
    let answered: u64 = asked.calls.values().sum();
    let share = |n: u64, of: u64| 100.0 * n as f64 / of.max(1) as f64;
    let at = |part: f64| {
        let index = (figures.seconds.len().saturating_sub(1)) as f64 * part;
        figures.seconds.get(index as usize).copied().unwrap_or_default()
    };
    let cut = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let rows = [
        ("seed", options.seed.to_string()),
        ("commands", options.refreshes.to_string()),
        ("messages they were published in", done.published.to_string()),
        ("workers killed", done.killed.to_string()),
        ("workers told to stop", done.stopped.to_string()),
        ("broker crashes", done.crashes.to_string()),
        ("broker connections cut", cut(&stage.to_broker.cut).to_string()),
        ("finAPI connections cut", cut(&stage.to_finapi.cut).to_string()),
        ("calls of finAPI", answered.to_string()),
        (
            "of them faulty",
            format!("{} ({:.0} %)", asked.faults, share(asked.faults, answered)),
        ),
        ("tasks", asked.tasks.to_string()),
        ("commands without a task", figures.without_task.to_string()),
        ("events", figures.events.to_string()),
        ("of them repeated", figures.repeated.to_string()),
        (
            "smallest interval between two looks",
            format!("{:?} ms", asked.smallest_interval_ms.unwrap_or(0)),
        ),
        ("copies left to another", done.duplicates.len().to_string()),
        ("messages to be tried alone", done.suspects.to_string()),
        ("times that finAPI counted as down", done.outages.to_string()),
        ("seconds to the outcome, median", format!("{:.1}", at(0.5))),
        ("seconds to the outcome, 99 %", format!("{:.1}", at(0.99))),
        ("seconds to the outcome, longest", format!("{:.1}", at(1.0))),
        (
            "seconds until the chaos ended",
            format!("{:.0}", done.chaos.as_secs_f64()),
        ),
        ("seconds until all was done", format!("{:.0}", done.all.as_secs_f64())),
    ];
    println!();
    for (what, value) in rows {
        println!("{what:<40} {value:>12}");
    }
}

/// Prints the invariants as tests, with who broke them, and libtest's last line. Says whether all hold.
pub fn invariants(invariants: &[Invariant], took: Duration) -> bool {
    println!("\n{:<58} {:>8} {:>8}", "invariant", "checked", "broken");
    for invariant in invariants {
        let Invariant { name, checked, broken } = invariant;
        println!("{name:<58} {checked:>8} {:>8}", broken.len());
    }
    println!();
    for Invariant { name, broken, .. } in invariants {
        println!("test {name} ... {}", if broken.is_empty() { "ok" } else { "FAILED" });
    }
    for Invariant { name, broken, .. } in invariants.iter().filter(|i| !i.broken.is_empty()) {
        println!("\n---- {name} ----");
        broken.iter().take(NAMED_MAX).for_each(|who| println!("{who}"));
    }
    let failed = invariants.iter().filter(|i| !i.broken.is_empty()).count();
    summary(invariants.len() - failed, failed, 0, took);
    failed == 0
}

/// libtest's last line.
pub fn summary(passed: usize, failed: usize, filtered: usize, took: Duration) {
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out; finished in {:.2}s\n",
        took.as_secs_f64()
    );
}
