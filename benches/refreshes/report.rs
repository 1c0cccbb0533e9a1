//! What a turn came to, in words.

use std::fmt;

use crate::process::Used;
use crate::run::Run;

/// One turn's figures, per refresh where that makes sense.
#[derive(Clone, Debug)]
pub struct Report {
    per_second: f64,
    cpu_ms: f64,
    http_ms: f64,
    amqp_ms: f64,
    peak_mb: f64,
    sandbox_ms: f64,
    calls: f64,
    messages: f64,
    notice: [f64; 2],
    waves: Vec<usize>,
    memory: Vec<f64>,
}

impl Report {
    pub fn new(run: &Run, http: Used, amqp: Used) -> Self {
        let count = run.refreshes as f64;
        let at = |share: f64| run.notices[((run.refreshes - 1) as f64 * share) as usize];
        Self {
            per_second: count / run.took.as_secs_f64(),
            cpu_ms: run.used.cpu * 1000.0 / count,
            http_ms: http.cpu * 1000.0 / count,
            amqp_ms: amqp.cpu * 1000.0 / count,
            peak_mb: run.used.peak_mb,
            sandbox_ms: run.sandbox_cpu * 1000.0 / count,
            calls: run.calls.values().sum::<usize>() as f64 / count,
            messages: run.messages as f64 / count,
            notice: [at(0.5), at(0.99)],
            waves: run.waves.clone(),
            memory: run.memory.clone(),
        }
    }

    fn floor_ms(&self) -> f64 {
        self.http_ms + self.amqp_ms
    }

    fn ratio(&self) -> f64 {
        self.cpu_ms / self.floor_ms()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} refreshes/s; worker {:.3} ms of CPU each; floor {:.3} ms (HTTP {:.3}, AMQP {:.3}); ratio {:.2}; peak {:.0} MB; \
             noticed after {:.2} s (p50), {:.2} s (p99); {:.2} calls, {:.2} messages; simulator {:.3} ms; MB after each \
             quarter {:.0?}; told each second {:?}",
            self.per_second,
            self.cpu_ms,
            self.floor_ms(),
            self.http_ms,
            self.amqp_ms,
            self.ratio(),
            self.peak_mb,
            self.notice[0],
            self.notice[1],
            self.calls,
            self.messages,
            self.sandbox_ms,
            self.memory,
            self.waves,
        )
    }
}

/// A figure's name, and how it is read off a report.
type Figure = (&'static str, fn(&Report) -> f64);

/// The middle of each figure, with the least and the most.
pub fn medians(reports: &[Report]) {
    let figures: [Figure; 11] = [
        ("refreshes per second", |report| report.per_second),
        ("worker CPU, ms per refresh", |report| report.cpu_ms),
        ("floor CPU, ms per refresh", Report::floor_ms),
        ("  of that HTTP", |report| report.http_ms),
        ("  of that AMQP", |report| report.amqp_ms),
        ("worker over floor", Report::ratio),
        ("peak memory, MB", |report| report.peak_mb),
        ("noticed after, s, p50", |report| report.notice[0]),
        ("noticed after, s, p99", |report| report.notice[1]),
        ("calls of finAPI per refresh", |report| report.calls),
        ("messages per refresh", |report| report.messages),
    ];
    println!("{:<30} {:>9} {:>9} {:>9}", "", "median", "least", "most");
    for (name, figure) in figures {
        let mut values: Vec<f64> = reports.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        println!("{name:<30} {:>9.3} {least:>9.3} {most:>9.3}", values[values.len() / 2]);
    }
}
