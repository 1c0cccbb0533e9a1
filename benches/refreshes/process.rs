//! What the kernel knows of a process.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::guard::Guard;

/// A process that ends with this one.
pub struct Running {
    pub child: Child,
    pub pid: u32,
    _guard: Guard,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time, in seconds.
    pub cpu: f64,
    /// The most memory so far, in megabytes.
    pub peak_mb: f64,
    /// The memory now, in megabytes.
    pub now_mb: f64,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.expect("the program starts");
        let pid = child.id().expect("it runs");
        let guard = Guard::new("kill -9 $1", &[&pid.to_string()]);
        Self {
            child,
            pid,
            _guard: guard,
        }
    }

    /// The first line of its output that has this text.
    pub async fn line_with(&mut self, text: &str) -> String {
        let stdout = self.child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let line = lines.next_line().await.expect("its output");
            let line = line.unwrap_or_else(|| panic!("it ended before it said {text:?}"));
            if line.contains(text) {
                // The rest goes nowhere, but goes.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return line;
            }
        }
    }

    pub fn used(&self) -> Used {
        used(&self.pid.to_string())
    }
}

/// What a process has used; `self` for this one.
pub fn used(pid: &str) -> Used {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
    let after_name = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // proc_pid_stat(5): utime and stime, in hundredths of a second.
    let ticks: f64 = after_name
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().expect("ticks"))
        .sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its memory");
    let memory = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        kilobytes.and_then(|text| text.parse::<f64>().ok()).unwrap_or_default() / 1000.0
    };
    Used {
        cpu: ticks / 100.0,
        peak_mb: memory("VmHWM:"),
        now_mb: memory("VmRSS:"),
    }
}
