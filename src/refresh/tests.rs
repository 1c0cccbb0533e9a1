//! The workflow in its table's terms: what finAPI is asked, what it says, what is published.

mod checkpoint;
mod collecting;
mod completeness;
mod events;
mod locating;
mod parts;
mod random;
mod reading;
mod recorded;
mod retrying;
mod says;
mod seen;
mod settling;
mod times;
mod updating;
mod use_cases;
mod user;

use jiff::SignedDuration;
use secrecy::SecretString;

use super::event::{EventKind, Transactions};
use super::failure::{Failure, FailureClass};
use super::model::{
    Account, BankError, Collected, Connection, Interface, Page, PageIds, Skipped, Task, TaskStatus, Totals,
    Transaction, WebForm, WebFormLink, WebFormStatus,
};
use super::query::{PageQuery, Query, QueryResult, Response, Wanted};
use super::*;
use crate::id::{AccountId, ConnectionId};
use crate::proto::{
    FailureReason, RefreshConnection, RefreshFailed, SavedSetting, TransactionsUpdated, UserActionRequired,
    from_timestamp,
};
use says::*;

/// How many runs there are, unless a variable of the environment says otherwise.
fn count(variable: &str, usually: u64) -> u64 {
    std::env::var(variable).map_or(usually, |count| count.parse().expect("a number"))
}

/// The connection every test is about.
const CONNECTION: i64 = 7;

/// The secret of every web form.
const FORM_URL: &str = "https://webform.example/one-time-secret";

/// A moment, in seconds after the command.
fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-03-02T08:00:00Z".parse().expect("a timestamp");
    start + SignedDuration::from_secs(seconds)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn command() -> RefreshConnection {
    RefreshConnection {
        command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001".into(),
        user_id: "anna".into(),
        bank_connection_id: CONNECTION,
        requested_at: Some(from_timestamp(at(0))),
        ..RefreshConnection::default()
    }
}

fn parsed(command: RefreshConnection) -> Command {
    Command::parse(command).expect("a command")
}

fn edit_command() -> RefreshConnection {
    RefreshConnection {
        edit_saved_settings: vec![SavedSetting::Credentials.into()],
        ..command()
    }
}

fn import_command() -> RefreshConnection {
    RefreshConnection {
        import_new_accounts: crate::proto::ImportNewAccounts::Conditional.into(),
        ..command()
    }
}

fn max_age_command(seconds: i64) -> RefreshConnection {
    RefreshConnection {
        max_age: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..command()
    }
}

/// A refresh on its way. Each step is taken when it is due, and checked against what holds for all of them.
struct Run {
    command: RefreshConnection,
    policy: Policy,
    jitter: f64,
    next_poll: Option<Duration>,
    clocks: Clocks,
    now: Timestamp,
    refresh: Option<Refresh>,
    published: Vec<Event>,
    checkpoints: u32,
    queries: Vec<(Timestamp, Query)>,
}

impl Run {
    fn of(command: RefreshConnection) -> Self {
        Self::under(Policy::default(), command)
    }

    fn under(policy: Policy, command: RefreshConnection) -> Self {
        let mut run = Self {
            command,
            policy,
            jitter: 0.5,
            next_poll: None,
            clocks: Clocks::default(),
            now: at(0),
            refresh: None,
            published: Vec::new(),
            checkpoints: 0,
            queries: Vec::new(),
        };
        run.redelivered();
        run
    }

    /// Of a plain command.
    fn plain() -> Self {
        Self::of(command())
    }

    /// Of a plain command, its task running.
    fn updating() -> Self {
        let mut run = Self::plain();
        run.find([]).start(running());
        run
    }

    /// Of a plain command, its user notified of the web form.
    fn awaiting() -> Self {
        let mut run = Self::updating();
        run.poll(form_required()).form(open_form());
        run
    }

    /// Of a plain command, its task completed.
    fn settling() -> Self {
        let mut run = Self::updating();
        run.poll(completed());
        run
    }

    /// Of a plain command, its data ready.
    fn collecting() -> Self {
        let mut run = Self::settling();
        run.connection(ready());
        run
    }

    /// The command comes again, as after a crash that left no checkpoint.
    fn redelivered(&mut self) -> &mut Self {
        let requested_at = self.command.requested_at.as_ref().and_then(crate::proto::timestamp);
        self.refresh = Some(Refresh::new(
            parsed(self.command.clone()),
            requested_at.unwrap_or(self.now),
            Envelope::default(),
            self.now,
        ));
        self
    }

    /// The command comes again, and the broker says so.
    fn came_back(&mut self) -> &mut Self {
        let now = self.now;
        self.redelivered();
        self.refresh.as_mut().expect("a refresh").came_back(now);
        self
    }

    /// Another worker takes the refresh up from its checkpoint.
    fn taken_up(&mut self) -> &mut Self {
        self.refresh = Some(checkpoint::round_trip(self.at()));
        self
    }

    /// The next step is taken so long after it is due.
    fn late(&mut self, by: Duration) -> &mut Self {
        self.now = later(self.now.max(self.at().due_at), by);
        self
    }

    fn at(&self) -> &Refresh {
        self.refresh.as_ref().expect("the refresh is not over")
    }

    fn phase(&self) -> &'static str {
        self.at().phase.name()
    }

    fn wait(&self) -> Duration {
        self.at()
            .due_at
            .duration_since(self.now)
            .try_into()
            .expect("due_at is not past")
    }

    fn asks(&self, query: &Query) {
        assert_eq!(&self.at().query(), query, "in {}", self.phase());
    }

    /// Asks for the connection because freshness counts, or because the data settles.
    fn connection(&mut self, said: impl Said) -> &mut Self {
        self.asks(&Query::Connection);
        self.respond(said)
    }

    fn find(&mut self, said: impl Said) -> &mut Self {
        self.asks(&Query::FindTask);
        self.respond(said)
    }

    /// Finds nothing until a start is due, and says how long that took.
    fn find_until_it_starts(&mut self) -> Duration {
        let began = self.now;
        while self.at().query() == Query::FindTask {
            self.find([]);
        }
        self.asks(&Query::Start);
        self.now.duration_since(began).try_into().expect("a time")
    }

    fn start(&mut self, said: impl Said) -> &mut Self {
        self.asks(&Query::Start);
        self.respond(said)
    }

    fn poll(&mut self, said: impl Said) -> &mut Self {
        self.asks(&Query::Task("task-1".into()));
        self.respond(said)
    }

    fn form(&mut self, said: impl Said) -> &mut Self {
        self.asks(&Query::WebForm("form-1".into()));
        self.respond(said)
    }

    /// From when on transactions are asked for.
    fn since(&self) -> Timestamp {
        match self.at().query() {
            Query::Collect(Wanted { page: Some(page), .. }) => page.since,
            query => panic!("no page is asked for: {query:?}"),
        }
    }

    fn collect(&mut self, said: impl Said) -> &mut Self {
        assert_eq!(self.phase(), "collecting");
        self.respond(said)
    }

    /// Takes the next step, when it is due.
    fn respond(&mut self, said: impl Said) -> &mut Self {
        let refresh = self.refresh.take().expect("the refresh is not over");
        self.now = self.now.max(refresh.due_at);
        assert_eq!(refresh.failed(self.now, &self.policy), None, "too late to ask");
        self.note(refresh.query());
        let context = StepContext {
            now: self.now,
            jitter: self.jitter,
            next_poll: self.next_poll,
            clocks: self.clocks,
            announced: None,
        };
        let step = refresh.step(said.said(), context, &self.policy);
        self.published.extend(step.events);
        match step.next {
            Next::Continue(next) => self.continues(*next),
            Next::Checkpoint(next) => {
                self.checkpoints += 1;
                self.continues(*next);
            }
            Next::Done => assert!(
                self.published.last().is_some_and(Event::is_last),
                "over without an outcome"
            ),
        }
        let outcomes = self.published.iter().filter(|event| event.is_last()).count();
        assert_eq!(outcomes, usize::from(self.refresh.is_none()), "one outcome, at the end");
        self
    }

    fn note(&mut self, query: Query) {
        if let Query::Task(_) = query {
            let last = self.queries.iter().rev().find(|(_, before)| *before == query);
            if let Some((last, _)) = last {
                assert!(later(*last, secs(1)) <= self.now, "two polls within a second");
            }
        }
        self.queries.push((self.now, query));
    }

    fn continues(&mut self, refresh: Refresh) {
        assert!(refresh.due_at >= self.now, "due in the past");
        checkpoint::round_trip(&refresh);
        self.refresh = Some(refresh);
    }

    /// Lets the refresh's deadline pass.
    fn deadline(&mut self) -> &mut Self {
        let refresh = self.refresh.take().expect("the refresh is not over");
        self.now = later(refresh.requested_at, self.policy.limits.refresh);
        self.published
            .push(refresh.failed(self.now, &self.policy).expect("the deadline has passed"));
        self
    }

    fn starts(&self) -> usize {
        self.queries.iter().filter(|(_, query)| *query == Query::Start).count()
    }

    /// The outcome, which is a success in one part.
    fn updated(&self) -> &TransactionsUpdated {
        assert!(self.refresh.is_none(), "not over");
        match self.published.last().map(Event::kind) {
            Some(EventKind::TransactionsUpdated(event)) => event,
            _ => panic!("no success: {:?}", self.published),
        }
    }

    /// The outcome, which is a failure.
    fn failed(&self) -> &RefreshFailed {
        assert!(self.refresh.is_none(), "not over");
        match self.published.last().map(Event::kind) {
            Some(EventKind::RefreshFailed(event)) => event,
            _ => panic!("no failure: {:?}", self.published),
        }
    }

    /// The outcome's reason, and whether the command may be sent again.
    fn failure(&self) -> (FailureReason, bool) {
        let failed = self.failed();
        (failed.reason(), failed.retryable)
    }

    /// What the user was notified of.
    fn forms(&self) -> Vec<&UserActionRequired> {
        let forms = self.published.iter().filter_map(|event| match event.kind() {
            EventKind::UserActionRequired(form) => Some(form),
            EventKind::TransactionsUpdated(_) | EventKind::RefreshFailed(_) => None,
        });
        forms.collect()
    }
}
