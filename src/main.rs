//! The `bankrefresh` program.

use std::process::ExitCode;

/// A refresh is many small allocations that other threads free, which the system's allocator is slow at. Its version 2 gives memory back
/// after a burst; version 3 waits for more work to do so.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bankrefresh::cli::run()
}
