//! What a worker publishes: what a run led to, or what takes the place of a delivery.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Span;

use super::context::{self, Context};
use super::fate::Fate;
use super::scheduler::PublishEnd;
use crate::broker::{Outgoing, PublishError, Tag};
use crate::finapi::body_budget::Room;
use crate::message;
use crate::refresh::event::{Event, EventKind};
use crate::refresh::{Next, Refresh, Step, later};
use crate::telemetry::traces::{ProcessSpan, SendSpan};

/// The wait before a publish that failed is tried again. Short, because RabbitMQ from 4.3 on also refuses what an ephemeral queue would
/// have got that has just gone. It doubles each time, because some of the bound queues may have taken
/// the message.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// The longest such wait.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);

/// After this, a worker no longer tries to publish what a step led to, and parks the refresh. Well below the broker's consumer timeout.
const STEP_TIME_MAX: Duration = Duration::from_secs(120);

/// How long a publication waits that panicked.
const PANIC_WAIT: Duration = Duration::from_secs(60);

/// Something to publish.
#[derive(Debug)]
pub(super) enum Publication {
    /// What a step led to.
    Step(Box<Decision>),
    /// That a refresh is about to ask for a start, to all workers.
    Start(Box<Refresh>),
    /// A checkpoint, to a delay queue or to the steps queue; and how often it came back before it ran.
    Park(Box<Refresh>, u32),
    /// A command that was not begun and did not come back, to the end of its lane.
    Requeue(Box<Refresh>),
    /// A message as it came.
    Forward(Box<Forward>),
}

/// A step that has something to publish.
#[derive(Debug)]
pub(super) struct Decision {
    /// The refresh before the step.
    pub(super) before: Box<Refresh>,
    pub(super) step: Step,
    /// The span of the run.
    pub(super) process: ProcessSpan,
    pub(super) started: Instant,
    /// What was read has it until the events are published.
    pub(super) room: Room,
}

/// A message that goes elsewhere as it came.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) outgoing: Outgoing,
    pub(super) fate: Fate,
    /// Why, for the log.
    pub(super) reason: String,
}

/// Why something is not published.
enum Failed {
    Lost,
    /// The broker refuses it, or did not confirm it in time. Later it may take it.
    Refused,
    /// The broker takes no message as large as this.
    TooLarge,
}

/// How long what is to be published is tried again.
#[derive(Clone, Copy)]
enum Until {
    /// As long as the connection lasts: it takes the place of a delivery.
    Lost,
    /// Until then, and after a refusal not even once, or once more after a second: some of the bound queues may have taken it.
    Refused { again: bool, deadline: Instant },
}

impl Publication {
    /// Says in each log line whose it is.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Step(decision) => context::span(&decision.before),
            Self::Start(refresh) | Self::Park(refresh, _) | Self::Requeue(refresh) => context::span(refresh),
            Self::Forward(_) => Span::none(),
        }
    }
}

impl Context {
    /// Publishes, and waits for the confirms.
    pub(super) async fn publish(self: &Arc<Self>, tag: Tag, publication: Publication) -> PublishEnd {
        let mut publication = match publication {
            Publication::Step(decision) => return self.publish_decision(tag, *decision).await,
            Publication::Start(mut refresh) => {
                let announcing = AssertUnwindSafe(self.announce_start(&mut refresh)).catch_unwind().await;
                if announcing.is_err() {
                    tokio::time::sleep(PANIC_WAIT).await;
                    refresh.interrupted();
                }
                return PublishEnd::Continues(refresh);
            }
            other => other,
        };
        let replacing = AssertUnwindSafe(self.publish_replacement(tag, &mut publication))
            .catch_unwind()
            .await;
        match replacing {
            Ok(Ok(fate)) => {
                self.report(fate);
                PublishEnd::Done
            }
            Ok(Err(_)) => PublishEnd::Lost,
            Err(_) => {
                tokio::time::sleep(PANIC_WAIT).await;
                PublishEnd::Again(publication)
            }
        }
    }

    /// Publishes what takes the place of a delivery.
    async fn publish_replacement(&self, tag: Tag, publication: &mut Publication) -> Result<Fate, Failed> {
        match publication {
            Publication::Park(refresh, redeliveries) => {
                let sending = SendSpan::alone(&refresh.envelope);
                let (mut checkpoint, sending) = self.checkpoint(refresh, sending);
                message::keep_redeliveries(&mut checkpoint, *redeliveries);
                self.send(vec![(checkpoint, sending)], tag, Until::Lost).await?;
                tracing::debug!(due_at = %refresh.due_at, phase = refresh.phase.name(), "parked the refresh until it is due");
                Ok(Fate::Parked)
            }
            Publication::Requeue(refresh) => {
                let outgoing = message::back_to_its_lane(&self.topology, refresh, self.clock.now());
                // A command belongs to the trace that it came with.
                self.send(vec![(outgoing, SendSpan::default())], tag, Until::Lost)
                    .await?;
                tracing::debug!("requeued the command at the end of its lane");
                Ok(Fate::Requeued)
            }
            Publication::Forward(forward) => {
                let Forward { outgoing, fate, reason } = &**forward;
                let destination = outgoing.destination();
                let message = (outgoing.clone(), SendSpan::default());
                self.send(vec![message], tag, Until::Lost).await?;
                let fate_name = fate.name();
                tracing::warn!(
                    fate = fate_name,
                    destination,
                    reason,
                    "forwarded a message without running it"
                );
                Ok(*fate)
            }
            Publication::Step(_) | Publication::Start(_) => unreachable!("it takes no delivery's place"),
        }
    }

    /// A panic while it is published is one failed attempt of the refresh.
    async fn publish_decision(&self, tag: Tag, decision: Decision) -> PublishEnd {
        let destination = self.destination(tag.subscription);
        let Decision {
            mut before,
            step,
            process,
            started,
            room: _room,
        } = decision;
        let publishing = async {
            match self.publish_step(&process, step, tag, &mut before).await {
                Err(Failed::TooLarge) => self.give_up(&process, tag, &mut before).await,
                published => published,
            }
        };
        let (end, state, error) = match AssertUnwindSafe(publishing).catch_unwind().await {
            Ok(Ok(end)) => {
                let state = if matches!(end, PublishEnd::Done) {
                    "done"
                } else {
                    "waits"
                };
                (end, state, None)
            }
            Ok(Err(Failed::Lost)) => (PublishEnd::Lost, "lost", Some("connection_lost")),
            Ok(Err(Failed::Refused | Failed::TooLarge)) => (PublishEnd::Refused(before), "refused", Some("refused")),
            Err(_) => {
                before.failures = before.failures.saturating_add(1);
                before.due_at = later(self.clock.now(), PANIC_WAIT);
                (PublishEnd::Refused(before), "panicked", Some("panic"))
            }
        };
        self.metrics.processed(destination, started.elapsed());
        process.end(state, error);
        end
    }

    /// Publishes the events of a step, and then the checkpoint if there is one. `before` is the refresh before the step; after a refusal, as it
    /// is to be parked.
    async fn publish_step(
        &self,
        process: &ProcessSpan,
        mut step: Step,
        tag: Tag,
        before: &mut Refresh,
    ) -> Result<PublishEnd, Failed> {
        let now = self.clock.now();
        let until = Until::Refused {
            again: before.refusals == 0,
            deadline: Instant::now() + STEP_TIME_MAX,
        };
        let mut messages = Vec::new();
        for event in &step.events {
            let sending = process.send(&before.envelope);
            let message = message::event(&self.topology, event, sending.envelope(&before.envelope), now);
            let sending = sending.with_destination(&message);
            messages.push((message, sending));
        }
        // The user is notified before anything comes of a web form, also where the broker refuses one message and takes the others.
        let notifies = matches!(
            step.events.first().map(Event::kind),
            Some(EventKind::UserActionRequired(_))
        );
        let mut parts = messages.split_off(usize::from(notifies));
        // Whoever has the end of an outcome has all of it.
        let ends = step.events.last().is_some_and(Event::is_last);
        let end = parts.split_off(parts.len().saturating_sub(usize::from(ends)));
        for messages in [messages, parts, end] {
            if messages.is_empty() {
                continue;
            }
            let sent = self.send(messages, tag, until).await;
            if matches!(sent, Err(Failed::Refused)) {
                before.on_refused(&step.events, self.clock.now());
                self.refusals.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(due_at = %before.due_at, "the broker refuses an event, so the refresh waits");
            }
            sent?;
        }
        for event in &step.events {
            self.report_event(event, before, now);
        }
        // Not together with the events: if one of them were refused, each further try would leave one more checkpoint.
        let mut parks = false;
        if let Next::Checkpoint(refresh) = &mut step.next {
            refresh.refusals = 0;
            let checkpoint = self.checkpoint(refresh, process.send(&refresh.envelope));
            match self.send(vec![checkpoint], tag, until).await {
                Ok(()) => {}
                Err(Failed::Lost) => return Err(Failed::Lost),
                Err(Failed::Refused | Failed::TooLarge) => parks = true,
            }
        }
        self.report_step(process, &step, before, now);
        Ok(match step.next {
            Next::Continue(refresh) => PublishEnd::Continues(Box::new(Refresh {
                refusals: 0,
                ..*refresh
            })),
            Next::Checkpoint(refresh) if parks => PublishEnd::Refused(refresh),
            Next::Checkpoint(_) => {
                self.report(Fate::Parked);
                PublishEnd::Done
            }
            Next::Done => {
                self.report(Fate::Completed);
                PublishEnd::Done
            }
        })
    }

    /// Ends a refresh whose event the broker will never take: with a failure for the consumers, and with its command among the dead letters for
    /// the operators.
    async fn give_up(&self, process: &ProcessSpan, tag: Tag, before: &mut Refresh) -> Result<PublishEnd, Failed> {
        let why = "the event is larger than the broker takes";
        tracing::error!(why, "gave up a refresh");
        let now = self.clock.now();
        let letter = message::dead_command(&self.topology, before, why, now);
        self.send(vec![(letter, SendSpan::default())], tag, Until::Lost).await?;
        let step = Step {
            events: vec![before.unpublishable(now, why)],
            next: Next::Done,
        };
        self.publish_step(process, step, tag, before).await
    }

    /// A checkpoint that is about to be sent. The refresh continues from the span that sends it.
    fn checkpoint(&self, refresh: &mut Refresh, sending: SendSpan) -> (Outgoing, SendSpan) {
        sending.continue_from(&mut refresh.envelope);
        let message = message::checkpoint(&self.topology, refresh, self.clock.now());
        let sending = sending.with_destination(&message);
        (message, sending)
    }

    /// Publishes until it is confirmed, or for as long as it says.
    async fn send(&self, messages: Vec<(Outgoing, SendSpan)>, tag: Tag, until: Until) -> Result<(), Failed> {
        let (messages, sendings): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let published = self.send_until_confirmed(messages, tag, until).await;
        for sending in sendings {
            sending.end(published.is_ok());
        }
        published
    }

    async fn send_until_confirmed(&self, messages: Vec<Outgoing>, tag: Tag, until: Until) -> Result<(), Failed> {
        let mut wait = RETRY_WAIT;
        loop {
            let started = Instant::now();
            let published = self.broker.publish_for(tag, messages.clone()).await;
            let error = published.as_ref().err().map(PublishError::name);
            self.metrics.sent(&messages, error, started.elapsed());
            let error = match published {
                Ok(()) => return Ok(()),
                Err(PublishError::Down) => return Err(Failed::Lost),
                Err(error) => error,
            };
            if let Until::Refused { again, deadline } = until {
                let refused = error == PublishError::Refused && (!again || wait > RETRY_WAIT);
                match error {
                    PublishError::TooLarge => return Err(Failed::TooLarge),
                    _ if refused || Instant::now() + wait > deadline => return Err(Failed::Refused),
                    _ => {}
                }
            }
            tracing::warn!(%error, "could not publish a message, and will try again");
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(RETRY_WAIT_MAX);
        }
    }

    fn report_event(&self, event: &Event, before: &Refresh, now: Timestamp) {
        let age = now.duration_since(before.requested_at).try_into().unwrap_or_default();
        self.metrics
            .published(event, age, || self.planner().bank_of(before.command.connection_id()));
        let context = event.context();
        tracing::info!(
            event_id = context.event_id.as_str(),
            task_id = context.task_id.as_str(),
            "published {}",
            event.summary()
        );
    }
}
