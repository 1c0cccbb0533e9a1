//! What happens in one run, drawn from a seed before anything runs.

use std::collections::BTreeSet;
use std::time::Duration;

use bankrefresh::broker::memory::{Latency, PublishFault};
use bankrefresh::finapi::breaker;
use bankrefresh::finapi::version::ApiVersion;
use bankrefresh::id::BankId;
use bankrefresh::refresh::Policy;
use bankrefresh::refresh::order::Target;
use bankrefresh::sandbox::{self, Endpoint, FaultKind, SandboxConfig};
use bankrefresh::worker;
use jiff::Timestamp;

use crate::commands::{self, Command, Load};
use crate::draw::{Draw, Source, Variant};
use crate::platform::{self, Platform};
use crate::strange::Strange;

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
    /// How many users' tokens a worker keeps.
    pub(crate) users_max: usize,
    /// The longest a call takes before finAPI does the work, and after.
    pub(crate) finapi_latency: Duration,
    pub(crate) broker_latency: Latency,
    pub(crate) sandbox: SandboxConfig,
    /// Which version of Access the workers speak.
    pub(crate) api_version: ApiVersion,
    pub(crate) callbacks: bool,
    pub(crate) commands: Vec<Command>,
    /// In the order of their times.
    pub(crate) plan: Vec<(Duration, Act)>,
    /// After these effects on the broker, counted over all workers, the one that had it dies, before its next.
    pub(crate) deadly: BTreeSet<u32>,
    /// A message that kills workers.
    pub(crate) killer: Option<Killer>,
    /// Whoever asks for this user's credentials waits for ever.
    pub(crate) hung_credentials: Option<String>,
    /// What no one should do.
    pub(crate) strange: Vec<Strange>,
    /// Workers are asked for their status now and then.
    pub(crate) asks_for_status: bool,
    /// From here on nothing goes wrong any more, but for what the killer does.
    pub(crate) calm_at: Duration,
    /// The run ends so long after that, whether all is done or not.
    pub(crate) quiet_max: Duration,
}

/// A message that kills every worker that begins to run it, until it is a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct Killer {
    /// The number of its command.
    pub(crate) command: usize,
    /// How long a worker lives after it has begun.
    pub(crate) after: Duration,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A duplicate of the command of this number is published.
    Publish(usize),
    /// The worker dies.
    Kill(usize),
    /// The worker is asked to stop.
    Stop(usize),
    /// The worker dies right after something it did at the broker, and is started again.
    KillAfterEffect(usize),
    /// The worker dies of the message that kills workers, and is started again.
    KillByMessage(usize),
    /// A worker is started in its place.
    Start(usize),
    /// The broker goes away, or comes back.
    BrokerDown(bool),
    /// The confirm of the next publish is lost.
    LoseConfirm,
    /// The next publish fails like this.
    FailPublish(PublishFault),
    /// finAPI goes down at these endpoints, or comes back.
    FinapiDown(Option<(FaultKind, Vec<Endpoint>)>),
    /// A user's token dies.
    RevokeToken(String),
    /// finAPI's own batch update takes a connection.
    BatchUpdate(i64, Duration),
    /// finAPI's client is bound to the other version of Access.
    SwitchVersion,
    /// An operator pauses something, for a time or until it is resumed.
    Pause(Target, Option<Duration>),
    /// It is resumed.
    Resume(Target),
    /// A platform cancels the command of this number, or every one of its user.
    Cancel(usize, bool),
    /// The strange act of this number begins.
    Begins(usize),
    /// It ends.
    Ends(usize),
}

const SECOND: Duration = Duration::from_secs(1);

/// Nothing may take longer than this once nothing goes wrong any more.
const QUIET_MAX: Duration = Duration::from_secs(2 * 3600);

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        Self::variant(seed, Variant::default())
    }

    pub(crate) fn variant(seed: u64, variant: Variant) -> Self {
        let source = Source::new(seed, variant);
        let start = start(&mut source.whole("start"));
        let platform = Platform::draw(&source);
        let load = Load::draw(&source);
        let mut commands = commands::draw(&source, &load, &platform, start);
        let killer = killer(&mut source.whole("killer"), &load, start, &mut commands);
        let mut whole = source.whole("workers");
        let workers = whole.usize(1..=3);
        let trouble = Trouble {
            source: &source,
            platform: &platform,
            workers,
            until: load.span + whole.up_to(60 * SECOND),
            commands: load.count,
        };
        let mut plan = published(&commands);
        plan.extend(trouble.draw());
        plan.sort_by_key(|(at, _)| *at);
        let calm_at = plan.last().map_or(trouble.until, |(at, _)| trouble.until.max(*at));
        let mut whole = source.whole("limits");
        let sandbox = platform.sandbox(&source, start);
        Self {
            seed,
            start,
            workers: source.numbers("worker", workers).len(),
            settings: settings(&mut source.whole("settings")),
            policy: policy(&mut source.whole("policy")),
            breaker: breaker::Settings {
                users: whole.pick(&[1, 3]),
                ..breaker::Settings::default()
            },
            calls_max: whole.pick(&[1, 2, 64, 64]),
            page_size: whole.pick(&[20, 500, 500]),
            users_max: 10,
            finapi_latency: latency(&mut source.whole("finapi latency")),
            broker_latency: broker_latency(&mut source.whole("broker latency")),
            api_version: setting(&source, &sandbox),
            sandbox,
            callbacks: source.whole("callbacks").chance(0.4),
            deadly: deadly(&source, load.count),
            killer,
            hung_credentials: None,
            strange: Vec::new(),
            asks_for_status: false,
            commands,
            plan,
            calm_at,
            quiet_max: QUIET_MAX,
        }
    }
}

/// Few workers have a version that is set, because no switch helps them.
fn setting(source: &Source, sandbox: &SandboxConfig) -> ApiVersion {
    match (source.whole("set version").chance(0.1), sandbox.api_version) {
        (false, _) => ApiVersion::Auto,
        (true, sandbox::ApiVersion::V1) => ApiVersion::V1,
        (true, sandbox::ApiVersion::V2) => ApiVersion::V2,
    }
}

fn start(draw: &mut Draw) -> Timestamp {
    let start = draw.pick(&[
        "2026-03-10T09:36:15Z",
        "2026-03-10T22:58:40Z",
        "2026-03-29T00:58:30Z",
        "2026-10-25T00:40:00Z",
        "2026-12-31T22:59:00Z",
    ]);
    start.parse().expect("a timestamp")
}

/// In one of 50 runs there is a message that kills workers.
fn killer(draw: &mut Draw, load: &Load, start: Timestamp, commands: &mut Vec<Command>) -> Option<Killer> {
    if !draw.chance(0.02) {
        return None;
    }
    let killer = Killer {
        command: commands.len(),
        after: draw.pick(&[Duration::ZERO, Duration::from_millis(50), SECOND]),
    };
    commands.push(commands::killer(draw, load, start));
    Some(killer)
}

pub(crate) fn published(commands: &[Command]) -> Vec<(Duration, Act)> {
    let mut plan = Vec::new();
    for (number, command) in commands.iter().enumerate() {
        plan.push((command.at, Act::Publish(number)));
        plan.extend(command.duplicates.iter().map(|at| (*at, Act::Publish(number))));
    }
    plan
}

/// Some of about as many effects as so many commands take.
fn deadly(source: &Source, commands: usize) -> BTreeSet<u32> {
    let effects = 8 * u32::try_from(commands).unwrap_or(u32::MAX).max(1);
    let count = source.whole("deadly effects").up_to_number(6, 0.7);
    let numbers = source.numbers("deadly effect", count as usize);
    numbers
        .map(|number| source.of("deadly effect", number).u32(1..=effects))
        .collect()
}

fn broker_latency(draw: &mut Draw) -> Latency {
    Latency {
        publish: latency(draw),
        confirm: latency(draw),
        ack: latency(draw),
    }
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
    policy.events.margin = draw.pick(&[Duration::ZERO, 60 * SECOND, 3600 * SECOND]);
    policy
}

/// What goes wrong.
struct Trouble<'a> {
    source: &'a Source,
    platform: &'a Platform,
    workers: usize,
    until: Duration,
    commands: usize,
}

/// Puts one thing that goes wrong into the plan.
type Goes = fn(&Trouble<'_>, &mut Draw, &mut Vec<(Duration, Act)>);

/// Each kind of trouble: the most of it in one run, and how probable it is that there is any.
const TROUBLE: [(&str, u32, f64, Goes); 12] = [
    ("worker ends", 5, 0.6, |trouble, draw, plan| {
        trouble.worker_ends(draw, plan)
    }),
    ("broker outage", 2, 0.3, |trouble, draw, plan| {
        trouble.broker_outage(draw, plan)
    }),
    ("lost confirm", 3, 0.3, |trouble, draw, plan| {
        trouble.lost_confirm(draw, plan)
    }),
    ("refused publish", 3, 0.2, |trouble, draw, plan| {
        trouble.refused(draw, plan)
    }),
    ("unconfirmed publish", 2, 0.2, |trouble, draw, plan| {
        trouble.unconfirmed(draw, plan)
    }),
    ("late confirm", 2, 0.2, |trouble, draw, plan| trouble.late(draw, plan)),
    ("finAPI outage", 1, 0.25, |trouble, draw, plan| {
        trouble.finapi_outage(draw, plan)
    }),
    ("revoked token", 2, 0.2, |trouble, draw, plan| {
        trouble.revoked_token(draw, plan)
    }),
    ("batch update", 1, 0.2, |trouble, draw, plan| {
        trouble.batch_update(draw, plan)
    }),
    ("switched version", 1, 0.1, |trouble, draw, plan| {
        trouble.switched_version(draw, plan)
    }),
    ("pause", 2, 0.2, |trouble, draw, plan| trouble.pause(draw, plan)),
    ("cancel", 3, 0.2, |trouble, draw, plan| trouble.cancel(draw, plan)),
];

impl Trouble<'_> {
    fn draw(&self) -> Vec<(Duration, Act)> {
        let mut plan = Vec::new();
        for (kind, most, probability, goes) in TROUBLE {
            let count = self.source.whole(kind).up_to_number(most, probability);
            for number in self.source.numbers(kind, count as usize) {
                goes(self, &mut self.source.of(kind, number), &mut plan);
            }
        }
        plan
    }

    fn worker_ends(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let at = draw.up_to(self.until);
        let worker = draw.usize(0..=self.workers - 1);
        let away = draw.pick(&[Duration::ZERO, SECOND, 20 * SECOND]);
        let ends = if draw.chance(0.7) {
            Act::Kill(worker)
        } else {
            Act::Stop(worker)
        };
        plan.push((at, ends));
        plan.push((at + draw.up_to(away), Act::Start(worker)));
    }

    fn broker_outage(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let at = draw.up_to(self.until);
        let lasts = draw.pick(&[0, 1, 10, 90]);
        plan.push((at, Act::BrokerDown(true)));
        plan.push((at + draw.up_to(lasts * SECOND), Act::BrokerDown(false)));
    }

    fn lost_confirm(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        plan.push((draw.up_to(self.until), Act::LoseConfirm));
    }

    /// Some in a row, as while a queue has no leader.
    fn refused(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let at = draw.up_to(self.until);
        for _ in 0..draw.usize(1..=3) {
            let which = draw.usize(0..=2);
            plan.push((at, Act::FailPublish(PublishFault::Refused { which })));
        }
    }

    fn unconfirmed(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let taken = draw.chance(0.5);
        let fault = PublishFault::Unconfirmed { taken };
        plan.push((draw.up_to(self.until), Act::FailPublish(fault)));
    }

    fn late(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let by = draw.up_to(20 * SECOND);
        plan.push((draw.up_to(self.until), Act::FailPublish(PublishFault::Late { by })));
    }

    fn finapi_outage(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let at = draw.up_to(self.until);
        let kind = draw.pick(&platform::outages());
        let endpoints = draw.pick(&platform::hosts());
        plan.push((at, Act::FinapiDown(Some((kind, endpoints)))));
        plan.push((at + draw.up_to(120 * SECOND), Act::FinapiDown(None)));
    }

    fn revoked_token(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let user = self.platform.user(draw);
        plan.push((draw.up_to(self.until), Act::RevokeToken(user)));
    }

    fn switched_version(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        plan.push((draw.up_to(self.until), Act::SwitchVersion));
    }

    /// Some last longer than a refresh may take.
    fn pause(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let at = draw.up_to(self.until);
        let lasts = draw.pick(&[SECOND, 20 * SECOND, 90 * SECOND]);
        let user = self.platform.user(draw).parse().expect("a user's id");
        let target = draw.pick(&[
            Target::Everything,
            Target::Lane { interactive: true },
            Target::Lane { interactive: false },
            Target::Bank(BankId::from(sandbox::bank_id(platform::BANK))),
            Target::User(user),
        ]);
        match draw.chance(0.5) {
            true => plan.push((at, Act::Pause(target, Some(lasts)))),
            false => {
                plan.push((at, Act::Pause(target.clone(), None)));
                plan.push((at + lasts, Act::Resume(target)));
            }
        }
    }

    /// Also twice, before the command is sent, and after its outcome.
    fn cancel(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let at = draw.up_to(self.until);
        let cancel = Act::Cancel(draw.usize(0..=self.commands - 1), draw.chance(0.3));
        if draw.chance(0.3) {
            plan.push((at + draw.up_to(20 * SECOND), cancel.clone()));
        }
        plan.push((at, cancel));
    }

    fn batch_update(&self, draw: &mut Draw, plan: &mut Vec<(Duration, Act)>) {
        let (connection, _) = self.platform.connection(draw);
        let takes = draw.up_to(30 * SECOND);
        plan.push((draw.up_to(self.until), Act::BatchUpdate(connection, takes)));
    }
}
