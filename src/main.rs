//! The `bankrefresh` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    bankrefresh::cli::run()
}
