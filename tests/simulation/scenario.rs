//! What happens in one run, drawn from a seed before anything runs.

use std::collections::BTreeSet;
use std::time::Duration;

use bankrefresh::broker::memory::Latency;
use bankrefresh::finapi::breaker;
use bankrefresh::refresh::Policy;
use bankrefresh::sandbox::{Endpoint, FaultKind, SandboxConfig};
use bankrefresh::worker;
use jiff::Timestamp;

use crate::commands::{self, Command};
use crate::draw::Draw;
use crate::platform;

/// One run.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    /// The time of day at its beginning.
    pub(crate) start: Timestamp,
    pub(crate) workers: usize,
    pub(crate) settings: worker::Settings,
    pub(crate) policy: Policy,
    pub(crate) breaker: breaker::Settings,
    pub(crate) calls_max: usize,
    pub(crate) page_size: u32,
    /// The longest a call takes before finAPI does the work, and after.
    pub(crate) finapi_latency: Duration,
    pub(crate) broker_latency: Latency,
    pub(crate) sandbox: SandboxConfig,
    pub(crate) callbacks: bool,
    pub(crate) commands: Vec<Command>,
    /// In the order of their times.
    pub(crate) plan: Vec<(Duration, Act)>,
    /// After these effects on the broker, counted over all workers, the one that had it dies, before its next.
    pub(crate) deadly: BTreeSet<u32>,
    /// From here on nothing goes wrong any more.
    pub(crate) calm_at: Duration,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A copy of the command of this number is published.
    Publish(usize),
    /// The worker dies.
    Kill(usize),
    /// The worker is told to stop.
    Stop(usize),
    /// The worker dies right after something it did at the broker, and is started again.
    KillAfterEffect(usize),
    /// A worker is started in its place.
    Start(usize),
    /// The broker goes away, or comes back.
    BrokerDown(bool),
    /// The confirm of the next publish is lost.
    LoseConfirm,
    /// finAPI goes down at these endpoints, or comes back.
    FinapiDown(Option<(FaultKind, Vec<Endpoint>)>),
    /// A user's token dies.
    RevokeToken(String),
    /// finAPI's own batch update takes a connection.
    BatchUpdate(i64, Duration),
}

const SECOND: Duration = Duration::from_secs(1);

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let start = draw.pick(&[
            "2026-03-10T09:36:15Z",
            "2026-03-10T22:58:40Z",
            "2026-03-29T00:58:30Z",
            "2026-10-25T00:40:00Z",
            "2026-12-31T22:59:00Z",
        ]);
        let start: Timestamp = start.parse().expect("a timestamp");
        let platform = platform::Platform::draw(&mut draw);
        let commands = commands::draw(&mut draw, &platform, start);
        let workers = draw.usize(1..=3);
        let busy_until = commands.iter().map(|command| command.at).max().unwrap_or_default();
        let trouble_until = busy_until + draw.up_to(60 * SECOND);
        let mut plan = Vec::new();
        for (number, command) in commands.iter().enumerate() {
            plan.push((command.at, Act::Publish(number)));
            plan.extend(command.copies.iter().map(|at| (*at, Act::Publish(number))));
        }
        trouble(&mut draw, workers, trouble_until, &platform, &mut plan);
        plan.sort_by_key(|(at, _)| *at);
        let calm_at = plan.last().map_or(trouble_until, |(at, _)| trouble_until.max(*at));
        Self {
            seed,
            start,
            workers,
            settings: settings(&mut draw),
            policy: policy(&mut draw),
            breaker: breaker::Settings {
                failures: draw.pick(&[3, 20]),
                ..breaker::Settings::default()
            },
            calls_max: draw.pick(&[1, 2, 64, 64]),
            page_size: draw.pick(&[20, 500, 500]),
            finapi_latency: latency(&mut draw),
            broker_latency: Latency {
                publish: latency(&mut draw),
                confirm: latency(&mut draw),
                ack: latency(&mut draw),
            },
            sandbox: platform.sandbox(&mut draw, seed, start),
            callbacks: draw.chance(0.4),
            deadly: deadly(&mut draw, commands.len()),
            commands,
            plan,
            calm_at,
        }
    }
}

/// Some of about as many effects as so many commands take.
fn deadly(draw: &mut Draw, commands: usize) -> BTreeSet<u32> {
    let effects = 8 * u32::try_from(commands).unwrap_or(u32::MAX).max(1);
    let count = draw.up_to_number(6, 0.7);
    (0..count).map(|_| draw.u32(1..=effects)).collect()
}

fn latency(draw: &mut Draw) -> Duration {
    let longest = draw.pick(&[0, 0, 20, 200, 200, 1500]);
    Duration::from_millis(longest)
}

fn settings(draw: &mut Draw) -> worker::Settings {
    worker::Settings {
        in_flight: draw.pick(&[1, 2, 4, 2000]),
        hold_wait_max: draw.pick(&[Duration::ZERO, 2 * SECOND, 30 * SECOND]),
        hold_max: draw.pick(&[SECOND, 10 * SECOND, 120 * SECOND]),
        drain_timeout: draw.pick(&[SECOND, 6 * SECOND]),
    }
}

fn policy(draw: &mut Draw) -> Policy {
    let mut policy = Policy::default();
    policy.polling.initial = draw.pick(&[SECOND, Duration::from_millis(1500), 3 * SECOND]);
    policy.polling.locked_max = draw.pick(&[5 * SECOND, 60 * SECOND]);
    policy.retry.attempts = draw.pick(&[3, 12, 12]);
    policy.limits.refresh = match draw.chance(0.2) {
        true => draw.pick(&[60 * SECOND, 300 * SECOND]),
        false => policy.limits.refresh,
    };
    if draw.chance(0.1) {
        policy.limits.updating = 10 * SECOND;
        policy.limits.settling = 5 * SECOND;
    }
    policy.limits.web_form_grace = 10 * SECOND;
    policy.events.size_max = draw.pick(&[3_000, 64 * 1024, 512 * 1024]);
    policy
}

fn trouble(
    draw: &mut Draw,
    workers: usize,
    until: Duration,
    platform: &platform::Platform,
    plan: &mut Vec<(Duration, Act)>,
) {
    for _ in 0..draw.up_to_number(5, 0.6) {
        let at = draw.up_to(until);
        let worker = draw.usize(0..=workers - 1);
        let away = draw.pick(&[Duration::ZERO, SECOND, 20 * SECOND]);
        let ends = if draw.chance(0.7) {
            Act::Kill(worker)
        } else {
            Act::Stop(worker)
        };
        plan.push((at, ends));
        plan.push((at + draw.up_to(away), Act::Start(worker)));
    }
    for _ in 0..draw.up_to_number(2, 0.3) {
        let at = draw.up_to(until);
        let lasts = draw.pick(&[0, 1, 10, 90]);
        plan.push((at, Act::BrokerDown(true)));
        plan.push((at + draw.up_to(lasts * SECOND), Act::BrokerDown(false)));
    }
    for _ in 0..draw.up_to_number(3, 0.3) {
        plan.push((draw.up_to(until), Act::LoseConfirm));
    }
    if draw.chance(0.25) {
        let at = draw.up_to(until);
        let faults = platform::outages();
        let kind = draw.pick(&faults);
        let endpoints = draw.pick(&platform::hosts());
        plan.push((at, Act::FinapiDown(Some((kind, endpoints)))));
        plan.push((at + draw.up_to(120 * SECOND), Act::FinapiDown(None)));
    }
    for _ in 0..draw.up_to_number(2, 0.2) {
        let user = draw.pick(&platform.users);
        plan.push((draw.up_to(until), Act::RevokeToken(user)));
    }
    if draw.chance(0.2) {
        let (connection, _) = draw.pick(&platform.connections);
        let takes = draw.up_to(30 * SECOND);
        plan.push((draw.up_to(until), Act::BatchUpdate(connection, takes)));
    }
}
