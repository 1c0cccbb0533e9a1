//! Any sequence of deliveries, ends and ticks leaves each delivery with one fate, within the limits. What must become of each of them at
//! once is in [`rules`].

mod cases;
mod deliveries;
mod ends;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::*;
use crate::broker::{Message, Outgoing};
use crate::proto::{RefreshConnection, UpdateOrigin};
use crate::refresh::failure::FailureClass;
use crate::refresh::reading::{Collecting, Reading};
use crate::refresh::{Command, Envelope, Lookup, Phase, Progress, Refresh, TaskRef, Update, later};
use crate::worker::fate::Fate;
use crate::worker::publication::Forward;
use rules::Ended;

/// How many steps there are; the environment variable `SCHEDULER_STEPS` says otherwise.
const STEPS: u64 = 90_000;
const STEPS_OF_A_SEED: u64 = 1_500;
const USERS: u64 = 5;
const PERMITS: usize = 3;

fn settings(random: &mut Rng) -> Settings {
    Settings {
        in_flight: random.u16(1..=12),
        hold_wait_max: Duration::from_secs(random.u64(1..=30)),
        hold_max: Duration::from_secs(random.u64(30..=120)),
        ..Settings::default()
    }
}

/// Marks what a run decided to publish, and not the scheduler.
const DECIDED: u32 = 1_000;

/// A message of a command, as the broker has it.
#[derive(Clone, Debug)]
struct Sent {
    command: u64,
    parts_published: u32,
    revision: u32,
}

/// A delivery that has no final fate.
#[derive(Debug)]
struct Open {
    /// None where the message is of no command that is worked on.
    sent: Option<Sent>,
    origin: Origin,
    redeliveries: u32,
    received: Duration,
    /// How far it was when it came in.
    progress: Option<Progress>,
    missing_requested_at: bool,
    has_run: bool,
    /// What its next run is to get.
    renewals: u8,
    has_failure: bool,
}

impl Open {
    fn is_quarantined(&self) -> bool {
        self.origin == Origin::Quarantine
    }

    fn is_command(&self) -> bool {
        matches!(self.origin, Origin::Interactive | Origin::Background)
    }

    fn is_careful(&self) -> bool {
        !self.is_quarantined() && self.redeliveries >= 2
    }

    fn goes_to_quarantine(&self) -> bool {
        !self.is_quarantined() && self.redeliveries >= 3
    }

    /// Whether it is back in its lane, or in the steps queue where it has a count to keep.
    fn is_requeued(&self, place: &rules::Place<'_>) -> bool {
        match place {
            rules::Place::Requeued => self.redeliveries == 0,
            rules::Place::Parked(_) => self.redeliveries > 0,
            _ => false,
        }
    }

    fn may_kill(&self) -> bool {
        !self.has_run && (self.is_careful() || self.is_quarantined())
    }
}

/// A world around a scheduler that keeps the books.
struct World {
    random: Rng,
    settings: Settings,
    shares: Shares,
    /// Until when each user's commands wait in line.
    lines: BTreeMap<UserId, Duration>,
    scheduler: Scheduler,
    now: Now,
    generation: u64,
    connected: bool,
    number: u64,
    /// Messages that nobody has.
    queue: Vec<Sent>,
    /// Commands that were sent: those without an outcome, and those with one.
    unfinished: BTreeSet<u64>,
    finished: BTreeSet<u64>,
    open: BTreeMap<Tag, Open>,
    acknowledged: BTreeSet<Tag>,
    running: Vec<Run>,
    /// And what the broker is to have once it is confirmed.
    publishing: Vec<(RunId, Tag, Publication, Option<Sent>)>,
    fetching: BTreeSet<UserId>,
    evicted_at: Duration,
    outage: bool,
    draining: bool,
    /// What is on its way to the quarantine.
    forwarding: BTreeSet<Tag>,
    /// Until when nothing runs that came back twice.
    quarantined_by: Duration,
    /// Until when nothing of the quarantine runs.
    quarantine_resumes: Duration,
    /// As the scheduler asked for.
    quarantine_paused: bool,
    stats: Stats,
}

/// How often something happened, over all seeds.
type Stats = BTreeMap<&'static str, u64>;

/// What has to happen, and how often in a million steps at least.
const SCENARIOS: [(&str, u64); 43] = [
    ("abandoned", 5_000),
    ("above its user's share", 5_000),
    ("acknowledged", 70_000),
    ("admitted from the backlog", 500),
    ("backlog", 6_000),
    ("backlog in an outage", 1_000),
    ("begun and above its user's share", 200),
    ("beyond hold_max", 3_000),
    ("beyond hold_wait_max", 2_000),
    ("delivered before the confirm", 20_000),
    ("drains both", 60),
    ("due", 20_000),
    ("duplicates", 20_000),
    ("ended after its connection", 2_000),
    ("evicted", 200),
    ("evicted from the backlog", 3_000),
    ("first of a lost connection", 2_000),
    ("further than what is busy", 20_000),
    ("held", 10_000),
    ("holds", 10_000),
    ("in_flight are held", 200),
    ("it keeps the quarantine waiting", 3_000),
    ("keeps its count", 20_000),
    ("others wait for room", 1_000),
    ("outcomes", 1_000),
    ("parked", 40_000),
    ("parked while draining", 400),
    ("pauses", 200),
    ("quarantined", 800),
    ("refused", 200),
    ("replaces the first", 1_000),
    ("requeued", 6_000),
    ("resumes", 200),
    ("runs without a token", 7_000),
    ("share a token", 2_000),
    ("stopped", 1_000),
    ("token requests", 10_000),
    ("waits for an own run", 1_000),
    ("waits for the quarantine", 700),
    ("waits in spite of the pause", 200),
    ("woken", 200),
    ("woken while busy", 20),
    ("woken after an outage", 50),
];

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let settings = settings(&mut random);
        let shares = Shares {
            in_flight: random.usize(1..=5),
            running: random.usize(1..=2),
        };
        Self {
            scheduler: Scheduler::new(settings.clone(), shares),
            settings,
            shares,
            lines: BTreeMap::new(),
            random,
            now: Now {
                since_start: Duration::ZERO,
                time: Timestamp::UNIX_EPOCH,
            },
            generation: 0,
            connected: false,
            number: 0,
            queue: Vec::new(),
            unfinished: BTreeSet::new(),
            finished: BTreeSet::new(),
            open: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            running: Vec::new(),
            publishing: Vec::new(),
            fetching: BTreeSet::new(),
            evicted_at: Duration::ZERO,
            outage: false,
            draining: false,
            forwarding: BTreeSet::new(),
            quarantined_by: Duration::ZERO,
            quarantine_resumes: Duration::ZERO,
            quarantine_paused: true,
            stats: Stats::default(),
        }
    }

    fn step(&mut self) {
        match self.random.u8(..100) {
            _ if !self.connected => self.connect(),
            0..=29 => self.deliver(),
            30..=54 => self.end_run(),
            55..=74 => self.end_publication(),
            75..=82 => self.fetched(),
            83..=96 => self.pass(),
            97 => self.change_outage(),
            98 => self.wake_up(),
            _ if self.random.u8(..5) == 0 => self.disconnect(),
            _ => {}
        }
        self.perform_actions();
        // The loop takes in several things before it starts runs.
        if self.random.u8(..4) > 0 {
            self.start_runs();
        }
        self.check();
    }

    fn count(&mut self, what: &'static str) {
        *self.stats.entry(what).or_default() += 1;
    }

    fn owns(&self, tag: Tag) -> bool {
        self.connected && tag.generation == self.generation
    }

    fn change_outage(&mut self) {
        self.outage = self.random.bool();
        let before = self.before();
        self.scheduler.on_outage(self.outage, self.now);
        self.check_backlog(&before);
        if !self.outage {
            let before = self.waits();
            self.scheduler.on_outage_end(self.now);
            self.check_unblocked(&before);
        }
    }

    /// Mostly of something that is held or busy.
    fn wake_up(&mut self) {
        let held = self.scheduler.held().map(|refresh| refresh.command.id());
        let busy = self.scheduler.busy.values().filter_map(|busy| busy.refresh_id.as_ref());
        let waiting: Vec<CommandId> = held.chain(busy.map(|refresh_id| refresh_id.command_id)).collect();
        let command_id = match self.random.choice(&waiting) {
            Some(waiting) if self.random.u8(..10) > 0 => *waiting,
            _ => command_id(self.random.u64(..20)).parse().expect("an id"),
        };
        let before = self.waits();
        self.scheduler.on_wake_up(command_id, self.now);
        self.check_woken(command_id, &before);
    }

    fn connect(&mut self) {
        self.connected = true;
        self.generation += 1;
        self.quarantine_resumes = self.now.since_start + QUARANTINE_WAIT;
        self.scheduler.on_connected(self.generation, self.now);
    }

    fn disconnect(&mut self) {
        self.connected = false;
        // The broker has everything again, also what is still busy here.
        self.queue
            .extend(self.open.values().filter_map(|open| open.sent.clone()));
        self.scheduler.on_disconnected();
        self.perform_all();
        // What is busy is reported when it ends.
        let busy = self.running.len() + self.publishing.len();
        assert!(
            self.open.len() <= busy,
            "forgotten: {:?} beside {busy} that are busy",
            self.open
        );
    }

    fn perform_all(&mut self) {
        self.perform_actions();
        self.start_runs();
    }

    fn start_runs(&mut self) {
        // Half of the users have a token.
        let has_token = |refresh: &Refresh| refresh.command.user_id().as_str() < "user-3";
        while self.running.len() < PERMITS {
            let before = self.runnable();
            let Some(run) = self.scheduler.next_run(has_token, |_| None, self.now) else {
                let may_run = |(_, _, user_id): &(Tag, _, UserId)| !self.is_capped(user_id);
                assert!(!self.runnable().iter().any(may_run), "there is a permit");
                if self.scheduler.runnable() > 0 {
                    self.count("waits for an own run");
                }
                break;
            };
            assert!(run.failure.is_some() || has_token(&run.refresh), "it has no token");
            self.check_run(&run, &before);
            let open = self.open.get_mut(&run.tag).expect("it is open");
            (open.has_run, open.renewals, open.has_failure) = (true, 0, false);
            self.running.push(run);
        }
        self.perform_actions();
    }

    fn perform_actions(&mut self) {
        while let Some(action) = self.scheduler.next_action() {
            match action {
                Action::Publish(id, tag, publication) => {
                    self.check_publication(tag, &publication);
                    let mut sent = sent(&publication);
                    // The broker may deliver a message before its confirm is here.
                    if self.random.bool() {
                        self.count("delivered before the confirm");
                        self.queue.extend(sent.take());
                    }
                    self.publishing.push((id, tag, publication, sent));
                }
                Action::FetchToken(user_id) => {
                    self.count("token requests");
                    assert!(self.fetching.insert(user_id), "two requests for one user's token");
                }
                Action::Acknowledge(receipt) => {
                    let tag = receipt.into_tag();
                    self.count("acknowledged");
                    assert!(self.acknowledged.insert(tag), "acknowledged twice: {tag:?}");
                    assert!(self.open.remove(&tag).is_some(), "acknowledged, but not ours: {tag:?}");
                }
                Action::PauseQuarantine(paused) => {
                    assert_ne!(paused, self.quarantine_paused, "it is so already");
                    self.quarantine_paused = paused;
                    self.count(if paused { "pauses" } else { "resumes" });
                }
                Action::ReportDuplicate(_) => self.count("duplicates"),
                Action::ReportHeld => self.count("held"),
                Action::ReportAbandoned(count) => self.abandon(count),
            }
        }
    }

    /// The scheduler says how many it abandoned; whose they are follows from what it no longer has.
    fn abandon(&mut self, count: usize) {
        self.count("abandoned");
        let kept: BTreeSet<Tag> = self.kept();
        let before = self.open.len();
        self.open.retain(|tag, _| kept.contains(tag));
        assert_eq!(before - self.open.len(), count, "abandoned");
    }

    fn kept(&self) -> BTreeSet<Tag> {
        let scheduler = &self.scheduler;
        let waiting = self.waiting().into_iter().map(|(tag, _)| tag);
        let held = scheduler.held.waits().map(|(_, _, job)| job.receipt.tag());
        let busy = scheduler.busy.values().map(|busy| busy.receipt.tag());
        let acknowledging = scheduler.actions.iter().filter_map(|action| match action {
            Action::Acknowledge(receipt) => Some(receipt.tag()),
            _ => None,
        });
        waiting.chain(held).chain(busy).chain(acknowledging).collect()
    }

    fn check(&self) {
        self.check_that_nothing_is_lost();
        self.check_pause();
        let kept = self.kept();
        let scheduler = &self.scheduler;
        let open: BTreeSet<Tag> = self.open.keys().copied().collect();
        assert_eq!(kept, open, "each delivery is in one place until its fate is final");
        assert_eq!(scheduler.running(), self.running.len());
        assert_eq!(scheduler.publishing(), self.publishing.len());
        let in_flight = usize::from(self.settings.in_flight);
        assert!(scheduler.backlog.is_empty() || !scheduler.has_room() || scheduler.outage);
        let long = scheduler.held.waits().filter(|(_, _, job)| {
            let wait = self.now.until(job.refresh.due_at).saturating_sub(self.now.since_start);
            // The prefetch bounds the rest: one of the quarantine, and some seconds of what may kill workers.
            let open = &self.open[&job.receipt.tag()];
            wait > Duration::from_secs(1) && !open.is_quarantined() && !open.may_kill()
        });
        assert!(long.count() <= in_flight, "more are held than may be");
        for waiting in scheduler.awaiting_token.iter() {
            assert!(
                self.fetching.contains(waiting.0),
                "nobody fetches the token of {}",
                waiting.0
            );
        }
        for job in scheduler.awaiting_token.values().flatten() {
            assert!(job.failure.is_none(), "it has asked for a token already");
        }
        for (_, _, job) in scheduler.held.waits() {
            let (open, age) = (&self.open[&job.receipt.tag()], job.receipt.age(self.now));
            // What waits for the quarantine may be held for one wait more.
            let longer = if open.may_kill() {
                QUARANTINE_WAIT
            } else {
                Duration::ZERO
            };
            assert!(age <= self.settings.hold_max + longer, "it is held too long: {age:?}");
            assert!(
                !(open.is_quarantined() && open.has_run),
                "it keeps the quarantine waiting"
            );
        }
        self.check_firsts();
    }

    /// Of every command without an outcome there is a message, at the broker or unacknowledged.
    fn check_that_nothing_is_lost(&self) {
        let ours = |tag: &&Tag| self.connected && tag.generation == self.generation;
        let open = self
            .open
            .keys()
            .filter(ours)
            .filter_map(|tag| self.open[tag].sent.as_ref());
        let there: BTreeSet<u64> = open.chain(&self.queue).map(|sent| sent.command).collect();
        let lost: Vec<&u64> = self.unfinished.difference(&there).collect();
        assert!(lost.is_empty(), "no message is left of the commands {lost:?}");
    }

    /// Everything ends, and nothing is left.
    fn drain(&mut self) {
        if !self.connected {
            self.connect();
        }
        self.draining = true;
        let (backlog, rest) = self.in_backlog_and_elsewhere();
        self.scheduler.drain(self.now);
        self.check_drained(&backlog, &rest);
        self.perform_all();
        assert_eq!(self.scheduler.held().count() + self.scheduler.backlog().len(), 0);
        for _ in 0..20 {
            self.deliver();
            self.perform_all();
            self.check();
        }
        while !self.scheduler.is_idle() {
            self.end_run();
            self.perform_all();
            self.end_publication();
            self.perform_all();
        }
        assert!(self.open.is_empty(), "left: {:?}", self.open);
        self.check_that_nothing_is_lost();
        self.count("drained");
    }
}

fn command_id(number: u64) -> String {
    format!("0190f1c0-0000-7000-8000-{number:012}")
}

/// What the broker is to have of a publication.
fn sent(publication: &Publication) -> Option<Sent> {
    let (Publication::Park(refresh, _) | Publication::Requeue(refresh)) = publication else {
        return None;
    };
    Some(Sent {
        command: number_of(refresh),
        parts_published: parts_published(refresh),
        revision: refresh.envelope.revision + 1,
    })
}

fn parts_published(refresh: &Refresh) -> u32 {
    match &refresh.phase {
        Phase::Collecting(collecting) => collecting.reading.part - 1,
        _ => 0,
    }
}

fn number_of(refresh: &Refresh) -> u64 {
    let id = refresh.command.id().to_string();
    let (_, number) = id.rsplit_once('-').expect("an id");
    number.parse().expect("a number")
}

/// A refresh that has published this many parts of its outcome.
fn collecting(parts_published: u32) -> Phase {
    let mut reading = Reading::new(None, Timestamp::UNIX_EPOCH);
    reading.part = parts_published + 1;
    Phase::Collecting(Box::new(Collecting {
        update: Update {
            task: None,
            origin: UpdateOrigin::Silent,
        },
        reading,
        connection: None,
        accounts: None,
        skipped_accounts: 0,
        unreadable: Vec::new(),
    }))
}

fn steps() -> u64 {
    let given = std::env::var("SCHEDULER_STEPS").ok();
    given.map_or(STEPS, |given| given.parse().expect("a number of steps"))
}

#[test]
fn each_delivery_has_one_fate_within_the_limits() {
    let seeds = steps().div_ceil(STEPS_OF_A_SEED);
    let mut total = Stats::default();
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS_OF_A_SEED {
            world.step();
        }
        world.drain();
        for (what, count) in world.stats {
            *total.entry(what).or_default() += count;
        }
    }
    let steps = seeds * STEPS_OF_A_SEED;
    println!("{steps} steps of {seeds} seeds: {total:#?}");
    assert_eq!(total["drained"], seeds);
    for (what, at_least) in SCENARIOS {
        let count = total.get(what).copied().unwrap_or_default();
        assert!(count * 1_000_000 >= at_least * steps, "{what}: {count} times only");
    }
}

fn scheduler(settings: Settings) -> Scheduler {
    let shares = Shares::of(&settings, 64);
    Scheduler::new(settings, shares)
}
