//! The `bankrefresh` program.

use std::process::ExitCode;

/// A refresh is many small allocations that other threads free, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bankrefresh::cli::run()
}
