//! Any sequence of deliveries, ends and ticks leaves each delivery with one fate, within the limits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::*;
use crate::broker::{Message, Outgoing};
use crate::id::TransactionId;
use crate::proto::{RefreshConnection, UpdateOrigin};
use crate::refresh::failure::FailureClass;
use crate::refresh::{Command, Envelope, Phase, Refresh, TaskRef, Update};
use crate::worker::fate::Fate;
use crate::worker::publication::Forward;

const SEEDS: u64 = 60;
const STEPS: u32 = 1_500;
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
}

/// A world around a scheduler that keeps the books.
struct World {
    random: Rng,
    settings: Settings,
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
    stats: Stats,
}

/// How often something happened, over all seeds.
#[derive(Debug, Default)]
struct Stats {
    acknowledged: u64,
    duplicates: u64,
    outcomes: u64,
    early: u64,
    abandoned: u64,
    held: u64,
    parked: u64,
    requeued: u64,
    token_waits: u64,
    careful: u64,
    drained: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let settings = settings(&mut random);
        Self {
            scheduler: Scheduler::new(settings.clone()),
            settings,
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
            97 => {
                let outage = self.random.bool();
                self.scheduler.on_outage(outage, self.now);
            }
            98 => self
                .scheduler
                .on_wake_up(&command_id(self.random.u64(..20)).parse().expect("an id"), self.now),
            _ if self.random.u8(..20) == 0 => self.disconnect(),
            _ => {}
        }
        self.perform_all();
        self.check();
    }

    fn connect(&mut self) {
        self.connected = true;
        self.generation += 1;
        self.scheduler.on_connected(self.generation);
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

    fn deliver(&mut self) {
        self.number += 1;
        let origin = *self
            .random
            .choice(&[
                Origin::Interactive,
                Origin::Background,
                Origin::Background,
                Origin::Steps,
                Origin::Steps,
                Origin::Quarantine,
            ])
            .expect("an origin");
        let subscription = origin as u32;
        // Tags of a subscription grow.
        let tag = Tag {
            generation: self.generation,
            subscription,
            number: self.number,
        };
        let redeliveries = self.random.u32(0..=3).saturating_sub(1);
        let receipt = Receipt::new(tag, origin, redeliveries, self.now);
        if self.random.u8(..20) == 0 {
            self.open.insert(tag, Open { sent: None });
            return self.scheduler.on_delivery(receipt, self.forward(), self.now);
        }
        let sent = self.take();
        let refresh = self.refresh(&sent);
        let content = match sent.revision {
            0 if self.random.u8(..20) == 0 => Content::MissingRequestedAt(refresh),
            _ => Content::Refresh {
                refresh,
                released_at: (redeliveries > 0).then_some(self.now.time),
            },
        };
        self.open.insert(tag, Open { sent: Some(sent) });
        self.scheduler.on_delivery(receipt, content, self.now);
    }

    fn forward(&self) -> Content {
        Content::Forward(Box::new(Forward {
            outgoing: Outgoing {
                exchange: String::new(),
                routing_key: String::new(),
                message: Message::default(),
            },
            fate: Fate::DeadLettered,
            reason: String::new(),
        }))
    }

    /// A message of the queue, or of a sender.
    fn take(&mut self) -> Sent {
        if !self.queue.is_empty() && self.random.u8(..3) > 0 {
            let index = self.random.usize(..self.queue.len());
            return self.queue.swap_remove(index);
        }
        // New commands come, and old ones again.
        let command = self.number / 20 + self.random.u64(..20);
        if !self.finished.contains(&command) {
            self.unfinished.insert(command);
        }
        Sent {
            command,
            parts_published: 0,
            revision: 0,
        }
    }

    fn refresh(&mut self, sent: &Sent) -> Box<Refresh> {
        let number = sent.command;
        let command = RefreshConnection {
            command_id: command_id(number),
            user_id: format!("user-{}", number % USERS),
            bank_connection_id: 1,
            ..RefreshConnection::default()
        };
        let envelope = Envelope {
            interactive: self.random.bool(),
            revision: sent.revision,
            ..Envelope::default()
        };
        let command = Command::parse(command).expect("a command");
        let mut refresh = Refresh::new(command, self.now.time, envelope, self.now.time);
        if sent.parts_published > 0 {
            refresh.phase = collecting(sent.parts_published);
        } else if self.random.bool() {
            let task = TaskRef {
                id: "".into(),
                created_at: self.now.time,
            };
            refresh.phase = Phase::Updating { task };
        }
        self.delay(&mut refresh);
        Box::new(refresh)
    }

    fn delay(&mut self, refresh: &mut Refresh) {
        let longest = *self.random.choice(&[0, 0, 1, 5, 40, 400]).expect("a time");
        let wait = Duration::from_millis(self.random.u64(0..=longest * 1000));
        refresh.due_at = later(self.now.time, wait);
    }

    fn end_run(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.random.usize(..self.running.len());
        let run = self.running.swap_remove(index);
        let mut refresh = run.refresh;
        let end = match self.random.u8(..10) {
            0..=4 => {
                self.delay(&mut refresh);
                RunEnd::Waits(refresh)
            }
            5..=7 => {
                if self.random.u8(..4) == 0 {
                    refresh.phase = collecting(parts_published(&refresh) + 1);
                }
                RunEnd::Publishes(Publication::Park(refresh, DECIDED))
            }
            8 => RunEnd::NeedsToken(refresh, run.renewals),
            _ => RunEnd::Stopped(refresh),
        };
        self.scheduler.on_run_end(run.id, end, self.now);
    }

    fn end_publication(&mut self) {
        if self.publishing.is_empty() {
            return;
        }
        let index = self.random.usize(..self.publishing.len());
        let (id, tag, publication, sent) = self.publishing.swap_remove(index);
        let end = match (self.random.u8(..20), publication) {
            (0, Publication::Park(refresh, DECIDED)) => PublishEnd::Continues(refresh),
            (1, Publication::Park(mut refresh, DECIDED)) => {
                self.delay(&mut refresh);
                PublishEnd::Refused(refresh)
            }
            (2, publication) => PublishEnd::Again(publication),
            (3, _) => {
                let open = self.open.get(&tag).filter(|_| tag.generation == self.generation);
                self.queue.extend(open.and_then(|open| open.sent.clone()));
                PublishEnd::Lost
            }
            (4..=14, Publication::Park(refresh, DECIDED)) if sent.is_some() => {
                self.stats.outcomes += 1;
                self.unfinished.remove(&number_of(&refresh));
                self.finished.insert(number_of(&refresh));
                PublishEnd::Done
            }
            _ => {
                self.queue.extend(sent);
                PublishEnd::Done
            }
        };
        self.scheduler.on_publish_end(id, end, self.now);
    }

    fn fetched(&mut self) {
        let Some(user_id) = self.fetching.pop_first() else {
            return;
        };
        let fetched = match self.random.bool() {
            true => Ok(()),
            false => Err(Failure::new(FailureClass::Unavailable, "no token")),
        };
        self.scheduler.on_token(&user_id, fetched, self.now);
    }

    fn pass(&mut self) {
        let time = Duration::from_millis(self.random.u64(0..=4000));
        self.now.since_start += time;
        self.now.time = later(self.now.time, time);
        self.scheduler.on_due(self.now);
        if self.now.since_start >= self.evicted_at + Duration::from_secs(15) {
            self.evicted_at = self.now.since_start;
            self.scheduler.evict_overdue(self.now);
            let scheduler = &self.scheduler;
            let waiting = scheduler.runnable.iter().flatten().chain(&scheduler.backlog);
            let mut waiting = waiting.chain(scheduler.awaiting_token.values().flatten());
            let over = waiting.find(|job| job.receipt.age(self.now) > self.settings.hold_max);
            assert!(over.is_none(), "it waits too long: {over:?}");
        }
    }

    fn perform_all(&mut self) {
        self.perform_actions();
        // Half of the users have a token.
        let has_token = |refresh: &Refresh| refresh.command.user_id().as_str() < "user-3";
        while self.running.len() < PERMITS {
            let Some(run) = self.scheduler.next_run(has_token, self.now) else {
                break;
            };
            assert!(run.failure.is_some() || has_token(&run.refresh), "it has no token");
            assert_eq!(run.tag.generation, self.generation, "a run of a lost connection");
            assert!(self.connected);
            self.running.push(run);
        }
        self.scheduler.release_careful(self.now);
        self.perform_actions();
    }

    fn perform_actions(&mut self) {
        while let Some(action) = self.scheduler.next_action() {
            match action {
                Action::Publish(id, tag, publication) => {
                    match publication {
                        Publication::Park(..) => self.stats.parked += 1,
                        Publication::Requeue(..) => self.stats.requeued += 1,
                        _ => {}
                    }
                    let mut sent = sent(&publication);
                    // The broker may deliver a message before its confirm is here.
                    if self.random.bool() {
                        self.stats.early += 1;
                        self.queue.extend(sent.take());
                    }
                    self.publishing.push((id, tag, publication, sent));
                }
                Action::FetchToken(user_id) => {
                    self.stats.token_waits += 1;
                    assert!(self.fetching.insert(user_id), "two requests for one user's token");
                }
                Action::Acknowledge(receipt) => {
                    let tag = receipt.into_tag();
                    self.stats.acknowledged += 1;
                    assert!(self.acknowledged.insert(tag), "acknowledged twice: {tag:?}");
                    assert!(self.open.remove(&tag).is_some(), "acknowledged, but not ours: {tag:?}");
                }
                Action::ReportDuplicate(_) => self.stats.duplicates += 1,
                Action::ReportHeld => self.stats.held += 1,
                Action::ReportAbandoned(count) => self.abandon(count),
            }
        }
    }

    /// The scheduler says how many it abandoned; whose they are follows from what it no longer has.
    fn abandon(&mut self, count: usize) {
        self.stats.abandoned += count as u64;
        let kept: BTreeSet<Tag> = self.kept();
        let before = self.open.len();
        self.open.retain(|tag, _| kept.contains(tag));
        assert_eq!(before - self.open.len(), count, "abandoned");
    }

    fn kept(&self) -> BTreeSet<Tag> {
        let scheduler = &self.scheduler;
        let jobs = scheduler.runnable.iter().flatten();
        let jobs = jobs.chain(&scheduler.backlog);
        let jobs = jobs.chain(scheduler.awaiting_token.values().flatten());
        let jobs = jobs.map(|job| job.receipt.tag());
        let held = scheduler.held.jobs().map(|job| job.receipt.tag());
        let busy = scheduler.busy.values().map(|busy| busy.receipt.tag());
        let acknowledging = scheduler.actions.iter().filter_map(|action| match action {
            Action::Acknowledge(receipt) => Some(receipt.tag()),
            _ => None,
        });
        jobs.chain(held).chain(busy).chain(acknowledging).collect()
    }

    fn check(&mut self) {
        self.check_that_nothing_is_lost();
        let kept = self.kept();
        let scheduler = &self.scheduler;
        let open: BTreeSet<Tag> = self.open.keys().copied().collect();
        assert_eq!(kept, open, "each delivery is in one place until its fate is final");
        assert_eq!(scheduler.running(), self.running.len());
        assert_eq!(scheduler.publishing(), self.publishing.len());
        let in_flight = usize::from(self.settings.in_flight);
        assert!(scheduler.backlog.is_empty() || !scheduler.has_room() || scheduler.outage);
        let long = scheduler.held.jobs().filter(|job| {
            let wait = self.now.until(job.refresh.due_at).saturating_sub(self.now.since_start);
            // The quarantine has a prefetch of one, which bounds what is held of it.
            wait > Duration::from_secs(1) && !job.receipt.is_quarantined()
        });
        assert!(long.count() <= in_flight, "more are held than may be");
        for job in scheduler.runnable.iter().flatten().chain(&scheduler.backlog) {
            assert!(!job.receipt.is_careful(), "it waits under its old count");
        }
        for waiting in scheduler.awaiting_token.iter() {
            assert!(
                self.fetching.contains(waiting.0),
                "nobody fetches the token of {}",
                waiting.0
            );
        }
        for job in scheduler.held.jobs() {
            let age = job.receipt.age(self.now);
            assert!(age <= self.settings.hold_max, "it is held too long: {age:?}");
            assert!(
                !(job.receipt.is_quarantined() && job.is_tried),
                "it keeps the quarantine waiting"
            );
        }
        self.stats.careful = self.stats.careful.max(self.scheduler.careful as u64);
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
        self.scheduler.drain(self.now);
        self.perform_all();
        assert_eq!(self.scheduler.held().count() + self.scheduler.backlog().len(), 0);
        for _ in 0..20 {
            self.deliver();
            self.perform_all();
        }
        while !self.scheduler.is_idle() {
            self.end_run();
            self.end_publication();
            self.perform_all();
        }
        assert!(self.open.is_empty(), "left: {:?}", self.open);
        self.check_that_nothing_is_lost();
        self.stats.drained += 1;
    }
}

fn command_id(number: u64) -> String {
    format!("0190f1c0-0000-7000-8000-{number:012}")
}

/// What the broker is to have of a publication.
fn sent(publication: &Publication) -> Option<Sent> {
    let (Publication::Park(refresh, _) | Publication::Requeue(refresh, _)) = publication else {
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
        Phase::Settling { update } => update.next_part - 1,
        _ => 0,
    }
}

fn number_of(refresh: &Refresh) -> u64 {
    let (_, number) = refresh.command.id().as_str().rsplit_once('-').expect("an id");
    number.parse().expect("a number")
}

/// A refresh that has published this many parts of its outcome.
fn collecting(parts_published: u32) -> Phase {
    Phase::Settling {
        update: Update {
            task: None,
            origin: UpdateOrigin::Silent,
            since: None,
            until: None,
            next_part: parts_published + 1,
            published_up_to: TransactionId::default(),
        },
    }
}

#[test]
fn each_delivery_has_one_fate_within_the_limits() {
    let mut total = Stats::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.drain();
        let stats = world.stats;
        total.acknowledged += stats.acknowledged;
        total.duplicates += stats.duplicates;
        total.abandoned += stats.abandoned;
        total.held += stats.held;
        total.parked += stats.parked;
        total.requeued += stats.requeued;
        total.token_waits += stats.token_waits;
        total.outcomes += stats.outcomes;
        total.early += stats.early;
        total.drained += stats.drained;
    }
    println!("{total:?}");
    let happened = [
        total.acknowledged,
        total.duplicates,
        total.abandoned,
        total.held,
        total.parked,
        total.requeued,
        total.token_waits,
        total.outcomes,
        total.early,
    ];
    assert!(happened.iter().all(|count| *count > 500), "something no longer happens");
    assert_eq!(total.drained, SEEDS);
}
