//! What the calls and the messages cost by themselves, each in a process of its own.

pub mod amqp;
pub mod http;

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::process::{self, Running, Used};

/// Starts this program again for one floor.
async fn measured(arguments: &[String], roots: &Path) -> Used {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(arguments).env("SSL_CERT_FILE", roots);
    let mut running = Running::start(command.stdout(Stdio::piped()));
    let line = running.line_with("used").await;
    let cpu = line.split_whitespace().nth(1).and_then(|text| text.parse().ok());
    Used {
        cpu: cpu.expect("its CPU time"),
        ..Used::default()
    }
}

/// What a floor says at its end.
fn done() {
    println!("used {}", process::used("self").cpu);
}
