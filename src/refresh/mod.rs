//! The workflow: what a refresh does next, given finAPI's responses. Pure: time and jitter are arguments, nothing is
//! awaited, logged or remembered.
//!
//! | phase | queries | and goes to |
//! | --- | --- | --- |
//! | Locating: check | the connection | Settling (fresh enough), Locating: find |
//! | Locating: find | the user's tasks | the phase of a task that satisfies the command, Locating: start |
//! | Locating: start | a new task | the phase of that task; Locating: find (its response was lost); Locating: follow (423) |
//! | Locating: follow | the user's tasks | the phase of the running task; waits, then Locating: check |
//! | Updating | the task | itself, NotifyingUser, Settling, failed |
//! | NotifyingUser | the web form | AwaitingUser, and `UserActionRequired` is published |
//! | AwaitingUser | the web form | itself, Settling, failed (expired, aborted, error) |
//! | Settling | the connection, until READY | itself, Collecting |
//! | Collecting | accounts, and transactions page by page | itself (next page), done; `TransactionsUpdated` is published, part by part |
//! | Failing | nothing | done: the broker refused the failure's event before, and it is published again |
//!
//! Check and find come first whenever a refresh continues without a task, so nothing is started twice. Transient
//! trouble waits in the same phase, by [`schedule::Retry`]; what can't get better fails at once. A phase's deadline is judged
//! only when finAPI itself says that it is not over yet: while finAPI can't be reached, only the deadline of the whole counts.

mod asked;
mod clocks;
pub mod command;
mod envelope;
pub mod event;
pub mod failure;
pub mod model;
pub mod order;
mod policy;
pub mod query;
pub mod reading;
mod refused;
pub mod schedule;
mod settings;
pub mod state;
mod times;
mod transition;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use asked::Asked;
pub use clocks::{ClockOffset, Clocks};
pub use command::{Command, InvalidCommand};
pub use envelope::Envelope;
pub use policy::{Policy, WEB_FORM_LIFETIME};
pub(crate) use schedule::{earlier, later};
pub use settings::Limits;
pub use times::Times;

use crate::id::{TaskId, WebFormId};
use crate::proto::{UpdateOrigin, UserActionReason};
use event::Event;
use failure::{Doubts, FailureDetails};
use model::WebFormLink;
use query::{Query, QueryResult};
use reading::Collecting;
use transition::Transition;

/// A refresh that is under way.
#[derive(Clone)]
pub struct Refresh {
    /// What was asked for.
    pub command: Arc<Command>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// What came with the command and is passed on with everything that follows from it.
    pub envelope: Envelope,
    /// Where it stands.
    pub phase: Phase,
    /// When the phase began.
    pub phase_since: Timestamp,
    /// Does not continue before this.
    pub due_at: Timestamp,
    /// How often finAPI was polled in this phase and had nothing new.
    pub polls: u32,
    /// How often a call failed since the refresh last made progress.
    pub failures: u32,
    /// How often in a row finAPI said what is hard to believe.
    pub doubts: Doubts,
    /// How often in a row the broker refused what was to be published.
    pub refusals: u32,
    /// For how long pauses kept it from being started. It does not count towards its deadline.
    pub paused_for: Duration,
    /// When what happened, for whoever watches it.
    pub times: Times,
}

/// Without the envelope, and with nothing of the command but its id.
impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("command_id", &self.command.id())
            .field("requested_at", &self.requested_at)
            .field("phase", &self.phase)
            .field("phase_since", &self.phase_since)
            .field("due_at", &self.due_at)
            .field("polls", &self.polls)
            .field("failures", &self.failures)
            .field("doubts", &self.doubts)
            .field("refusals", &self.refusals)
            .field("paused_for", &self.paused_for)
            .finish_non_exhaustive()
    }
}

/// How far one message of a command is, compared with another one. Parts that are published count first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    parts_published: u32,
    revision: u32,
}

/// Where a refresh stands.
#[derive(Clone, Debug)]
pub enum Phase {
    /// No task is known.
    Locating {
        /// What to query first.
        lookup: Lookup,
        /// The connection was found locked, so an update since the command satisfies it.
        locked: bool,
        /// A start that may have been made, where one was asked for and nobody knows what came of it.
        asked: Option<Asked>,
    },
    /// finAPI works on the task.
    Updating {
        /// The task.
        task: TaskRef,
    },
    /// A web form was handed out, and the user is not notified of it yet. Never leaves the worker: a checkpoint says Updating.
    NotifyingUser {
        /// The task that led to it.
        task: TaskRef,
        /// The web form.
        form: WebFormLink,
        /// Why it is needed.
        reason: UserActionReason,
    },
    /// The user was notified of the web form.
    AwaitingUser {
        /// The task that led to it.
        task: TaskRef,
        /// The web form's id.
        web_form_id: WebFormId,
        /// When the web form ends.
        expires_at: Timestamp,
    },
    /// finAPI stores what came of the update.
    Settling {
        /// The update.
        update: Update,
    },
    /// The failure is known, and the broker refused the event that says so. What led to it is not asked for again: that may be the start
    /// of an update.
    Failing {
        /// The task, where there was one.
        task: Option<TaskRef>,
        /// The part of the outcome that the failure takes the place of, from 1.
        part: u32,
        /// The failure.
        details: FailureDetails,
    },
    /// The data is there and is published, as it is read.
    Collecting(Box<Collecting>),
}

/// What to query while no task is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// How fresh the connection is.
    Check,
    /// Whether there is a task that satisfies the command.
    Find,
    /// For a new task.
    Start,
    /// Which task has locked the connection.
    Follow,
}

/// A task, as a checkpoint remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRef {
    /// finAPI's id.
    pub id: TaskId,
    /// When finAPI created it.
    pub created_at: Timestamp,
}

/// An update that is over and not yet published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The task; none where this command led to none.
    pub task: Option<TaskRef>,
    /// How it came about.
    pub origin: UpdateOrigin,
}

/// The time, the jitter and the hints of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepContext {
    /// Now.
    pub now: Timestamp,
    /// A fraction from 0 up to but not including 1.
    pub jitter: f64,
    /// When the task is best polled next, after its start, going by how long those of its bank took.
    pub next_poll: Option<Duration>,
    /// What is known of finAPI's clocks.
    pub clocks: Clocks,
    /// When workers announced starts of this refresh.
    pub announced: Option<Asked>,
}

/// What a step leads to: what to publish, then what next.
#[derive(Debug)]
pub struct Step {
    /// To be published, in this order.
    pub events: Vec<Event>,
    /// What next.
    pub next: Next,
}

/// What next.
#[derive(Debug)]
pub enum Next {
    /// Continue at `due_at`.
    Continue(Box<Refresh>),
    /// Publish the events, then a checkpoint, and continue from that.
    Checkpoint(Box<Refresh>),
    /// The outcome is among the events.
    Done,
}

impl Refresh {
    /// A refresh that begins. No command was given in the future, whatever its sender's clock says: a task that this
    /// refresh starts would look like one from before it.
    #[must_use]
    pub fn new(command: Command, requested_at: Timestamp, envelope: Envelope, now: Timestamp) -> Self {
        let mut refresh = Self {
            command: Arc::new(command),
            requested_at: requested_at.min(now),
            envelope,
            phase: Phase::Locating {
                lookup: Lookup::Find,
                locked: false,
                asked: None,
            },
            phase_since: now,
            due_at: now,
            polls: 0,
            failures: 0,
            doubts: Doubts::default(),
            refusals: 0,
            paused_for: Duration::ZERO,
            times: Times::default(),
        };
        refresh.phase = refresh.locating(false, None);
        refresh
    }

    /// The query that comes next.
    #[must_use]
    pub fn query(&self) -> Query {
        match &self.phase {
            Phase::Locating { lookup, .. } => match lookup {
                Lookup::Check => Query::Connection,
                Lookup::Find | Lookup::Follow => Query::FindTask,
                Lookup::Start => Query::Start,
            },
            Phase::Updating { task } => Query::Task(task.id.clone()),
            Phase::NotifyingUser { form, .. } => Query::WebForm(form.id.clone()),
            Phase::AwaitingUser { web_form_id, .. } => Query::WebForm(web_form_id.clone()),
            // Who fails asks nothing: the outcome is known.
            Phase::Settling { .. } | Phase::Failing { .. } => Query::Connection,
            Phase::Collecting(collecting) => collecting.query(),
        }
    }

    /// Decides on finAPI's response to [`Refresh::query`].
    #[must_use]
    pub fn step(self, result: QueryResult, context: StepContext, policy: &Policy) -> Step {
        let transition = Transition { context, policy };
        match result {
            Ok(response) => transition.on_response(self, response),
            Err(failure) => transition.on_call_failed(self, failure),
        }
    }

    /// When its time is up.
    #[must_use]
    pub fn deadline(&self, policy: &Policy) -> Timestamp {
        later(later(self.requested_at, policy.limits.refresh), self.paused_for)
    }

    fn locating(&self, locked: bool, asked: Option<Asked>) -> Phase {
        let lookup = match self.fresh_since(locked) {
            Some(_) => Lookup::Check,
            None => Lookup::Find,
        };
        Phase::Locating { lookup, locked, asked }
    }

    /// Since when a successful update satisfies the command, where one may.
    fn fresh_since(&self, locked: bool) -> Option<Timestamp> {
        if self.command.edits_saved_settings() {
            return None;
        }
        let by_age = self.command.fresh_since(self.requested_at);
        let by_lock = (locked && !self.command.asks_for_more()).then_some(self.requested_at);
        by_age.or(by_lock)
    }

    /// Whether a part of its outcome may be out.
    #[must_use]
    pub fn is_half_published(&self) -> bool {
        self.parts_published() > 0
    }

    fn parts_published(&self) -> u32 {
        self.next_part().saturating_sub(1)
    }

    fn next_part(&self) -> u32 {
        match &self.phase {
            Phase::Collecting(collecting) => collecting.reading.part,
            Phase::Failing { part, .. } => *part,
            _ => 1,
        }
    }

    /// How far it is. Whatever is published in its place is further.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            parts_published: self.parts_published(),
            revision: self.envelope.revision,
        }
    }

    /// The task, where one is known.
    #[must_use]
    pub fn task(&self) -> Option<&TaskRef> {
        match &self.phase {
            Phase::Updating { task } | Phase::NotifyingUser { task, .. } | Phase::AwaitingUser { task, .. } => {
                Some(task)
            }
            Phase::Settling { update } => update.task.as_ref(),
            Phase::Collecting(collecting) => collecting.update.task.as_ref(),
            Phase::Failing { task, .. } => task.as_ref(),
            Phase::Locating { .. } => None,
        }
    }
}

impl Update {
    fn of(task: TaskRef, origin: UpdateOrigin) -> Self {
        Self {
            task: Some(task),
            origin,
        }
    }
}

impl Phase {
    /// The phase's name in logs, metrics and documents.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Locating { .. } => "locating",
            Self::Updating { .. } => "updating",
            Self::NotifyingUser { .. } => "notifying_user",
            Self::AwaitingUser { .. } => "awaiting_user",
            Self::Settling { .. } => "settling",
            Self::Collecting(_) => "collecting",
            Self::Failing { .. } => "failing",
        }
    }
}

#[cfg(test)]
mod tests;
