//! The workflow: what a refresh does next, given what finAPI answered. Pure: time and jitter are arguments, nothing is
//! awaited, logged or remembered.
//!
//! | phase | asks finAPI for | and goes to |
//! | --- | --- | --- |
//! | Requested: check | the connection | Settling (fresh enough), Requested: find |
//! | Requested: find | the user's tasks | wherever a task that serves the command stands, Requested: start |
//! | Requested: start | a new task | wherever that task stands; Requested: find (its answer was lost); Requested: follow (423) |
//! | Requested: follow | the user's tasks | wherever the running task stands; waits, then Requested: check |
//! | Updating | the task | itself, Telling, Settling, failed |
//! | Telling | the web form | AwaitingUser, and `UserActionRequired` is published |
//! | AwaitingUser | the web form | itself, Settling, failed (expired, aborted, error) |
//! | Settling | the connection, until READY | itself, Collecting |
//! | Collecting | accounts and transactions | itself (next part), done; `TransactionsUpdated` is published |
//!
//! Check and find come first whenever a refresh is taken up again without a task, so nothing is started twice. Transient
//! trouble waits in the same phase, by [`schedule::Retry`]; what can't get better fails at once. A phase's deadline is judged
//! only on finAPI's own word that it is not over yet: while finAPI can't be asked, only the deadline of the whole counts.

pub mod answer;
pub mod command;
pub mod event;
pub mod schedule;
mod settings;
pub mod state;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::proto::{FailureReason, RefreshConnection, UpdateOrigin, UserActionReason};
use answer::{
    Answer, Answered, BankError, Call, Collected, Connection, Failure, FailureKind, Span, Task, TaskStatus, WebForm,
    WebFormLink, WebFormStatus,
};
use event::{Event, Transactions};
pub use settings::Limits;

/// How long a web form can be opened, in finAPI's words.
pub const WEB_FORM_LIFETIME: Duration = Duration::from_secs(20 * 60);

/// How far finAPI's clock may be ahead of ours before what it has just imported would look like a later update's.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(3600);

/// The rules a refresh follows.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// When to look again.
    pub polling: schedule::Polling,
    /// The same for tasks and web forms that finAPI calls back about: a safety net.
    pub beside_callbacks: Option<schedule::Polling>,
    /// How to retry.
    pub retry: schedule::Retry,
    /// The deadlines.
    pub limits: Limits,
    /// What events say.
    pub events: Transactions,
}

/// A refresh that is under way.
#[derive(Clone)]
pub struct Refresh {
    /// What was asked for; valid by [`command::validate`].
    pub command: RefreshConnection,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// What came with the command and goes along with everything that follows from it.
    pub envelope: Envelope,
    /// Where it stands.
    pub phase: Phase,
    /// When the phase began.
    pub phase_since: Timestamp,
    /// Not to be gone on with before this.
    pub due_at: Timestamp,
    /// How often finAPI was asked in this phase and had nothing new to say.
    pub looks: u32,
    /// How often a call failed since the refresh last got on.
    pub failures: u32,
}

/// Without the command, which may hold a token.
impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("command_id", &self.command.command_id)
            .field("requested_at", &self.requested_at)
            .field("phase", &self.phase)
            .field("phase_since", &self.phase_since)
            .field("due_at", &self.due_at)
            .field("looks", &self.looks)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// What came with the command and goes along with everything that follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Whether a user waits.
    pub interactive: bool,
    /// The AMQP correlation id.
    pub correlation_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// W3C trace state.
    pub tracestate: String,
}

impl Envelope {
    /// The trace it belongs to, as log lines name it.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.split('-').nth(1)
    }
}

/// Where a refresh stands.
#[derive(Clone, Debug)]
pub enum Phase {
    /// No task is known.
    Requested {
        /// What to ask first.
        first: First,
        /// The connection was found locked, so an update since the command serves it.
        locked: bool,
    },
    /// finAPI works on the task.
    Updating {
        /// The task.
        task: TaskRef,
    },
    /// A web form was handed out that the user has not been told of. Never leaves the worker: a bookmark says Updating.
    Telling {
        /// The task that led to it.
        task: TaskRef,
        /// The web form.
        form: WebFormLink,
        /// Why it is needed.
        reason: UserActionReason,
    },
    /// The user has been told of the web form.
    AwaitingUser {
        /// The task that led to it.
        task: TaskRef,
        /// The web form's id.
        web_form_id: String,
        /// When the web form ends.
        expires_at: Timestamp,
    },
    /// finAPI stores what came of the update.
    Settling {
        /// The update.
        update: Update,
    },
    /// The data is there. A bookmark keeps all but the connection, which is read again.
    Collecting {
        /// The update.
        update: Update,
        /// The connection when it was READY.
        connection: Connection,
    },
}

/// What to ask while no task is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// How fresh the connection is.
    Check,
    /// Whether there is a task that serves the command.
    Find,
    /// For a new task.
    Start,
    /// Which task has locked the connection.
    Follow,
}

/// A task, as a bookmark remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRef {
    /// finAPI's id.
    pub id: String,
    /// When finAPI created it.
    pub created_at: Timestamp,
}

/// An update that is over and not yet told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The task; none where this command led to none.
    pub task: Option<TaskRef>,
    /// How it came about.
    pub origin: UpdateOrigin,
    /// Transactions imported from here on are told; none are where this is missing.
    pub since: Option<Timestamp>,
    /// Transactions imported after this belong to a later update.
    pub until: Option<Timestamp>,
    /// The next part to publish, from 1.
    pub next_part: u32,
    /// Transactions up to this id are in the parts before.
    pub told_up_to: i64,
}

/// The moment of a step, and what it brings.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// A fraction from 0 up to but not including 1.
    pub jitter: f64,
    /// When the task is best looked at next, after its start, going by how long those of its bank took.
    pub next_look: Option<Duration>,
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
    /// Go on at `due_at`.
    Wait(Box<Refresh>),
    /// Write down the state with the events, then go on from it.
    Bookmark(Box<Refresh>),
    /// The outcome is among the events.
    Over,
}

impl Refresh {
    /// A refresh that begins. No command was given in the future, whatever its sender's clock says: a task that this
    /// refresh starts would look like one from before it.
    #[must_use]
    pub fn new(command: RefreshConnection, requested_at: Timestamp, envelope: Envelope, now: Timestamp) -> Self {
        let mut refresh = Self {
            command,
            requested_at: requested_at.min(now),
            envelope,
            phase: Phase::Requested {
                first: First::Find,
                locked: false,
            },
            phase_since: now,
            due_at: now,
            looks: 0,
            failures: 0,
        };
        refresh.phase = refresh.requested(false);
        refresh
    }

    /// What to ask of finAPI now.
    #[must_use]
    pub fn call(&self) -> Call {
        match &self.phase {
            Phase::Requested { first, .. } => match first {
                First::Check => Call::Connection,
                First::Find | First::Follow => Call::FindTask,
                First::Start => Call::Start,
            },
            Phase::Updating { task } => Call::Task(task.id.clone()),
            Phase::Telling { form, .. } => Call::WebForm(form.id.clone()),
            Phase::AwaitingUser { web_form_id, .. } => Call::WebForm(web_form_id.clone()),
            Phase::Settling { .. } => Call::Connection,
            Phase::Collecting { update, connection } => {
                let span = match (update.since, update.until) {
                    (Some(since), Some(until)) => Some(Span { since, until }),
                    (None, _) | (_, None) => None,
                };
                Call::Collect(connection.account_ids.clone(), span)
            }
        }
    }

    /// The outcome of a refresh that is past its deadline, to be looked at before every call.
    #[must_use]
    pub fn overdue(&self, now: Timestamp, policy: &Policy) -> Option<Event> {
        // Once a part may be out, the rest follows however late it is.
        if self.is_half_told() || now < self.deadline(policy) {
            return None;
        }
        let reason = match self.phase {
            Phase::Requested { locked: true, .. } => FailureReason::ConnectionLocked,
            _ if self.failures > 0 => FailureReason::FinapiUnavailable,
            _ => FailureReason::TimedOut,
        };
        Some(event::failed(
            self,
            now,
            &Fail::of(reason, "the refresh's deadline has passed", true),
        ))
    }

    /// Decides on what finAPI answered to [`Refresh::call`].
    #[must_use]
    pub fn step(self, answered: Answered, moment: Moment, policy: &Policy) -> Step {
        let at = At { moment, policy };
        match answered {
            Ok(answer) => at.answered(self, answer),
            Err(failure) => at.failed(self, failure),
        }
    }

    fn deadline(&self, policy: &Policy) -> Timestamp {
        later(self.requested_at, policy.limits.refresh)
    }

    fn requested(&self, locked: bool) -> Phase {
        let first = match self.fresh_since(locked) {
            Some(_) => First::Check,
            None => First::Find,
        };
        Phase::Requested { first, locked }
    }

    /// Since when a successful update serves the command, where one may.
    fn fresh_since(&self, locked: bool) -> Option<Timestamp> {
        if !self.command.edit_saved_settings.is_empty() {
            return None;
        }
        let by_age = command::fresh_since(&self.command, self.requested_at);
        let by_lock = (locked && !command::asks_for_more(&self.command)).then_some(self.requested_at);
        by_age.or(by_lock)
    }

    /// Whether a part of its outcome may be out.
    #[must_use]
    pub fn is_half_told(&self) -> bool {
        match &self.phase {
            Phase::Settling { update } | Phase::Collecting { update, .. } => update.next_part > 1,
            _ => false,
        }
    }

    /// The task, where one is known.
    #[must_use]
    pub fn task(&self) -> Option<&TaskRef> {
        match &self.phase {
            Phase::Updating { task } | Phase::Telling { task, .. } | Phase::AwaitingUser { task, .. } => Some(task),
            Phase::Settling { update } | Phase::Collecting { update, .. } => update.task.as_ref(),
            Phase::Requested { .. } => None,
        }
    }
}

/// Why a refresh failed.
#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) reason: FailureReason,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) bank_message: String,
    pub(crate) retryable: bool,
    pub(crate) request_id: String,
}

impl Fail {
    fn of(reason: FailureReason, message: &str, retryable: bool) -> Self {
        Self {
            reason,
            code: String::new(),
            message: message.to_owned(),
            bank_message: String::new(),
            retryable,
            request_id: String::new(),
        }
    }

    fn by_bank(error: Option<BankError>, otherwise: FailureReason, what: &str) -> Self {
        let Some(error) = error else {
            return Self::of(otherwise, &format!("{what} ended with an error and no code"), false);
        };
        let (reason, retryable) = match error.code.as_str() {
            "BANK_SERVER_REJECTION" => (FailureReason::BankRejected, false),
            "INVALID_TOKEN" | "UNEXPECTED_ACCESS_RESPONSE" | "INTERNAL_ERROR" | "INTERRUPTED" => (otherwise, true),
            _ => (otherwise, false),
        };
        Self {
            message: format!("{what} ended with {}", error.code),
            code: error.code,
            bank_message: error.message.unwrap_or_default(),
            ..Self::of(reason, "", retryable)
        }
    }
}

/// One step's surroundings.
struct At<'a> {
    moment: Moment,
    policy: &'a Policy,
}

impl At<'_> {
    fn answered(&self, refresh: Refresh, answer: Answer) -> Step {
        match (refresh.phase.clone(), answer) {
            (Phase::Requested { locked, .. }, Answer::Connection(connection)) => {
                self.checked(refresh, &connection, locked)
            }
            (Phase::Requested { first, locked }, Answer::Tasks(tasks)) => self.looked(refresh, tasks, first, locked),
            (Phase::Requested { .. } | Phase::Updating { .. }, Answer::Task(task)) => self.stands(refresh, task),
            (Phase::Telling { task, form, reason }, Answer::WebForm(web_form)) => {
                self.told(refresh, task, &form, reason, &web_form)
            }
            (Phase::AwaitingUser { task, expires_at, .. }, Answer::WebForm(form)) => {
                self.awaited(refresh, task, expires_at, form)
            }
            (Phase::Settling { update }, Answer::Connection(connection)) => self.settled(refresh, update, connection),
            (Phase::Collecting { update, connection }, Answer::Collected(collected)) => {
                self.collected(refresh, update, &connection, &collected)
            }
            (phase, answer) => {
                let message = format!("{} in {}", answer.name(), phase.name());
                self.failed(refresh, Failure::unexpected(&message))
            }
        }
    }

    fn checked(&self, refresh: Refresh, connection: &Connection, locked: bool) -> Step {
        let last = connection.last_success_at();
        let fresh = match (refresh.fresh_since(locked), last) {
            (Some(since), Some(last)) => last >= since,
            (None, _) | (_, None) => false,
        };
        if !fresh {
            return self.ask(refresh, First::Find, locked);
        }
        // An update since the command may be its own, started by a worker that was killed. What that brought is told.
        let since = earlier(refresh.requested_at, self.policy.limits.clock_skew);
        let updated = locked || last.is_some_and(|last| last >= since);
        let update = Update {
            task: None,
            origin: UpdateOrigin::AlreadyFresh,
            since: updated.then_some(since),
            until: None,
            next_part: 1,
            told_up_to: 0,
        };
        self.answered(
            Refresh {
                phase: Phase::Settling { update },
                phase_since: self.moment.now,
                looks: 0,
                ..refresh
            },
            Answer::Connection(connection.clone()),
        )
    }

    fn looked(&self, refresh: Refresh, tasks: Vec<Task>, first: First, locked: bool) -> Step {
        let serves = |task: &Task| self.serves(&refresh, task, first);
        match tasks.into_iter().find(serves) {
            Some(task) => self.stands(refresh, task),
            None if first == First::Follow => {
                let looks = refresh.looks + 1;
                let phase = refresh.requested(true);
                let polling = &self.policy.polling;
                let refresh = Refresh {
                    looks,
                    phase,
                    ..refresh
                };
                self.wait(refresh, polling, polling.locked_max)
            }
            None => self.ask(refresh, First::Start, locked),
        }
    }

    /// Whether a task of the user does what the command asks for. One that began after the command does, whoever
    /// began it; so does one that is running anyway, unless the command asks for more than that.
    fn serves(&self, refresh: &Refresh, task: &Task, first: First) -> bool {
        if task.bank_connection_id != Some(refresh.command.bank_connection_id) {
            return false;
        }
        let by_web_form = task.status == TaskStatus::WebFormRequired;
        if !refresh.command.edit_saved_settings.is_empty() && !by_web_form {
            return false;
        }
        let skew = self.policy.limits.clock_skew;
        if later(task.created_at, skew) >= refresh.requested_at {
            return true;
        }
        let form_is_open = later(task.created_at, WEB_FORM_LIFETIME) > self.moment.now;
        let runs = task.status == TaskStatus::Running || (first == First::Follow && by_web_form && form_is_open);
        runs && !command::asks_for_more(&refresh.command)
    }

    /// Goes to wherever a task stands.
    fn stands(&self, refresh: Refresh, task: Task) -> Step {
        let reference = TaskRef {
            id: task.id,
            created_at: task.created_at,
        };
        match task.status {
            TaskStatus::Running => self.runs(refresh, reference),
            TaskStatus::WebFormRequired => {
                let Some(form) = task.web_form else {
                    let failure = Failure::unexpected("a task in WEB_FORM_REQUIRED without its web form");
                    return self.failed(refresh, failure);
                };
                let reason = self.why_user(&refresh);
                let phase = Phase::Telling {
                    task: reference,
                    form,
                    reason,
                };
                self.at_once(refresh, phase)
            }
            TaskStatus::Completed => {
                let update = Update::of(reference, UpdateOrigin::Silent);
                self.at_once(refresh, Phase::Settling { update })
            }
            TaskStatus::Failed => {
                let fail = Fail::by_bank(task.error, FailureReason::UpdateFailed, "the task");
                let phase = Phase::Updating { task: reference };
                self.fail(Refresh { phase, ..refresh }, &fail)
            }
        }
    }

    fn runs(&self, refresh: Refresh, task: TaskRef) -> Step {
        let Phase::Updating { .. } = refresh.phase else {
            let due_at = later(self.moment.now, self.until_next_look(&task, 0));
            return self.enter(refresh, Phase::Updating { task }, due_at);
        };
        let deadline = later(refresh.phase_since, self.policy.limits.updating);
        if self.moment.now >= deadline {
            let message = "finAPI still called the task running at its deadline";
            return self.fail(refresh, &Fail::of(FailureReason::TimedOut, message, true));
        }
        let looks = refresh.looks + 1;
        let due_at = later(self.moment.now, self.until_next_look(&task, looks));
        self.go_on(Refresh {
            due_at,
            looks,
            failures: 0,
            ..refresh
        })
    }

    /// By what is known of the bank, else on a growing interval; beside callbacks always by that.
    fn until_next_look(&self, task: &TaskRef, looks: u32) -> Duration {
        match self.moment.next_look {
            Some(look) if self.policy.beside_callbacks.is_none() => {
                let runs_for = self.moment.now.duration_since(task.created_at);
                let left = look.saturating_sub(runs_for.try_into().unwrap_or_default());
                left.max(schedule::LOOK_INTERVAL_MIN)
            }
            _ => self.polling().wait(looks, self.polling().max, self.moment.jitter),
        }
    }

    fn why_user(&self, refresh: &Refresh) -> UserActionReason {
        if !refresh.command.edit_saved_settings.is_empty() {
            UserActionReason::EditSavedSettings
        } else if let Phase::Updating { .. } = refresh.phase {
            UserActionReason::DuringUpdate
        } else {
            UserActionReason::Immediate
        }
    }

    /// Tells the user of the web form, then goes on from what the form says already.
    fn told(
        &self,
        refresh: Refresh,
        task: TaskRef,
        form: &WebFormLink,
        reason: UserActionReason,
        web_form: &WebForm,
    ) -> Step {
        let now = self.moment.now;
        let expires_at = web_form.expires_at.unwrap_or_else(|| later(now, WEB_FORM_LIFETIME));
        let telling = event::user_action_required(&refresh, now, form, expires_at, reason);
        let phase = Phase::AwaitingUser {
            task: task.clone(),
            web_form_id: form.id.clone(),
            expires_at,
        };
        let refresh = Refresh {
            phase,
            phase_since: now,
            looks: 0,
            failures: 0,
            ..refresh
        };
        let mut step = self.awaited(refresh, task, expires_at, web_form.clone());
        step.events.insert(0, telling);
        step
    }

    fn awaited(&self, refresh: Refresh, task: TaskRef, expires_at: Timestamp, form: WebForm) -> Step {
        let expired = || {
            Fail::of(
                FailureReason::WebFormExpired,
                "the web form ended before the user completed it",
                false,
            )
        };
        match form.status {
            WebFormStatus::Open => {
                if self.moment.now >= later(expires_at, self.policy.limits.web_form_grace) {
                    return self.fail(refresh, &expired());
                }
                let looks = refresh.looks + 1;
                let max = self.polling().web_form_max;
                self.wait(Refresh { looks, ..refresh }, self.polling(), max)
            }
            WebFormStatus::Completed => {
                let update = Update::of(task, UpdateOrigin::UserActed);
                self.at_once(refresh, Phase::Settling { update })
            }
            WebFormStatus::Failed => {
                let fail = Fail::by_bank(form.error, FailureReason::WebFormFailed, "the web form");
                self.fail(refresh, &fail)
            }
            WebFormStatus::Expired => self.fail(refresh, &expired()),
            WebFormStatus::Aborted => {
                let message = "the user cancelled the web form";
                self.fail(refresh, &Fail::of(FailureReason::UserAborted, message, false))
            }
        }
    }

    fn settled(&self, refresh: Refresh, update: Update, connection: Connection) -> Step {
        let late = self.moment.now >= later(refresh.phase_since, self.policy.limits.settling);
        if !connection.ready && late {
            let message = "finAPI had not stored the update's data at the deadline";
            return self.fail(refresh, &Fail::of(FailureReason::TimedOut, message, true));
        }
        // Categories are an extra: past the deadline the transactions are told without them.
        let categorized = connection.categorized || !refresh.command.wait_for_categorization || late;
        if !connection.ready || !categorized {
            let looks = refresh.looks + 1;
            let polling = &self.policy.polling;
            return self.wait(Refresh { looks, ..refresh }, polling, polling.max);
        }
        let update = Update {
            until: update.until.or(Some(later(self.moment.now, CLOCKS_APART_MAX))),
            ..update
        };
        self.at_once(refresh, Phase::Collecting { update, connection })
    }

    fn collected(&self, refresh: Refresh, update: Update, connection: &Connection, collected: &Collected) -> Step {
        let now = self.moment.now;
        let told = event::transactions_updated(&refresh, now, &update, connection, collected, &self.policy.events);
        let Some(told_up_to) = told.more_after else {
            return Step {
                events: vec![told.event],
                next: Next::Over,
            };
        };
        let update = Update {
            next_part: update.next_part + 1,
            told_up_to,
            ..update
        };
        let phase = Phase::Settling { update };
        let next = Refresh {
            phase,
            phase_since: now,
            due_at: now,
            failures: 0,
            ..refresh
        };
        Step {
            events: vec![told.event],
            next: Next::Bookmark(Box::new(next)),
        }
    }

    fn failed(&self, refresh: Refresh, failure: Failure) -> Step {
        // The user is told even when the web form can't be looked at; what is wrong shows at the next look.
        if let Phase::Telling { task, form, reason } = refresh.phase.clone() {
            let unknown = WebForm {
                status: WebFormStatus::Open,
                expires_at: None,
                error: None,
            };
            return self.told(refresh, task, &form, reason, &unknown);
        }
        match failure.kind {
            FailureKind::NotAsked(after) => self.again(refresh, after),
            FailureKind::RateLimited(after) => self.limited(refresh, after),
            FailureKind::Locked if matches!(refresh.phase, Phase::Requested { .. }) => {
                self.ask(refresh, First::Follow, true)
            }
            FailureKind::Unavailable | FailureKind::Unexpected | FailureKind::Internal => self.retry(refresh, failure),
            FailureKind::NotFound if matches!(refresh.phase, Phase::AwaitingUser { .. }) => {
                let fail = Fail::of(
                    FailureReason::WebFormExpired,
                    "finAPI no longer knows the web form",
                    false,
                );
                self.fail(refresh, &fail)
            }
            FailureKind::Locked
            | FailureKind::Rejected
            | FailureKind::NotFound
            | FailureKind::NotSupported
            | FailureKind::UserUnauthorized
            | FailureKind::UserLocked
            | FailureKind::ClientUnauthorized => self.fail(refresh, &failure.into()),
        }
    }

    /// Waits for as long as finAPI says, else longer and longer. However often that happens, half of the attempts are left.
    fn limited(&self, refresh: Refresh, after: Option<Duration>) -> Step {
        let counted = (refresh.failures + 1).min(self.policy.retry.attempts / 2);
        let failures = refresh.failures.max(counted);
        let backoff = self.policy.retry.wait(failures, self.moment.jitter);
        let after = match after {
            Some(after) => (after + backoff.mul_f64(0.1)).max(schedule::LOOK_INTERVAL_MIN),
            None => backoff,
        };
        self.again(Refresh { failures, ..refresh }, after)
    }

    /// Tries again, a bounded number of times.
    fn retry(&self, refresh: Refresh, failure: Failure) -> Step {
        let failures = refresh.failures + 1;
        if failures >= self.policy.retry.attempts {
            return self.fail(refresh, &failure.into());
        }
        let after = self.policy.retry.wait(failures, self.moment.jitter);
        self.again(Refresh { failures, ..refresh }, after)
    }

    /// Waits in the same phase; but after a start whose answer is not known, looks for the task first.
    fn again(&self, refresh: Refresh, after: Duration) -> Step {
        let phase = match refresh.phase {
            Phase::Requested {
                first: First::Start,
                locked,
            } => Phase::Requested {
                first: First::Find,
                locked,
            },
            phase => phase,
        };
        let due_at = later(self.moment.now, after);
        self.go_on(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }

    fn fail(&self, refresh: Refresh, fail: &Fail) -> Step {
        Step {
            events: vec![event::failed(&refresh, self.moment.now, fail)],
            next: Next::Over,
        }
    }

    /// How often finAPI is asked about what it may call back about.
    fn polling(&self) -> &schedule::Polling {
        self.policy.beside_callbacks.as_ref().unwrap_or(&self.policy.polling)
    }

    fn wait(&self, refresh: Refresh, polling: &schedule::Polling, max: Duration) -> Step {
        let looks = refresh.looks.saturating_sub(1);
        let wait = polling.wait(looks, max, self.moment.jitter);
        let due_at = later(self.moment.now, wait);
        let failures = 0;
        self.go_on(Refresh {
            due_at,
            failures,
            ..refresh
        })
    }

    /// Asks the next thing of a refresh that has no task. That is no progress: between two starts that fail, finding
    /// nothing is what is expected.
    fn ask(&self, refresh: Refresh, first: First, locked: bool) -> Step {
        let phase = Phase::Requested { first, locked };
        let due_at = self.moment.now;
        self.go_on(Refresh {
            phase,
            due_at,
            ..refresh
        })
    }

    fn at_once(&self, refresh: Refresh, phase: Phase) -> Step {
        self.enter(refresh, phase, self.moment.now)
    }

    fn enter(&self, refresh: Refresh, phase: Phase, due_at: Timestamp) -> Step {
        self.go_on(Refresh {
            phase,
            phase_since: self.moment.now,
            due_at,
            looks: 0,
            failures: 0,
            ..refresh
        })
    }

    fn go_on(&self, refresh: Refresh) -> Step {
        let (now, deadline) = (self.moment.now, refresh.deadline(self.policy));
        // Past the deadline only an outcome that is half told goes on, and its waits are as long as any.
        let due_at = if now < deadline {
            refresh.due_at.min(deadline)
        } else {
            refresh.due_at
        };
        let due_at = due_at.max(now);
        Step {
            events: Vec::new(),
            next: Next::Wait(Box::new(Refresh { due_at, ..refresh })),
        }
    }
}

impl Update {
    fn of(task: TaskRef, origin: UpdateOrigin) -> Self {
        Self {
            since: Some(task.created_at),
            task: Some(task),
            origin,
            until: None,
            next_part: 1,
            told_up_to: 0,
        }
    }
}

impl Phase {
    /// The phase's name in logs, metrics and documents.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Updating { .. } => "updating",
            Self::Telling { .. } => "telling",
            Self::AwaitingUser { .. } => "awaiting_user",
            Self::Settling { .. } => "settling",
            Self::Collecting { .. } => "collecting",
        }
    }
}

impl Answer {
    fn name(&self) -> &'static str {
        match self {
            Self::Connection(_) => "a bank connection",
            Self::Tasks(_) => "a task list",
            Self::Task(_) => "a task",
            Self::WebForm(_) => "a web form",
            Self::Collected(_) => "transactions",
        }
    }
}

impl Failure {
    /// An answer that can't be understood.
    #[must_use]
    pub fn unexpected(message: &str) -> Self {
        Self::new(FailureKind::Unexpected, message)
    }

    /// A failure that no code of finAPI's goes with.
    #[must_use]
    pub fn new(kind: FailureKind, message: &str) -> Self {
        Self {
            kind,
            code: None,
            message: message.to_owned(),
            request_id: None,
        }
    }
}

impl From<Failure> for Fail {
    fn from(failure: Failure) -> Self {
        let (reason, retryable) = match failure.kind {
            FailureKind::NotAsked(_) | FailureKind::RateLimited(_) | FailureKind::Unavailable => {
                (FailureReason::FinapiUnavailable, true)
            }
            FailureKind::Unexpected => (FailureReason::UnexpectedAnswer, true),
            FailureKind::Locked => (FailureReason::ConnectionLocked, true),
            FailureKind::Rejected => (FailureReason::RequestRejected, false),
            FailureKind::NotFound => (FailureReason::NotFound, false),
            FailureKind::NotSupported => (FailureReason::NotSupported, false),
            FailureKind::UserUnauthorized => (FailureReason::UserUnauthorized, false),
            FailureKind::UserLocked => (FailureReason::UserLocked, false),
            FailureKind::ClientUnauthorized => (FailureReason::ClientUnauthorized, false),
            FailureKind::Internal => (FailureReason::Internal, true),
        };
        Self {
            reason,
            code: failure.code.unwrap_or_default(),
            message: failure.message,
            bank_message: String::new(),
            retryable,
            request_id: failure.request_id.unwrap_or_default(),
        }
    }
}

/// A moment earlier, or the first there is.
fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// A moment later, or the last there is.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
