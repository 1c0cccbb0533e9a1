//! Many seeds, or one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::check::{self, Figures, Violation};
use crate::observed::Observed;
use crate::scenario::Scenario;
use crate::world::History;
use crate::{neighbours, strange, trace, world};

const THREADS: usize = 2;
/// Failures of a sweep that are reported; the others are counted.
const REPORTED_MAX: u64 = 20;
/// Every so many seeds one is played twice, and must be the same both times.
const TWICE_EVERY: u64 = 50;

/// What checks a run.
type Checks = fn(&Scenario, &History) -> (Vec<Violation>, Figures);

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
                    if let Err(violated) = judged(&sums, || run(seed, &Scenario::draw(seed), check::check_all)) {
                        fail("seed", seed, &violated, failures.fetch_add(1, Ordering::Relaxed));
                    }
                    if let Some(kind) = neighbours::kind_of(seed)
                        && let Err(violated) = judged(&sums, || neighbours::check(seed, kind))
                    {
                        fail("pair", seed, &violated, failures.fetch_add(1, Ordering::Relaxed));
                    }
                    if strange::goes_with(seed)
                        && let Err(violated) =
                            judged(&sums, || run(seed, &strange::scenario(seed), check::check_strange))
                    {
                        fail("strange", seed, &violated, failures.fetch_add(1, Ordering::Relaxed));
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
            known: Observed::of("simulation"),
        }
    }
}

/// Plays one seed and reports what happened. The error says what it violates.
pub(crate) fn report(seed: u64) -> Result<(), String> {
    report_on("seed", seed, &Scenario::draw(seed), check::check_all)
}

/// Plays the strange run of a seed and reports what happened. The error says what it violates.
pub(crate) fn report_strange(seed: u64) -> Result<(), String> {
    report_on("strange", seed, &strange::scenario(seed), check::check_strange)
}

fn report_on(what: &str, seed: u64, scenario: &Scenario, check: Checks) -> Result<(), String> {
    let history = world::play(scenario);
    trace::print(scenario, &history);
    let (violated, _) = check(scenario, &history);
    let mut known = Observed::of("simulation");
    let (known, unknown): (Vec<_>, Vec<_>) = violated.into_iter().partition(|violation| known.count(violation));
    if !known.is_empty() {
        println!("\n{what} {seed} violates, as is known,\n{}", list(&known));
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("{what} {seed} violates\n{}", list(&unknown)))
}

fn run(seed: u64, scenario: &Scenario, check: Checks) -> (Vec<Violation>, Figures) {
    let history = world::play(scenario);
    let (mut violated, figures) = check(scenario, &history);
    if seed.is_multiple_of(TWICE_EVERY) {
        let again = world::play(scenario);
        if trace::lines(scenario, &history) != trace::lines(scenario, &again) {
            violated.push(Violation {
                check: "determinism",
                promise: "a seed is always the same run",
                what: "a second run of the same seed went another way".to_owned(),
            });
        }
    }
    (violated, figures)
}

/// Plays something, and adds up what happened. The error says what it violates and is not known.
fn judged(sums: &Mutex<Sums>, play: impl FnOnce() -> (Vec<Violation>, Figures)) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(play));
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

/// Reports a seed or a pair that failed, and how to play it again.
fn fail(what: &str, seed: u64, violated: &str, failures_before: u64) {
    if failures_before < REPORTED_MAX {
        println!("\n{what} {seed} violates\n{violated}\n    cargo test --test simulation -- --{what} {seed}");
    }
}

fn list(violated: &[Violation]) -> String {
    let line = |violation: &Violation| format!("  {}: {}", violation.check, violation.what);
    violated.iter().map(line).collect::<Vec<_>>().join("\n")
}
