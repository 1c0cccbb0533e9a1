//! A batch at work: publishes commands at their pace and follows their events, until each has its outcome.

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

use super::check;
use super::fields::Asked;
use super::input::{self, Lines};
use super::pace::{GROUP_INTERVAL_MIN, Pace};
use super::progress::Progress;
use super::results::{Ending, Outcome, Record, Results};
use super::state::{Entries, Phase};
use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvent, BrokerEvents, Delivery, Outgoing, PublishError, Tag, rabbit};
use crate::cli::send::Lane;
use crate::message;
use crate::plain::plain;
use crate::proto::{from_timestamp, timestamp};
use crate::refresh::Envelope;
use crate::refresh::event::{Event, EventKind};

/// How often outcomes are synced and acknowledged.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// After how many outcomes at the latest.
const SYNC_COUNT: usize = 200;

/// How long to wait before what the broker did not take is published again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a batch stopped.
pub(super) enum Stop {
    /// Every command has its outcome.
    Over,
    /// A signal came.
    Signal,
    /// Nothing happened for so long.
    Quiet(Duration),
}

pub(super) struct Work {
    pub(super) entries: Entries,
    pub(super) results: Results,
    pub(super) file: File,
    pub(super) lane: Lane,
    pub(super) pace: Pace,
    pub(super) timeout: Duration,
    pub(super) topology: Topology,
    pub(super) settings: rabbit::Settings,
    /// The name of the queue of events.
    pub(super) queue: String,
    pub(super) broker: Broker,
    pub(super) progress: Progress,
}

/// What changes while it runs.
struct Course {
    lines: Lines<BufReader<File>>,
    /// The entry of the next line that is read.
    next: usize,
    is_read: bool,
    /// Written down and not confirmed.
    group: Vec<(usize, Outgoing)>,
    not_before: Instant,
    started: Instant,
    /// Since the start, by this run.
    published: usize,
    moved_at: Instant,
    is_connected: bool,
    /// When the queue of events, which is gone, is declared again. Nothing is published until it is there and bound.
    declares_at: Option<Instant>,
    /// Deliveries whose outcomes are to be synced before they are acknowledged.
    unacked: Vec<Tag>,
}

type Failed = Box<dyn std::error::Error>;

impl Work {
    /// # Errors
    ///
    /// The results file can't be written, the input has changed, or the broker will never take a command.
    pub(super) async fn run(
        &mut self,
        broker_events: &mut BrokerEvents,
        stops: &mut mpsc::Receiver<()>,
    ) -> Result<Stop, Failed> {
        let now = Instant::now();
        let mut course = Course {
            lines: input::open(&self.file)?,
            next: 0,
            is_read: false,
            group: Vec::new(),
            not_before: now,
            started: now,
            published: 0,
            moved_at: now,
            is_connected: true,
            declares_at: None,
            unacked: Vec::new(),
        };
        let stop = self.until_stopped(&mut course, broker_events, stops).await;
        // Whatever the reason, what came is kept. Why it stopped comes first.
        let synced = self.sync(&mut course);
        let stop = stop?;
        synced?;
        Ok(stop)
    }

    async fn until_stopped(
        &mut self,
        course: &mut Course,
        broker_events: &mut BrokerEvents,
        stops: &mut mpsc::Receiver<()>,
    ) -> Result<Stop, Failed> {
        let mut ticks = interval(SYNC_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let may_publish =
                course.is_connected && course.declares_at.is_none() && !(course.is_read && course.group.is_empty());
            let next = self.next_at(course);
            let quiet_at = course.moved_at.max(if may_publish { next } else { course.moved_at }) + self.timeout;
            tokio::select! {
                _ = stops.recv() => return Ok(Stop::Signal),
                event = broker_events.recv() => self.on_broker_event(course, event)?,
                () = until(course.declares_at) => self.declare_again(course).await?,
                () = sleep_until(next), if may_publish => self.publish(course).await?,
                _ = ticks.tick() => {
                    self.sync(course)?;
                    let counts = self.entries.counts();
                    self.progress.show(counts);
                    if counts.done + counts.failed == counts.commands {
                        return Ok(Stop::Over);
                    }
                }
                () = sleep_until(quiet_at) => return Ok(Stop::Quiet(self.timeout)),
            }
        }
    }

    fn next_at(&self, course: &Course) -> Instant {
        (course.started + self.pace.next(course.published)).max(course.not_before)
    }

    /// Publishes what is due. What the broker does not confirm is kept and published again as it is.
    async fn publish(&mut self, course: &mut Course) -> Result<(), Failed> {
        if course.group.is_empty() {
            let room = self.pace.room(course.started.elapsed(), course.published);
            self.prepare(course, room)?;
            course.published += course.group.len();
        }
        if course.group.is_empty() {
            return Ok(());
        }
        let messages = course.group.iter().map(|(_, message)| message.clone()).collect();
        match self.broker.publish(messages).await {
            Ok(()) => {
                let published: Vec<Record> = course
                    .group
                    .iter()
                    .map(|(index, _)| Record::Published {
                        line: self.entries.all[*index].line,
                    })
                    .collect();
                self.results.add(&published)?;
                for (index, _) in course.group.drain(..) {
                    self.entries.advance(index, Phase::Published);
                }
                course.moved_at = Instant::now();
                course.not_before = if self.pace.is_limited() {
                    course.moved_at + GROUP_INTERVAL_MIN
                } else {
                    course.moved_at
                };
            }
            Err(error @ (PublishError::Down | PublishError::TimedOut | PublishError::Refused)) => {
                self.progress.say(&format!("{error}; the commands are published again"));
                course.not_before = Instant::now() + AGAIN_AFTER;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Reads lines until there are enough that need to be published, and gives those an id that have none. All of them are synced.
    fn prepare(&mut self, course: &mut Course, room: usize) -> Result<(), Failed> {
        let mut records = Vec::new();
        while course.group.len() < room {
            let Some((index, asked)) = self.next_line(course)? else {
                course.is_read = true;
                break;
            };
            if self.entries.all[index].phase != Phase::Unconfirmed {
                continue;
            }
            let (command_id, requested_at) = match self.entries.all[index].named {
                Some(named) => named,
                None => {
                    let named = name(&asked);
                    records.push(Record::Command {
                        line: self.entries.all[index].line,
                        command_id: named.0,
                        requested_at: named.1,
                    });
                    self.entries.name(index, named.0, named.1);
                    named
                }
            };
            let message = self.message(asked, command_id, requested_at);
            course.group.push((index, message));
        }
        self.results.add(&records)?;
        if !records.is_empty() {
            self.results.sync()?;
        }
        Ok(())
    }

    /// The next good line, which is as it was when it was checked.
    fn next_line(&self, course: &mut Course) -> Result<Option<(usize, Asked)>, Failed> {
        while let Some(line) = course.lines.next()? {
            let index = course.next;
            let Some(entry) = self.entries.all.get(index) else {
                return Ok(None);
            };
            if line.number < entry.line {
                // A bad one, which is skipped.
                continue;
            }
            let number = line.number;
            match check::read(line) {
                Ok(asked) if number == entry.line && check::digest(&asked) == entry.digest => {
                    course.next += 1;
                    return Ok(Some((index, asked)));
                }
                _ => return Err(format!("line {number} has changed since this run began").into()),
            }
        }
        match course.next == self.entries.all.len() {
            true => Ok(None),
            false => Err("the input has lost lines since this run began".into()),
        }
    }

    fn message(&self, asked: Asked, command_id: Uuid, requested_at: Timestamp) -> Outgoing {
        let mut command = asked.command;
        command.command_id = command_id.to_string();
        command.requested_at = Some(from_timestamp(requested_at));
        let envelope = Envelope {
            interactive: asked.lane.unwrap_or(self.lane) == Lane::Interactive,
            correlation_id: command.command_id.clone(),
            ..Envelope::default()
        };
        // The message says the same whenever it is published.
        message::command(&self.topology, command, &envelope, requested_at)
    }

    fn on_broker_event(&mut self, course: &mut Course, event: Option<BrokerEvent>) -> Result<(), Failed> {
        match event {
            Some(BrokerEvent::Delivery(delivery)) => self.on_delivery(course, delivery),
            Some(BrokerEvent::Connected { .. }) => {
                course.is_connected = true;
                course.moved_at = Instant::now();
                self.progress.say("connected to the broker again");
                Ok(())
            }
            Some(BrokerEvent::Disconnected { reason, .. }) => {
                if std::mem::take(&mut course.is_connected) {
                    self.progress
                        .say(&format!("lost the broker ({}); waiting for it", plain(&reason)));
                }
                if reason.contains(&self.queue) {
                    course.declares_at.get_or_insert(Instant::now());
                }
                Ok(())
            }
            Some(BrokerEvent::CaughtUp { .. }) => Ok(()),
            None => Err("the connection to the broker has ended".into()),
        }
    }

    /// The queue of events is gone, and with it what was in it: what has no outcome is published again.
    async fn declare_again(&mut self, course: &mut Course) -> Result<(), Failed> {
        // What came is written down before anything is forgotten.
        self.sync(course)?;
        let was_published = self.entries.counts().published;
        let (settings, topology) = (&self.settings, &self.topology);
        let declared = super::declare(settings, topology, &self.queue, &mut self.entries, &mut self.results).await;
        if self.entries.counts().published < was_published {
            self.progress
                .say("the queue of this batch was gone; commands without an outcome are published again");
            course.group.clear();
            course.lines = input::open(&self.file)?;
            (course.next, course.is_read) = (0, false);
        }
        course.declares_at = match declared {
            Ok(()) => None,
            Err(error) => {
                self.progress.say(&format!("{error}; trying again"));
                Some(Instant::now() + AGAIN_AFTER)
            }
        };
        Ok(())
    }

    fn on_delivery(&mut self, course: &mut Course, delivery: Delivery) -> Result<(), Failed> {
        let Some((index, record)) = self.record_of(&delivery) else {
            self.broker.ack(delivery.tag);
            return Ok(());
        };
        let phase = match &record {
            Record::Outcome(outcome) => Phase::Over(outcome.outcome),
            _ => Phase::UserNeeded,
        };
        self.results.add([&record])?;
        self.entries.advance(index, phase);
        course.moved_at = Instant::now();
        course.unacked.push(delivery.tag);
        if course.unacked.len() >= SYNC_COUNT {
            self.sync(course)?;
        }
        Ok(())
    }

    /// What is new in an event, if it is about a command of this batch.
    fn record_of(&self, delivery: &Delivery) -> Option<(usize, Record)> {
        let message = &delivery.message;
        let event = Event::decode(message.properties.kind.as_deref()?, &message.body).ok()?;
        let context = event.context();
        let index = self
            .entries
            .find(&context.command_id, &context.user_id, context.bank_connection_id)?;
        let entry = &self.entries.all[index];
        let (is_over, line, at) = (matches!(entry.phase, Phase::Over(_)), entry.line, Timestamp::now());
        let (command_id, _) = entry.named?;
        let outcome = |outcome, reason: &str| Outcome {
            line,
            command_id,
            user_id: context.user_id.clone(),
            bank_connection_id: context.bank_connection_id,
            outcome,
            reason: reason.to_owned(),
            retryable: None,
            covered_until: None,
            event_id: context.event_id.clone(),
            at,
        };
        let record = match event.kind() {
            _ if is_over => return None,
            EventKind::UserActionRequired(_) => Record::UserNeeded { line, at },
            EventKind::TransactionsUpdated(updated) if updated.last => Record::Outcome(Outcome {
                covered_until: updated.covered_until.as_ref().and_then(timestamp),
                ..outcome(Ending::Updated, updated.origin().as_str_name())
            }),
            EventKind::TransactionsUpdated(_) => return None,
            EventKind::RefreshFailed(failed) => Record::Outcome(Outcome {
                retryable: Some(failed.retryable),
                ..outcome(Ending::Failed, failed.reason().as_str_name())
            }),
        };
        Some((index, record))
    }

    /// Syncs what was added, then acknowledges it.
    fn sync(&mut self, course: &mut Course) -> Result<(), Failed> {
        self.results.sync()?;
        for tag in course.unacked.drain(..) {
            self.broker.ack(tag);
        }
        Ok(())
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The id and the time that a command has from now on.
fn name(asked: &Asked) -> (Uuid, Timestamp) {
    let given = Uuid::parse_str(&asked.command.command_id).ok();
    let requested_at = asked.command.requested_at.as_ref().and_then(timestamp);
    (
        given.unwrap_or_else(Uuid::now_v7),
        requested_at.unwrap_or_else(Timestamp::now),
    )
}
