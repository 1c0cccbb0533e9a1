//! Many seeds, or one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::check::{self, Figures, Violation};
use crate::known::{self, Known};
use crate::scenario::Scenario;
use crate::{trace, world};

const THREADS: usize = 2;
/// Failures of a sweep that are reported; the others are counted.
const REPORTED_MAX: u64 = 20;
/// What the names of this test's checks begin with in the list of known violations.
const TEST: &str = "simulation/";
/// Every so many seeds one is played twice, and must be the same both times.
const TWICE_EVERY: u64 = 50;

/// Plays seeds side by side. The error says how many failed.
pub(crate) fn sweep(from: u64, seeds: u64) -> Result<(), String> {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let failures = AtomicU64::new(0);
    let sums = Mutex::new(Sums::new());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    if let Err(violated) = run(seed, &sums) {
                        fail(seed, &violated, failures.fetch_add(1, Ordering::Relaxed));
                    }
                }
            });
        }
    });
    let took = started.elapsed().as_secs_f64();
    let sums = sums.into_inner().expect("sums");
    let (tables, mut beyond) = sums.figures.judge(seeds);
    println!("\n{tables}");
    beyond.extend(sums.known.print(from, seeds));
    for beyond in &beyond {
        println!("beyond its limit: {beyond}");
    }
    println!("\n{seeds} seeds played in {took:.0} s");
    match failures.into_inner() {
        0 if beyond.is_empty() => Ok(()),
        failed => Err(format!(
            "{failed} of {seeds} seeds failed; {} counts are beyond their limits",
            beyond.len()
        )),
    }
}

/// What a sweep adds up.
struct Sums {
    figures: Figures,
    known: Observed,
}

impl Sums {
    fn new() -> Self {
        Self {
            figures: Figures::default(),
            known: Observed::new(),
        }
    }
}

/// The known violations, each with how often it occurred.
struct Observed(Vec<(Known, u64)>);

impl Observed {
    fn new() -> Self {
        let known = known::of("simulation").into_iter().map(|known| (known, 0));
        Self(known.collect())
    }

    /// Whether a violation is known; if so, it is counted.
    fn count(&mut self, violation: &Violation) -> bool {
        let found = self.0.iter_mut().find(|(known, _)| is_of(known, violation));
        if let Some((_, count)) = found {
            *count += 1;
            return true;
        }
        false
    }

    /// Prints the list. Returns what is wrong with it: no entry may occur more often than its limit, and after a sweep that is long enough each
    /// must have occurred.
    fn print(&self, from: u64, seeds: u64) -> Vec<String> {
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
            let name = check.trim_start_matches(TEST);
            if !check::exists(name, promise) {
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
    known.check.trim_start_matches(TEST) == violation.check && known.promise == violation.promise
}

/// Plays one seed and reports what happened. The error says what it violates.
pub(crate) fn report(seed: u64) -> Result<(), String> {
    let scenario = Scenario::draw(seed);
    let history = world::play(&scenario);
    trace::print(&scenario, &history);
    let (violated, _) = check::check_all(&scenario, &history);
    let mut known = Observed::new();
    let (known, unknown): (Vec<_>, Vec<_>) = violated.into_iter().partition(|violation| known.count(violation));
    if !known.is_empty() {
        println!("\nseed {seed} violates, as is known,\n{}", list(&known));
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("seed {seed} violates\n{}", list(&unknown)))
}

fn run(seed: u64, sums: &Mutex<Sums>) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let scenario = Scenario::draw(seed);
        let history = world::play(&scenario);
        let (mut violated, figures) = check::check_all(&scenario, &history);
        if seed.is_multiple_of(TWICE_EVERY) {
            let again = world::play(&scenario);
            if trace::lines(&scenario, &history) != trace::lines(&scenario, &again) {
                violated.push(Violation {
                    check: "determinism",
                    promise: "a seed is always the same run",
                    what: "a second run of the same seed went another way".to_owned(),
                });
            }
        }
        (violated, figures)
    }));
    let (violated, of_run) = played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("  a panic: {}", text.unwrap_or_default())
    })?;
    let mut sums = sums.lock().expect("sums");
    sums.figures.add(&of_run);
    let unknown: Vec<Violation> = violated
        .into_iter()
        .filter(|violation| !sums.known.count(violation))
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(list(&unknown))
    }
}

/// Reports a seed that failed, and how to play it again.
fn fail(seed: u64, violated: &str, failures_before: u64) {
    if failures_before < REPORTED_MAX {
        println!("\nseed {seed} violates\n{violated}\n    cargo test --test simulation -- --seed {seed}");
    }
}

fn list(violated: &[Violation]) -> String {
    let line = |violation: &Violation| format!("  {}: {}", violation.check, violation.what);
    violated.iter().map(line).collect::<Vec<_>>().join("\n")
}
