//! What one input costs: the thread's CPU time, the memory that is in use at the same time, and whether it panicked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What one run of an input took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    /// The most bytes that were allocated at the same time.
    pub(crate) bytes: u64,
    /// How many allocations there were. It says how far a parser came, so it stands in for coverage.
    pub(crate) allocations: u64,
}

/// Runs an input. The error says where it panicked and why.
pub(crate) fn of(run: fn(&[u8]), input: &[u8]) -> Result<Cost, String> {
    let mut ended = Ok(());
    let began = cpu();
    let memory = allocation_counter::measure(|| ended = catch_unwind(AssertUnwindSafe(|| run(input))));
    let cpu = cpu().saturating_sub(began);
    match ended {
        Ok(()) => Ok(Cost {
            cpu,
            bytes: memory.bytes_max,
            allocations: memory.count_total,
        }),
        Err(_) => Err(PANIC.take()),
    }
}

/// Panics are outcomes here: they are kept, and not printed.
pub(crate) fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        allocation_counter::opt_out(|| PANIC.set(text));
    }));
}

/// Has the allocator keep what is freed. Otherwise it returns large blocks to the kernel, and getting them again costs more time than
/// reading the input: glibc does so with what is larger than the largest such block that was ever freed.
pub(crate) fn keep_memory() {
    drop(std::hint::black_box(vec![1_u8; 31 * 1024 * 1024]));
}

/// The CPU time of a known piece of work, on this machine and with this compiler's settings: a thousand texts become keys of a map, as most
/// readers do with what they read. The least of some measurements, because others on the machine only add to it.
pub(crate) fn work() -> Duration {
    static WORK: OnceLock<Duration> = OnceLock::new();
    *WORK.get_or_init(|| {
        let measured = (0..20).map(|_| {
            let began = cpu();
            let map: BTreeMap<String, usize> = (0..1000).map(|number| (format!("{number:08}"), number)).collect();
            std::hint::black_box(map);
            cpu().saturating_sub(began)
        });
        measured.min().unwrap_or_default()
    })
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}
