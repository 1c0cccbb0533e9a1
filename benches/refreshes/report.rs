//! What a turn came to, in words.

use std::fmt;

use crate::process::Used;
use crate::protocol::Protocol;
use crate::run::Run;

/// One turn's figures, per refresh where that makes sense.
#[derive(Clone, Debug)]
pub struct Report {
    pub protocol: Protocol,
    worker: Figures,
    minimal: Figures,
    http_ms: f64,
    amqp_ms: f64,
    requests: usize,
    waves: Vec<usize>,
    memory: Vec<f64>,
}

/// What a worker of either kind came to.
#[derive(Clone, Debug)]
struct Figures {
    per_second: f64,
    cpu_ms: f64,
    peak_mb: f64,
    detection: [f64; 2],
    calls: f64,
    messages: f64,
    sandbox_ms: f64,
}

impl Figures {
    fn of(run: &Run) -> Self {
        let count = run.refreshes as f64;
        let at = |share: f64| run.detections[((run.refreshes - 1) as f64 * share) as usize];
        Self {
            per_second: count / run.took.as_secs_f64(),
            cpu_ms: run.used.cpu * 1000.0 / count,
            peak_mb: run.used.peak_mb,
            detection: [at(0.5), at(0.99)],
            calls: run.heard.calls.values().sum::<usize>() as f64 / count,
            messages: run.messages as f64 / count,
            sandbox_ms: run.sandbox_cpu * 1000.0 / count,
        }
    }
}

impl Report {
    pub fn new(worker: &Run, minimal: &Run, http: Used, amqp: Used) -> Self {
        let count = worker.refreshes as f64;
        Self {
            protocol: worker.simulator.protocol,
            worker: Figures::of(worker),
            minimal: Figures::of(minimal),
            http_ms: http.cpu * 1000.0 / count,
            amqp_ms: amqp.cpu * 1000.0 / count,
            requests: worker.heard.spoken.values().sum(),
            waves: worker.waves.clone(),
            memory: worker.memory.clone(),
        }
    }

    fn floor_ms(&self) -> f64 {
        self.http_ms + self.amqp_ms
    }

    fn over_floor(&self) -> f64 {
        self.worker.cpu_ms / self.floor_ms()
    }

    fn over_minimal(&self) -> f64 {
        self.worker.cpu_ms / self.minimal.cpu_ms
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} ms of CPU each, {:.0} refreshes/s, peak {:.0} MB, from end to event {:.2} s (p50), {:.2} s (p99), {:.2} calls, \
             {:.2} messages, simulator {:.3} ms",
            self.cpu_ms,
            self.per_second,
            self.peak_mb,
            self.detection[0],
            self.detection[1],
            self.calls,
            self.messages,
            self.sandbox_ms,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {}; minimal loop {}; floor {:.3} ms (HTTP {:.3}, AMQP {:.3}); worker over floor {:.2}, over minimal loop {:.2}; \
             all {} requests of the worker by this protocol; MB after each quarter {:.0?}; events in each second {:?}",
            self.worker,
            self.minimal,
            self.floor_ms(),
            self.http_ms,
            self.amqp_ms,
            self.over_floor(),
            self.over_minimal(),
            self.requests,
            self.memory,
            self.waves,
        )
    }
}

/// A figure's name, and how to read it from a report.
type Figure = (&'static str, fn(&Report) -> f64);

/// The middle of each figure, with the least and the most.
pub fn medians(protocol: Protocol, reports: &[&Report]) {
    let figures: [Figure; 20] = [
        ("worker CPU, ms per refresh", |report| report.worker.cpu_ms),
        ("minimal loop CPU, ms", |report| report.minimal.cpu_ms),
        ("floor CPU, ms per refresh", Report::floor_ms),
        ("  of that HTTP", |report| report.http_ms),
        ("  of that AMQP", |report| report.amqp_ms),
        ("worker over floor", Report::over_floor),
        ("worker over minimal loop", Report::over_minimal),
        ("refreshes per second", |report| report.worker.per_second),
        ("  minimal loop", |report| report.minimal.per_second),
        ("peak memory, MB", |report| report.worker.peak_mb),
        ("  minimal loop", |report| report.minimal.peak_mb),
        ("end to event, s, p50", |report| report.worker.detection[0]),
        ("  minimal loop", |report| report.minimal.detection[0]),
        ("end to event, s, p99", |report| report.worker.detection[1]),
        ("  minimal loop", |report| report.minimal.detection[1]),
        ("calls of finAPI per refresh", |report| report.worker.calls),
        ("  minimal loop", |report| report.minimal.calls),
        ("messages per refresh", |report| report.worker.messages),
        ("simulator CPU, ms", |report| report.worker.sandbox_ms),
        ("  for the minimal loop", |report| report.minimal.sandbox_ms),
    ];
    println!("{protocol:<30} {:>9} {:>9} {:>9}", "median", "least", "most");
    for (name, figure) in figures {
        let mut values: Vec<f64> = reports.iter().map(|report| figure(report)).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        println!("{name:<30} {:>9.3} {least:>9.3} {most:>9.3}", values[values.len() / 2]);
    }
}
