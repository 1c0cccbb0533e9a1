//! One run of a refresh: ask, decide, publish, and so on until it has to wait or is over. Runs as a task of its own; what it
//! returns is for the worker's loop.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::learned::Learned;
use super::{Taken, message};
use crate::broker::topology::Topology;
use crate::broker::{Broker, Outgoing, PublishError};
use crate::clock::Clock;
use crate::finapi::FinApi;
use crate::proto::UpdateOrigin;
use crate::refresh::answer::{Answer, Answered, Failure, FailureKind};
use crate::refresh::event::Event;
use crate::refresh::{Moment, Next, Phase, Policy, Refresh, Step};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Process, Sending};

/// What every run needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) broker: Broker,
    pub(super) finapi: FinApi,
    pub(super) topology: Topology,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    /// The broker connection's life; what belongs to an older one is no longer ours.
    pub(super) generation: AtomicU64,
    pub(super) draining: AtomicBool,
    pub(super) learned: std::sync::Mutex<Learned>,
    pub(super) metrics: Metrics,
    /// Where messages come from, by the number of their subscription.
    pub(super) destinations: Vec<String>,
    pub(super) jitter: std::sync::Mutex<fastrand::Rng>,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ran {
    /// The refresh waits until it is due.
    Waits(Box<Refresh>),
    /// All that follows from it is published: its delivery is to be acknowledged.
    Settled,
    /// The connection was lost meanwhile; the broker hands the message out again.
    Lost,
}

impl Ran {
    fn name(&self) -> &'static str {
        match self {
            Self::Waits(_) => "waits",
            Self::Settled => "settled",
            Self::Lost => "lost",
        }
    }

    fn error(&self) -> Option<&'static str> {
        match self {
            Self::Lost => Some("connection_lost"),
            Self::Waits(_) | Self::Settled => None,
        }
    }
}

/// The wait before a publish that failed is tried again; doubled after each that fails again, for some of the queues that are bound may
/// have taken it.
const PUBLISH_RETRY: Duration = Duration::from_secs(1);

/// The longest such wait.
const PUBLISH_RETRY_MAX: Duration = Duration::from_secs(60);

impl Shared {
    /// Runs a refresh that is due.
    pub(super) async fn run(self: Arc<Self>, mut refresh: Box<Refresh>, taken: Taken) -> Ran {
        let command_id = refresh.command.command_id.as_str();
        tracing::trace!(command_id, "running a refresh");
        let destination = self.destination(taken.tag.subscription);
        let process = Process::begin(&mut refresh, destination);
        let started = Instant::now();
        let ran = process.around(self.run_within(&process, refresh, taken)).await;
        self.metrics.processed(destination, started.elapsed());
        process.end(ran.name(), ran.error());
        ran
    }

    async fn run_within(&self, process: &Process, mut refresh: Box<Refresh>, taken: Taken) -> Ran {
        loop {
            if !self.owns(taken) {
                return Ran::Lost;
            }
            let now = self.clock.now();
            if self.draining.load(Ordering::Relaxed) || refresh.due_at > now {
                return Ran::Waits(refresh);
            }
            let step = match refresh.overdue(now, &self.policy) {
                Some(event) => Step {
                    events: vec![event],
                    next: Next::Over,
                },
                None => self.ask(&refresh, taken).await,
            };
            refresh = match self.publish_step(process, step, taken, &refresh).await {
                Ok(Some(next)) => next,
                Ok(None) => return Ran::Settled,
                Err(Lost) => return Ran::Lost,
            };
        }
    }

    /// Publishes a message that takes the place of a delivery.
    pub(super) async fn replace(self: Arc<Self>, message: (Outgoing, Sending), taken: Taken) -> Ran {
        match self.publish(vec![message], taken).await {
            Ok(()) => Ran::Settled,
            Err(Lost) => Ran::Lost,
        }
    }

    /// A state that is about to be sent; it goes on from the span that sends it.
    pub(super) fn bookmark(&self, refresh: &mut Refresh, sending: Sending) -> (Outgoing, Sending) {
        sending.takes_over(&mut refresh.envelope);
        let message = message::bookmark(&self.topology, refresh, self.clock.now());
        let sending = sending.named(&message);
        (message, sending)
    }

    pub(super) fn destination(&self, subscription: u32) -> &str {
        let index = usize::try_from(subscription).unwrap_or(usize::MAX);
        self.destinations.get(index).map(String::as_str).unwrap_or_default()
    }

    /// Asks finAPI and decides. A panic on the way is one failed attempt.
    async fn ask(&self, refresh: &Refresh, taken: Taken) -> Step {
        let call = refresh.call();
        let is_wanted = || self.owns(taken) && !self.draining.load(Ordering::Relaxed);
        let asked = self.finapi.ask(refresh, &call, is_wanted);
        let answered = AssertUnwindSafe(asked).catch_unwind().await;
        let answered = answered.unwrap_or_else(|_| Err(panicked("while finAPI was asked")));
        log_failure(refresh, &answered);
        self.learn(refresh, &answered);
        let now = self.clock.now();
        let runs_for = refresh.task().map(|task| now.duration_since(task.created_at));
        let runs_for = runs_for.and_then(|time| time.try_into().ok()).unwrap_or_default();
        let moment = Moment {
            now,
            jitter: self.random(),
            next_look: self
                .lock_learned()
                .next_look(refresh.command.bank_connection_id, runs_for),
        };
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| {
            refresh.clone().step(answered, moment, &self.policy)
        }));
        decided.unwrap_or_else(|_| {
            let failure = Err(panicked("while deciding on finAPI's answer"));
            refresh.clone().step(failure, moment, &self.policy)
        })
    }

    /// Publishes what a step leads to. Answers with the refresh if it goes on, with none if its delivery is to be acknowledged.
    async fn publish_step(
        &self,
        process: &Process,
        mut step: Step,
        taken: Taken,
        before: &Refresh,
    ) -> Result<Option<Box<Refresh>>, Lost> {
        let now = self.clock.now();
        let mut messages = Vec::new();
        for event in &step.events {
            let sending = process.send(&before.envelope);
            let message = message::event(&self.topology, event, sending.envelope(&before.envelope), now);
            let sending = sending.named(&message);
            messages.push((message, sending));
        }
        // The user is notified before anything comes of a web form, also where the broker refuses one message and takes the others.
        let asks = matches!(step.events.first(), Some(Event::UserActionRequired(_)));
        let outcome = messages.split_off(usize::from(asks));
        for messages in [messages, outcome] {
            if !messages.is_empty() {
                self.publish(messages, taken).await?;
            }
        }
        // Not together with the events: were one of them refused, each further try would leave one more bookmark.
        if let Next::Bookmark(refresh) = &mut step.next {
            let bookmark = self.bookmark(refresh, process.send(&refresh.envelope));
            self.publish(vec![bookmark], taken).await?;
        }
        for event in &step.events {
            let age = now.duration_since(before.requested_at).try_into().unwrap_or_default();
            self.metrics.published(event, age, || {
                self.lock_learned().bank_of(before.command.bank_connection_id)
            });
            log_event(event, before);
        }
        let next = match &step.next {
            Next::Wait(next) | Next::Bookmark(next) => Some(next),
            Next::Over => None,
        };
        if let (None, Some(task)) = (before.task(), next.and_then(|next| next.task())) {
            process.follows(task);
        }
        if next.is_none_or(|next| next.phase.name() != before.phase.name()) {
            let after = now.duration_since(before.phase_since).try_into().unwrap_or_default();
            self.metrics.left(before.phase.name(), after);
            log_change(before, next.map(|next| &**next));
        }
        match step.next {
            Next::Wait(refresh) => Ok(Some(refresh)),
            Next::Bookmark(_) | Next::Over => Ok(None),
        }
    }

    /// Publishes, again and again as long as the delivery's connection lasts: what is not confirmed is not done.
    async fn publish(&self, messages: Vec<(Outgoing, Sending)>, taken: Taken) -> Result<(), Lost> {
        let (messages, sendings): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let published = self.publish_until_confirmed(messages, taken).await;
        for sending in sendings {
            sending.end(published.is_ok());
        }
        published
    }

    async fn publish_until_confirmed(&self, messages: Vec<Outgoing>, taken: Taken) -> Result<(), Lost> {
        let mut wait = PUBLISH_RETRY;
        loop {
            let started = Instant::now();
            let published = self.broker.publish_for(taken.tag, messages.clone()).await;
            let error = published.as_ref().err().map(PublishError::name);
            self.metrics.sent(&messages, error, started.elapsed());
            match published {
                Ok(()) => return Ok(()),
                Err(PublishError::Down) => return Err(Lost),
                Err(error) => tracing::warn!(%error, "publishing failed; trying again"),
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(PUBLISH_RETRY_MAX);
        }
    }

    /// How long the update took, when finAPI says so.
    fn learn(&self, refresh: &Refresh, answered: &Answered) {
        let (Phase::Settling { update }, Ok(Answer::Connection(connection))) = (&refresh.phase, answered) else {
            return;
        };
        let id = refresh.command.bank_connection_id;
        self.lock_learned().belongs(id, connection.bank_id);
        let (UpdateOrigin::Silent, Some(task), Some(end)) = (update.origin, &update.task, connection.last_success_at())
        else {
            return;
        };
        if refresh.looks == 0 {
            let delay = refresh.phase_since.duration_since(end);
            self.metrics.noticed(delay.try_into().unwrap_or_default());
        }
        if let (true, Ok(duration)) = (connection.ready, end.duration_since(task.created_at).try_into()) {
            self.lock_learned().record(connection.bank_id, duration);
        }
    }

    fn lock_learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn owns(&self, taken: Taken) -> bool {
        self.generation.load(Ordering::Relaxed) == taken.tag.generation
    }

    fn random(&self) -> f64 {
        let mut jitter = self.jitter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        jitter.f64()
    }
}

/// The delivery is no longer ours.
struct Lost;

fn panicked(when: &str) -> Failure {
    Failure::new(FailureKind::Internal, &format!("a panic {when}"))
}

fn log_failure(refresh: &Refresh, answered: &Answered) {
    let Err(failure) = answered else { return };
    // Known outages and locks are no news.
    if matches!(failure.kind, FailureKind::NotAsked(_) | FailureKind::Locked) {
        return;
    }
    tracing::warn!(
        trace_id = refresh.envelope.trace_id(),
        command_id = refresh.command.command_id,
        bank_connection_id = refresh.command.bank_connection_id,
        task_id = task_id(refresh),
        phase = refresh.phase.name(),
        kind = failure.kind.name(),
        request_id = failure.request_id.as_deref().unwrap_or_default(),
        "{}",
        failure.message
    );
}

fn log_change(before: &Refresh, next: Option<&Refresh>) {
    tracing::debug!(
        trace_id = before.envelope.trace_id(),
        command_id = before.command.command_id,
        bank_connection_id = before.command.bank_connection_id,
        task_id = task_id(next.unwrap_or(before)),
        phase = before.phase.name(),
        next = next.map_or("over", |next| next.phase.name()),
        "went on"
    );
}

/// A copy of a refresh that is left to another one.
pub(super) fn log_duplicate(refresh: &Refresh) {
    tracing::debug!(
        trace_id = refresh.envelope.trace_id(),
        command_id = refresh.command.command_id,
        bank_connection_id = refresh.command.bank_connection_id,
        "another copy is in hand; this one is dropped"
    );
}

/// A refresh that waits in a delay queue from now on.
pub(super) fn log_parked(refresh: &Refresh) {
    tracing::debug!(
        trace_id = refresh.envelope.trace_id(),
        command_id = refresh.command.command_id,
        bank_connection_id = refresh.command.bank_connection_id,
        task_id = task_id(refresh),
        phase = refresh.phase.name(),
        due_at = %refresh.due_at,
        "parked"
    );
}

fn task_id(refresh: &Refresh) -> &str {
    refresh.task().map(|task| task.id.as_str()).unwrap_or_default()
}

fn log_event(event: &Event, refresh: &Refresh) {
    let context = event.context();
    tracing::info!(
        trace_id = refresh.envelope.trace_id(),
        command_id = refresh.command.command_id,
        bank_connection_id = refresh.command.bank_connection_id,
        task_id = context.map(|context| context.task_id.as_str()).unwrap_or_default(),
        event_id = context.map(|context| context.event_id.as_str()).unwrap_or_default(),
        "published {}",
        event.summary()
    );
}
