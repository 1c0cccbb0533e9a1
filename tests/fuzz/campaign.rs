//! One target and its inputs: runs them, judges what each costs, and reduces what fails.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bankrefresh::fuzzing::Target;

use crate::corpus;
use crate::cost::{self, Cost};
use crate::mutation::{Input, Mutator};

/// The most CPU time that an input may take, as a multiple of a known piece of work's: machines differ by more than twice.
const WORKS_MAX: u32 = 600;
/// The most memory that an input may need at the same time.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// From here on an input is also doubled.
const DOUBLED_FROM: Duration = Duration::from_millis(1);
/// How many times the CPU time of an input its double may take.
const RATIO_MAX: f64 = 2.5;
/// Time that is too long counts if it is measured so often in a row: other programs disturb a single measurement.
const MEASURED: u32 = 3;
/// The stack of the threads that read such bytes in a worker.
const STACK_BYTES: usize = 2 * 1024 * 1024;
/// Inputs that are kept to be changed further: so many, and none longer.
const KEPT_MAX: usize = 2000;
const KEPT_BYTES_MAX: usize = 4096;
/// How long the reduction of an input may take.
const REDUCING_MAX: Duration = Duration::from_secs(10);

/// Why an input fails.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    Panic(String),
    /// What it took, and what it may take.
    Slow(Duration, Duration),
    Large(u64),
    /// What it took, and what its double took.
    Superlinear(Duration, Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(what) => write!(f, "it {what}"),
            Self::Slow(cpu, max) => write!(f, "it takes {cpu:?} of CPU time, more than {max:?}"),
            Self::Large(bytes) => write!(f, "it needs {bytes} bytes, more than {BYTES_MAX}"),
            Self::Superlinear(one, two) => write!(
                f,
                "it takes {one:?} and its double {two:?}, more than {RATIO_MAX} times"
            ),
        }
    }
}

/// The figures of one target.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: &'static str,
    inputs: u64,
    kept: usize,
    cpu: Duration,
    bytes: u64,
    doubled: u64,
    ratio: f64,
}

/// Gives a target so many inputs, on a thread like those of a worker.
pub(crate) fn run(target: &'static Target, inputs: u64, seed: u64) -> Result<Row, String> {
    on_thread(move || Campaign::new(target)?.run(inputs, seed))
}

/// Gives a target one input.
pub(crate) fn replay(target: &'static Target, bytes: &[u8]) -> Result<Row, String> {
    let input = Input::from(bytes.to_vec());
    on_thread(move || {
        let mut campaign = Campaign::new(target)?;
        campaign.give(&input)?;
        Ok(campaign.row)
    })
}

fn on_thread<T: Send + 'static>(run: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    let thread = thread.map_err(|error| error.to_string())?;
    thread
        .join()
        .unwrap_or_else(|_| Err("the campaign panicked".to_owned()))
}

struct Campaign {
    target: &'static Target,
    /// The input that runs, in case that it ends the process.
    running: File,
    running_path: PathBuf,
    row: Row,
}

impl Campaign {
    fn new(target: &'static Target) -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
        let running_path = folder.join(format!("{}.running", target.name));
        let opened = std::fs::create_dir_all(&folder).and_then(|()| File::create(&running_path));
        let running = opened.map_err(|error| format!("{}: {error}", running_path.display()))?;
        let row = Row {
            name: target.name,
            inputs: 0,
            kept: 0,
            cpu: Duration::ZERO,
            bytes: 0,
            doubled: 0,
            ratio: 0.0,
        };
        Ok(Self {
            target,
            running,
            running_path,
            row,
        })
    }

    fn run(mut self, inputs: u64, seed: u64) -> Result<Row, String> {
        let mut pool = corpus::of(self.target);
        let mut mutator = Mutator::new(seed, self.target, &pool);
        let mut seen = BTreeSet::new();
        for bytes in pool.clone() {
            let cost = self.give(&Input::from(bytes))?;
            seen.insert(cost.allocations);
        }
        let of_corpus = pool.len();
        while self.row.inputs < inputs {
            let input = mutator.next(&pool);
            let cost = self.give(&input)?;
            let is_new = input.bytes.len() <= KEPT_BYTES_MAX && seen.insert(cost.allocations);
            if is_new && pool.len() < of_corpus + KEPT_MAX {
                pool.push(input.bytes);
            }
        }
        self.row.kept = pool.len() - of_corpus;
        // Nothing ended the process.
        let _ = std::fs::remove_file(&self.running_path);
        Ok(self.row)
    }

    fn give(&mut self, input: &Input) -> Result<Cost, String> {
        self.row.inputs += 1;
        self.judge(input).map_err(|fault| self.report(input, &fault))
    }

    fn judge(&mut self, input: &Input) -> Result<Cost, Fault> {
        let length = u64::try_from(input.bytes.len()).unwrap_or_default();
        let written = self
            .running
            .write_all_at(&input.bytes, 0)
            .and_then(|()| self.running.set_len(length));
        written.expect("the input that runs is written down");
        let cost = judge(self.target.run, &input.bytes)?;
        self.row.cpu = self.row.cpu.max(cost.cpu);
        self.row.bytes = self.row.bytes.max(cost.bytes);
        if cost.cpu >= DOUBLED_FROM {
            self.row.doubled += 1;
            for [double, quadruple] in input.doubles() {
                let ratio = match judge_double(self.target.run, &input.bytes, &double) {
                    Err(Fault::Superlinear(..)) => judge_double(self.target.run, &double, &quadruple)?,
                    judged => judged?,
                };
                self.row.ratio = self.row.ratio.max(ratio);
            }
        }
        Ok(cost)
    }

    /// Writes the input, and a shorter one that fails in the same way, to files.
    fn report(&self, input: &Input, fault: &Fault) -> String {
        let write = |name: &str, bytes: &[u8]| {
            let path = self.running_path.with_extension(name);
            match std::fs::write(&path, bytes) {
                Ok(()) => format!("{} ({} bytes)", path.display(), bytes.len()),
                Err(error) => error.to_string(),
            }
        };
        let reduced = match fault {
            Fault::Superlinear(..) => input.bytes.clone(),
            _ => reduce(self.target.run, &input.bytes, fault),
        };
        let name = self.target.name;
        let (first, second) = (write("input", &input.bytes), write("reduced", &reduced));
        format!(
            "{name}: {fault}\ninput {}: {first}\nreduced: {second}\n{}",
            self.row.inputs,
            String::from_utf8_lossy(&reduced[..reduced.len().min(1000)]).escape_debug()
        )
    }
}

/// What an input costs, if that is allowed.
pub(crate) fn judge(run: fn(&[u8]), bytes: &[u8]) -> Result<Cost, Fault> {
    let mut cost = cost::of(run, bytes).map_err(Fault::Panic)?;
    if cost.bytes > BYTES_MAX {
        return Err(Fault::Large(cost.bytes));
    }
    let max = cost::work() * WORKS_MAX;
    for _ in 1..MEASURED {
        if cost.cpu <= max {
            return Ok(cost);
        }
        cost = cost::of(run, bytes).map_err(Fault::Panic)?;
    }
    if cost.cpu <= max {
        Ok(cost)
    } else {
        Err(Fault::Slow(cost.cpu, max))
    }
}

/// How many times the CPU time of an input its double takes, if that is allowed. What is broken off may be whole when it is doubled, and what is
/// read costs more than what is refused: so a cost that grows too fast counts if it does so once more from the double to the quadruple.
pub(crate) fn judge_double(run: fn(&[u8]), bytes: &[u8], double: &[u8]) -> Result<f64, Fault> {
    let mut fault = Fault::Superlinear(Duration::ZERO, Duration::ZERO);
    for _ in 0..MEASURED {
        let one = cost::of(run, bytes).map_err(Fault::Panic)?.cpu;
        let two = cost::of(run, double).map_err(Fault::Panic)?.cpu;
        let ratio = two.as_secs_f64() / one.as_secs_f64();
        if ratio <= RATIO_MAX {
            return Ok(ratio);
        }
        fault = Fault::Superlinear(one, two);
    }
    Err(fault)
}

/// Takes away pieces, smaller and smaller ones, as long as the rest fails in the same way.
pub(crate) fn reduce(run: fn(&[u8]), bytes: &[u8], fault: &Fault) -> Vec<u8> {
    let same = |bytes: &[u8]| match (fault, judge(run, bytes)) {
        (Fault::Panic(one), Err(Fault::Panic(other))) => place(one) == place(&other),
        (Fault::Slow(..), Err(Fault::Slow(..))) | (Fault::Large(_), Err(Fault::Large(_))) => true,
        _ => false,
    };
    let mut rest = bytes.to_vec();
    let (mut piece, began) = (rest.len() / 2, Instant::now());
    while piece > 0 {
        let mut at = 0;
        while at < rest.len() && began.elapsed() < REDUCING_MAX {
            let shorter = [&rest[..at], &rest[(at + piece).min(rest.len())..]].concat();
            if same(&shorter) {
                rest = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    rest
}

/// Where it panicked: the rest of the text may depend on the input.
fn place(panic: &str) -> &str {
    panic.lines().next().unwrap_or_default()
}

/// A table of all targets that passed.
pub(crate) fn print(rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.name);
    println!("| target | inputs | kept | most CPU time | most memory | doubled | highest ratio |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let (milliseconds, megabytes) = (row.cpu.as_secs_f64() * 1000.0, to_megabytes(row.bytes));
        println!(
            "| {} | {} | {} | {milliseconds:.1} ms | {megabytes:.1} MB | {} | {:.2} |",
            row.name, row.inputs, row.kept, row.doubled, row.ratio
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "only shown")]
fn to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1024 * 1024)
}
