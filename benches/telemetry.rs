//! What telemetry costs a worker: throughput, CPU and memory with everything on, to a collector and to one that never answers, over
//! the same with telemetry off, turn by turn.
//!
//! `cargo bench --bench telemetry`

#![expect(unreachable_pub, reason = "nothing depends on a benchmark")]

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/integration/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use bankrefresh::sandbox::{After, Behaviour, SandboxConfig, Script};

use crate::support::collector::{Collector, hanging};
use crate::support::platform::{Platform, command, quick};

const REFRESHES: i64 = 2000;

#[tokio::main]
async fn main() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut ratios = [Vec::new(), Vec::new()];
    let hanging = hanging().await;
    for turn in 0..5 {
        let mut taken = [(0.0, 0.0, 0.0); 3];
        for (which, taken) in taken.iter_mut().enumerate() {
            let mut platform = Platform::start(taking_a_second()).await;
            let collector = Collector::start().await;
            let on = |url| [("TELEMETRY__OTLP_ENDPOINT", url), ("ADMIN__LISTEN", "127.0.0.1:0")];
            let (on, to_nobody) = (on(collector.url.as_str()), on(hanging.as_str()));
            let off = [("TELEMETRY__LOG_LEVEL", "off")];
            let settings: [&[_]; 3] = [&off, &on, &to_nobody];
            platform.send_all((1..=REFRESHES).map(command).collect(), false).await;
            let since = Instant::now();
            let worker = platform.worker(settings[which]);
            platform.outcomes(usize::try_from(REFRESHES).expect("a count")).await;
            let pid = worker.child.id().expect("it runs");
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its CPU time");
            let after_name = stat.rsplit(')').next().expect("fields").split_whitespace();
            let ticks: f64 = after_name
                .skip(11)
                .take(2)
                .map(|ticks| ticks.parse::<f64>().expect("ticks"))
                .sum();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its memory");
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak: f64 = peak
                .and_then(|kib| kib.trim().trim_end_matches(" kB").parse().ok())
                .expect("KiB");
            let took = since.elapsed().as_secs_f64();
            *taken = (took, ticks * 10.0 / REFRESHES as f64, peak / 1024.0);
        }
        for (name, (took, cpu, peak)) in ["off", "on", "to one that hangs"].iter().zip(taken) {
            println!("turn {turn}: {name}: {took:.2} s, {cpu:.3} ms of CPU each, at most {peak:.0} MiB");
        }
        ratios[0].push(taken[0].0 / taken[1].0);
        ratios[1].push(taken[0].0 / taken[2].0);
    }
    for (name, ratios) in ["on", "to one that hangs"].iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        println!("throughput {name} over off: median {:.2} of {ratios:.2?}", ratios[2]);
    }
}

fn taking_a_second() -> SandboxConfig {
    let default_script = Script::of(Behaviour::Silent {
        after: After::Fixed(Duration::from_secs(1)),
    });
    SandboxConfig {
        default_script,
        ..quick()
    }
}
