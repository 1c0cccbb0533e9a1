//! The worker: takes deliveries, runs the refreshes that are due, holds or parks those that wait, and gives everything back
//! when it is told to stop.
//!
//! | fate of a delivery | what is done |
//! | --- | --- |
//! | over | the outcome is published and confirmed, then it is acknowledged |
//! | held | it stays unacknowledged; a timer runs here |
//! | duplicate | another copy of the refresh is in hand and waits: it is acknowledged |
//! | given back | it was not begun, and says now when it was requested: it is published to the end of its lane, then acknowledged |
//! | parked | its state is published to a delay queue and confirmed, then it is acknowledged |
//! | unreadable | it is published to the dead letters with the reason, then acknowledged |
//! | of a newer release | it is published, unread, to a delay queue, then acknowledged |
//! | suspect | it came back too often: it is published, unread, to be tried one at a time, then acknowledged |
//! | lost | the connection was lost: nothing; the broker hands it out again |

mod held;
mod learned;
pub mod message;
mod progress;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::topology::{DELAYS, Topology};
use crate::broker::{Broker, Delivery, Notice, Notices, Outgoing, Subscription, Tag};
use crate::clock::Clock;
use crate::finapi::FinApi;
use crate::finapi::gate::Urgency;
use crate::refresh::schedule::LOOK_INTERVAL_MIN;
use crate::refresh::{Phase, Policy, Refresh};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{self, Sending};
use held::Held;
use learned::Learned;
use message::Read;
use progress::Progress;
pub use progress::{Handle, Status};
use step::{Ran, Shared};

/// How much a worker takes on (section `worker`).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many refreshes it has in hand before it takes no more background commands, and parks what has to wait instead of
    /// holding it. 1 to 60000.
    pub in_flight: u16,
    /// The longest wait that is held; longer ones are parked.
    #[serde(with = "humantime_serde")]
    pub hold_wait_max: Duration,
    /// The longest one delivery is held over several waits, well under the broker's `consumer_timeout`.
    #[serde(with = "humantime_serde")]
    pub hold_max: Duration,
    /// How long calls that are under way may take to end when the worker is told to stop.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_flight: 2000,
            hold_wait_max: Duration::from_secs(30),
            hold_max: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(6),
        }
    }
}

/// Deliveries of the steps queue that may be worked on while as many refreshes as allowed are held.
const STEPS_HEADROOM: u16 = 256;

/// A message that came back so often is tried alone: should it be what kills workers, it takes no other with it.
const SUSPECT_REDELIVERIES: u32 = 3;

/// While a worker passes on what came back with a message that is tried alone, that one waits for as long as it takes until the broker has
/// the acknowledgements. Should it kill this worker too early, the others would come back once more, or be there twice.
const QUARANTINE_WAIT: Duration = Duration::from_secs(5);

/// How many refreshes run for each call that finAPI may be asked at once: while some wait for the broker others ask. A refresh
/// that runs takes ten times the memory of one that waits for its turn.
const RUNS_PER_CALL: usize = 2;

/// While commands wait for room only shorter waits are held: those who wait for their users would keep it for minutes.
const CROWDED_WAIT_MAX: Duration = Duration::from_secs(5);

/// How often is looked for what waits too long.
const LET_GO_INTERVAL: Duration = Duration::from_secs(15);

/// A second copy of a refresh, where it is not dropped, waits so long.
const SECOND_COPY_WAIT: Duration = Duration::from_secs(5);

/// What a worker consumes.
#[must_use]
pub fn subscriptions(topology: &Topology, settings: &Settings) -> Vec<Subscription> {
    let queue = |name, prefetch| Subscription::Queue { name, prefetch };
    vec![
        queue(topology.steps(), settings.in_flight.saturating_add(STEPS_HEADROOM)),
        queue(topology.interactive(), settings.in_flight),
        queue(topology.background(), settings.in_flight),
        queue(topology.suspects(), 1),
        Subscription::Tap {
            exchange: topology.wake(),
            keys: vec![String::new()],
        },
    ]
}

/// Where a subscription's messages come from, by the name that traces and metrics have for it: the exchange, the key, and the queue where
/// that has another name than the key.
fn destination(topology: &Topology, subscription: &Subscription) -> String {
    let name = subscription.name();
    if name == topology.interactive() || name == topology.background() {
        let key = name.rsplit('.').next().unwrap_or_default();
        format!("{}:{key}:{name}", topology.commands())
    } else if name == topology.steps() || name == topology.suspects() {
        format!("{}:{name}", topology.steps())
    } else {
        name.to_owned()
    }
}

/// A delivery that is to be settled once.
#[derive(Clone, Copy, Debug)]
struct Taken {
    tag: Tag,
    since: Instant,
    /// It came from the suspects' queue and must not keep others there waiting.
    suspect: bool,
    /// It came back from a worker that had it before, and did not run since. The broker counts how often, for this message alone.
    came_back: bool,
}

/// Refreshes that wait for something else than time.
type Queue = VecDeque<(Box<Refresh>, Taken)>;

/// One worker. Everything it remembers can be lost: the broker and finAPI know it all.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    settings: Settings,
    held: Held,
    /// Due, and waiting for their turn to run, which is the one at finAPI's gate.
    ready: [Queue; Urgency::COUNT],
    running: JoinSet<Ran>,
    /// How many of the running tasks ask finAPI.
    asking: usize,
    asking_max: usize,
    /// Whose deliveries the running tasks work on; no command where a message is only passed on.
    runs: HashMap<Id, (Taken, Option<String>)>,
    /// Commands in hand: of two copies of one only the first is worked on.
    commands: HashMap<String, Tag>,
    /// Background commands that wait for room.
    waiting: Queue,
    /// What was settled while stopping, to be acknowledged together: of single acknowledgements just before the channel is closed
    /// RabbitMQ may lose all but 32.
    settled_last: Vec<Tag>,
    outage: watch::Receiver<bool>,
    progress: Arc<Progress>,
    /// Whoever asks how this worker is.
    asks: mpsc::Receiver<oneshot::Sender<Status>>,
    handle: Handle,
}

impl Worker {
    /// A worker for the notices of a broker that consumes [`subscriptions`]. `seed` decides on jitter.
    #[must_use]
    pub fn new(
        broker: Broker,
        finapi: FinApi,
        topology: Topology,
        policy: Policy,
        settings: Settings,
        clock: Clock,
        seed: u64,
    ) -> Self {
        let outage = finapi.watch_outage();
        let asking_max = finapi.calls_max().saturating_mul(RUNS_PER_CALL);
        let progress = Arc::new(Progress::new(&subscriptions(&topology, &settings)));
        let (handle, asks) = mpsc::channel(16);
        let shared = Arc::new(Shared {
            broker,
            finapi,
            clock,
            generation: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            learned: std::sync::Mutex::new(Learned::new(policy.polling.clone())),
            policy,
            metrics: Metrics::default(),
            destinations: subscriptions(&topology, &settings)
                .iter()
                .map(|subscription| destination(&topology, subscription))
                .collect(),
            topology,
            jitter: std::sync::Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        Self {
            shared,
            settings,
            held: Held::default(),
            ready: Default::default(),
            running: JoinSet::new(),
            asking: 0,
            asking_max,
            runs: HashMap::new(),
            commands: HashMap::new(),
            waiting: VecDeque::new(),
            settled_last: Vec::new(),
            outage,
            progress,
            asks,
            handle: Handle(handle),
        }
    }

    /// What to ask this worker by.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Works until `stop` completes, then parks what it holds and gives everything back.
    pub async fn run(mut self, mut notices: Notices, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let shared = Arc::clone(&self.shared);
        let mut beside = JoinSet::new();
        beside.spawn(async move { shared.finapi.probe_while_down().await });
        beside.spawn(Arc::clone(&self.progress).watch(self.shared.broker.clone()));
        let mut let_go = tokio::time::interval(LET_GO_INTERVAL);
        let_go.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.held.next_due();
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ran) = self.running.join_next_with_id() => self.ran(ran),
                () = sleep_until(due) => self.wake_due(),
                notice = notices.recv() => match notice {
                    Some(notice) => self.noticed(notice),
                    None => return tracing::error!("the broker client has ended"),
                },
                Ok(()) = self.outage.changed() => self.outage_changed(),
                Some(ask) = self.asks.recv() => drop(ask.send(self.status())),
                _ = let_go.tick() => self.let_go(),
            }
        }
        self.drain(notices).await;
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Up { generation } => {
                self.shared.generation.store(generation, Ordering::Relaxed);
                self.progress.began_anew();
                self.outage_changed();
            }
            Notice::Down { generation, reason } => self.lost(generation, &reason),
            Notice::Delivery(delivery) => self.delivered(delivery),
        }
    }

    /// Everything in hand is handed out again, so all of it is forgotten; what is running finds out by itself.
    fn lost(&mut self, generation: u64, reason: &str) {
        self.shared.metrics.connection_lost();
        tracing::warn!(reason, held = self.held.len(), "lost the connection to the broker");
        self.shared
            .generation
            .store(generation.saturating_add(1), Ordering::Relaxed);
        self.held.clear();
        self.ready = Default::default();
        self.waiting.clear();
        let running: Vec<Tag> = self.runs.values().map(|(taken, _)| taken.tag).collect();
        self.commands.retain(|_, tag| running.contains(tag));
    }

    fn delivered(&mut self, delivery: Delivery) {
        if delivery.queue == self.shared.topology.wake() {
            let command_id = String::from_utf8_lossy(&delivery.message.body);
            return self.held.hint(&command_id, &self.shared.clock);
        }
        self.progress.delivered(delivery.tag.subscription);
        self.shared
            .metrics
            .delivered(self.shared.destination(delivery.tag.subscription));
        if delivery.redeliveries > 0 {
            self.shared.metrics.redelivered();
        }
        let topology = &self.shared.topology;
        let taken = Taken {
            tag: delivery.tag,
            since: Instant::now(),
            suspect: delivery.queue == topology.suspects(),
            came_back: delivery.redeliveries > 0,
        };
        if delivery.redeliveries >= SUSPECT_REDELIVERIES && !taken.suspect {
            let redeliveries = delivery.redeliveries;
            tracing::warn!(
                queue = delivery.queue,
                redeliveries,
                "came back too often; to be tried alone"
            );
            let message = message::suspect(topology, &delivery, self.shared.clock.now());
            return self.pass_on(message, taken);
        }
        match message::read(&delivery, topology, self.shared.clock.now()) {
            Read::Refresh { refresh, undated: true } => self.give_back(&refresh, taken),
            Read::Refresh {
                refresh,
                undated: false,
            } => self.arrived(refresh, taken, &delivery),
            Read::Newer(version) => {
                tracing::warn!(version, "a newer release's state; leaving it to a newer worker");
                let message = message::put_aside(topology, &delivery);
                self.pass_on(message, taken);
            }
            Read::Unreadable(reason) => {
                tracing::warn!(queue = delivery.queue, reason, "can't be understood; a dead letter");
                self.shared.metrics.dead_letter();
                let message = message::dead_letter(topology, &delivery, &reason, self.shared.clock.now());
                self.pass_on(message, taken);
            }
        }
    }

    fn arrived(&mut self, mut refresh: Box<Refresh>, taken: Taken, delivery: &Delivery) {
        let now = self.shared.clock.now();
        self.count_arrival(&refresh, delivery, now);
        let left = match delivery.redeliveries {
            0 => message::suspect_since(&delivery.message).map(|since| since.min(now)),
            _ => Some(now),
        };
        if let (Phase::Requested { .. } | Phase::Updating { .. }, Some(left)) = (&refresh.phase, left) {
            // The worker that had it may have looked at the task just before, or a start of it may still be on its way.
            refresh.due_at = refresh.due_at.max(crate::refresh::later(left, LOOK_INTERVAL_MIN));
        }
        if taken.suspect && self.runs.values().any(|(_, command_id)| command_id.is_none()) {
            refresh.due_at = refresh.due_at.max(crate::refresh::later(now, QUARANTINE_WAIT));
        }
        if let Some(first) = self.commands.get(&refresh.command.command_id) {
            // This may be what that run has just published, or what it works on although it has lost it.
            let first_runs = self.runs.values().any(|(taken, _)| taken.tag == *first);
            // The first one would have to tell all parts anew.
            if first_runs || refresh.is_half_told() {
                refresh.due_at = crate::refresh::later(now, SECOND_COPY_WAIT);
                return self.park(refresh, taken);
            }
            // The broker keeps the first one until what follows from it is published.
            step::log_duplicate(&refresh);
            return self.settled(taken.tag);
        }
        self.commands.insert(refresh.command.command_id.clone(), taken.tag);
        if delivery.queue == self.shared.topology.background() && !self.has_room() {
            return self.waiting.push_back((refresh, taken));
        }
        let wait = refresh.due_at.duration_since(now);
        if taken.suspect && !self.is_draining() && wait.is_positive() && wait.unsigned_abs() <= QUARANTINE_WAIT {
            // Parked, it would be tried among others. Once it was tried it is parked: here it keeps others waiting.
            let due = self.shared.clock.instant(refresh.due_at);
            return self.held.insert(refresh, taken, due);
        }
        self.go_on(refresh, taken);
    }

    fn count_arrival(&self, refresh: &Refresh, delivery: &Delivery, now: Timestamp) {
        let since = |moment: Timestamp| now.duration_since(moment).try_into().unwrap_or_default();
        if delivery.queue == self.shared.topology.steps() {
            self.shared.metrics.resumed(since(refresh.due_at));
            if let Some(parked_at) = message::parked_at(&delivery.message) {
                traces::parked(&refresh.envelope, parked_at, refresh.due_at);
            }
        } else {
            let age = since(refresh.requested_at);
            self.shared.metrics.command_taken(age, refresh.envelope.interactive);
        }
    }

    /// Runs a refresh, or lets it wait: held where that may be, else parked.
    fn go_on(&mut self, refresh: Box<Refresh>, taken: Taken) {
        let now = self.shared.clock.now();
        if refresh.due_at <= now && !self.is_draining() {
            return self.start(refresh, taken);
        }
        let due = self.shared.clock.instant(refresh.due_at);
        let wait = due.duration_since(Instant::now());
        let held_for = taken.since.elapsed() + wait;
        let wait_max = if self.waiting.is_empty() {
            self.settings.hold_wait_max
        } else {
            self.settings.hold_wait_max.min(CROWDED_WAIT_MAX)
        };
        let may_hold = wait <= wait_max
            && held_for <= self.settings.hold_max
            && self.held.len() < usize::from(self.settings.in_flight)
            && !taken.suspect;
        // No delay queue is that short: parked, it would come straight back, again and again. And what came back would become a message that
        // never did: one that kills every worker that runs it would do so for ever.
        let is_brief = (wait < DELAYS[0].1 || taken.came_back && wait <= LOOK_INTERVAL_MIN) && !taken.suspect;
        if (may_hold || is_brief) && !self.is_draining() {
            self.held.insert(refresh, taken, due);
        } else {
            self.park(refresh, taken);
        }
    }

    fn start(&mut self, refresh: Box<Refresh>, taken: Taken) {
        if self.asking >= self.asking_max {
            let urgency = Urgency::of(&refresh, &refresh.call());
            return self.ready[urgency.rank()].push_back((refresh, taken));
        }
        self.asking += 1;
        let command_id = refresh.command.command_id.clone();
        // Some kilobytes, which would be copied again and again on their way into a task.
        let run = Box::pin(Arc::clone(&self.shared).run(refresh, taken));
        let task = self.running.spawn(run);
        self.runs.insert(task.id(), (taken, Some(command_id)));
    }

    fn park(&mut self, mut refresh: Box<Refresh>, taken: Taken) {
        self.shared.metrics.parked();
        step::log_parked(&refresh);
        let sending = Sending::alone(&refresh.envelope);
        let bookmark = self.shared.bookmark(&mut refresh, sending);
        self.forget(&refresh.command.command_id, taken.tag);
        self.replace(bookmark, taken);
    }

    /// Puts a command that was not begun at the end of its lane.
    fn give_back(&mut self, refresh: &Refresh, taken: Taken) {
        self.forget(&refresh.command.command_id, taken.tag);
        let message = message::back_to_its_lane(&self.shared.topology, refresh, self.shared.clock.now());
        self.pass_on(message, taken);
    }

    /// Nothing waits here for room or for its turn much longer than it may be held: the broker loses patience with what is not
    /// acknowledged.
    fn let_go(&mut self) {
        let hold_max = self.settings.hold_max;
        let over = |queue: &mut Queue| {
            let is_over = |(_, taken): &(Box<Refresh>, Taken)| taken.since.elapsed() > hold_max;
            let (over, kept): (Queue, Queue) = std::mem::take(queue).into_iter().partition(is_over);
            *queue = kept;
            over
        };
        for (refresh, taken) in over(&mut self.waiting) {
            self.give_back(&refresh, taken);
        }
        let ready: Vec<Queue> = self.ready.iter_mut().map(over).collect();
        for (refresh, taken) in ready.into_iter().flatten() {
            self.park(refresh, taken);
        }
    }

    /// What is passed on as it came belongs to the trace it came with.
    fn pass_on(&mut self, message: Outgoing, taken: Taken) {
        self.replace((message, Sending::default()), taken);
    }

    fn replace(&mut self, message: (Outgoing, Sending), taken: Taken) {
        let replace = Arc::clone(&self.shared).replace(message, taken);
        let task = self.running.spawn(replace);
        self.runs.insert(task.id(), (taken, None));
    }

    fn ran(&mut self, ran: Result<(Id, Ran), JoinError>) {
        let id = match &ran {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some((taken, command_id)) = self.runs.remove(&id) else {
            return;
        };
        if command_id.is_some() {
            self.asking -= 1;
            self.start_ready();
        }
        let stale = taken.tag.generation != self.shared.generation.load(Ordering::Relaxed);
        if let (Ok((_, Ran::Settled)), false) = (&ran, stale) {
            self.settled(taken.tag);
        }
        match ran {
            Ok((_, Ran::Waits(refresh))) if !stale => {
                let came_back = false;
                return self.go_on(refresh, Taken { came_back, ..taken });
            }
            Ok((_, Ran::Waits(_) | Ran::Settled | Ran::Lost)) => {}
            // Its delivery stays unacknowledged and comes again when this worker ends.
            Err(error) => tracing::error!(%error, "a refresh's task ended by itself"),
        }
        if let Some(command_id) = command_id {
            self.forget(&command_id, taken.tag);
        }
        self.admit();
    }

    /// All that follows from a delivery is published.
    fn settled(&mut self, tag: Tag) {
        self.progress.settled(tag.subscription);
        if self.is_draining() {
            self.settled_last.push(tag);
        } else {
            self.shared.broker.ack(tag);
        }
    }

    fn acknowledge_last(&mut self) {
        for tag in self.settled_last.drain(..) {
            self.shared.broker.ack(tag);
        }
    }

    /// Runs what is ready, as far as there is room.
    fn start_ready(&mut self) {
        while self.asking < self.asking_max {
            let Some((refresh, taken)) = self.ready.iter_mut().find_map(VecDeque::pop_front) else {
                return;
            };
            self.start(refresh, taken);
        }
    }

    fn forget(&mut self, command_id: &str, tag: Tag) {
        if self.commands.get(command_id) == Some(&tag) {
            self.commands.remove(command_id);
        }
    }

    fn wake_due(&mut self) {
        let now = Instant::now();
        while let Some((refresh, taken)) = self.held.pop_due(now) {
            self.start(refresh, taken);
        }
    }

    /// Takes background commands that wait, as far as there is room.
    fn admit(&mut self) {
        while self.has_room() && !*self.outage.borrow() {
            let Some((refresh, taken)) = self.waiting.pop_front() else {
                return;
            };
            self.go_on(refresh, taken);
        }
    }

    fn has_room(&self) -> bool {
        self.held.len() + self.running() < usize::from(self.settings.in_flight)
    }

    /// How many run, or wait for their turn to.
    fn running(&self) -> usize {
        self.runs.len() + self.ready.iter().map(VecDeque::len).sum::<usize>()
    }

    /// While finAPI is down, commands stay in their queues.
    fn outage_changed(&mut self) {
        let down = *self.outage.borrow_and_update();
        let topology = &self.shared.topology;
        for queue in [topology.interactive(), topology.background()] {
            self.pause(&queue, down);
        }
        self.admit();
    }

    fn pause(&self, queue: &str, paused: bool) {
        self.shared.broker.pause(queue, paused);
        self.progress.paused(queue, paused);
    }

    fn status(&self) -> Status {
        let now = self.shared.clock.now();
        let mut held: BTreeMap<&'static str, progress::Held> = BTreeMap::new();
        for refresh in self.held.refreshes() {
            let phase = held.entry(refresh.phase.name()).or_default();
            phase.count += 1;
            let age = now.duration_since(refresh.phase_since).as_secs();
            phase.oldest_seconds = phase.oldest_seconds.max(age);
        }
        Status {
            draining: self.is_draining(),
            finapi_down: *self.outage.borrow(),
            stuck: self.progress.is_stuck(),
            running: self.running(),
            waiting: self.waiting.len(),
            waiting_oldest_seconds: self
                .waiting
                .front()
                .map_or(0, |(refresh, _)| now.duration_since(refresh.requested_at).as_secs()),
            finapi_calls: self.shared.finapi.calls(),
            held,
        }
    }

    fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Takes nothing more, parks what is held, gives back what was not begun, acknowledges both, waits a while for what is running, and
    /// closes. What is left unacknowledged the broker hands to others, as something that came back.
    async fn drain(mut self, mut notices: Notices) {
        let started = Instant::now();
        tracing::info!(held = self.held.len(), running = self.runs.len(), "stopping");
        self.shared.draining.store(true, Ordering::Relaxed);
        for subscription in subscriptions(&self.shared.topology, &self.settings) {
            if let Subscription::Queue { name, .. } = subscription {
                self.pause(&name, true);
            }
        }
        let mut in_hand: Vec<_> = self.ready.iter_mut().flat_map(std::mem::take).collect();
        in_hand.extend(std::iter::from_fn(|| self.held.pop()));
        // In the order they came: one acknowledgement is for all up to the first that is not settled.
        in_hand.sort_by_key(|(_, taken)| taken.tag);
        for (refresh, taken) in in_hand {
            self.park(refresh, taken);
        }
        for (refresh, taken) in std::mem::take(&mut self.waiting) {
            self.give_back(&refresh, taken);
        }
        let deadline = started + self.settings.drain_timeout;
        while !self.running.is_empty() {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => break,
                Some(ran) = self.running.join_next_with_id() => {
                    self.ran(ran);
                    // All is parked. Calls that are still out may take until the deadline, and whatever ends this worker by then would
                    // hand out again what is not acknowledged.
                    if self.runs.len() == self.asking {
                        self.acknowledge_last();
                    }
                }
                Some(ask) = self.asks.recv() => drop(ask.send(self.status())),
                Some(notice) = notices.recv() => if let Notice::Down { generation, reason } = notice {
                    self.lost(generation, &reason);
                },
            }
        }
        // What ended with the deadline is done as well.
        while let Some(ran) = self.running.try_join_next_with_id() {
            self.ran(ran);
        }
        let left = self.running.len();
        self.running.abort_all();
        self.acknowledge_last();
        self.shared.broker.close().await;
        self.shared.metrics.drained(started.elapsed());
        tracing::info!(left, seconds = started.elapsed().as_secs_f64(), "stopped");
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
