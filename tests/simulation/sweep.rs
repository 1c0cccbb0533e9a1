//! Many seeds, or one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::check::{self, Figures};
use crate::scenario::Scenario;
use crate::{trace, world};

const THREADS: usize = 2;
/// Failures of a sweep that are told; the others are counted.
const TOLD_MAX: u64 = 20;
/// Every so many seeds one is played twice, and must be the same both times.
const TWICE_EVERY: u64 = 50;

/// Plays seeds side by side. The error says how many failed.
pub(crate) fn sweep(from: u64, seeds: u64) -> Result<(), String> {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let failures = AtomicU64::new(0);
    let figures = Mutex::new(Figures::default());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    if let Err(violated) = run(seed, &figures) {
                        fail(seed, &violated, failures.fetch_add(1, Ordering::Relaxed));
                    }
                }
            });
        }
    });
    let took = started.elapsed().as_secs_f64();
    let figures = figures.into_inner().expect("figures");
    println!("\n{figures}\n{seeds} seeds played in {took:.0} s");
    match failures.into_inner() {
        0 => Ok(()),
        failed => Err(format!("{failed} of {seeds} seeds failed")),
    }
}

/// Plays one seed and tells what happened. The error says what it violates.
pub(crate) fn tell(seed: u64) -> Result<(), String> {
    let scenario = Scenario::draw(seed);
    let history = world::play(&scenario);
    trace::print(&scenario, &history);
    let (violated, _) = check::check(&scenario, &history);
    if violated.is_empty() {
        return Ok(());
    }
    Err(format!("seed {seed} violates\n{}", told(&violated)))
}

fn run(seed: u64, figures: &Mutex<Figures>) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let scenario = Scenario::draw(seed);
        let history = world::play(&scenario);
        let (mut violated, figures) = check::check(&scenario, &history);
        if seed.is_multiple_of(TWICE_EVERY) {
            let again = world::play(&scenario);
            if trace::lines(&scenario, &history) != trace::lines(&scenario, &again) {
                violated.push("determinism: a second run of the same seed went another way".to_owned());
            }
        }
        (violated, figures)
    }));
    let (violated, of_run) = played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("  a panic: {}", text.unwrap_or_default())
    })?;
    figures.lock().expect("figures").add(&of_run);
    if violated.is_empty() {
        Ok(())
    } else {
        Err(told(&violated))
    }
}

/// Tells of a seed that failed, and how to play it again.
fn fail(seed: u64, violated: &str, failures_before: u64) {
    if failures_before < TOLD_MAX {
        println!("\nseed {seed} violates\n{violated}\n    cargo test --test simulation -- --seed {seed}");
    }
}

fn told(violated: &[String]) -> String {
    let lines: Vec<String> = violated.iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
