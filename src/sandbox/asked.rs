//! What finAPI was asked, for tests and for people.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::state::State;
use super::tasks::Task;

/// What finAPI was asked so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Calls per endpoint, whatever their answer.
    pub calls: BTreeMap<Endpoint, u64>,
    /// Answers per endpoint and status, such as `start_update 201`; `task dropped` where the connection dropped before the work.
    pub responses: BTreeMap<String, u64>,
    /// Faults that were met.
    pub faults: u64,
    /// Per user id.
    pub users: BTreeMap<String, AskedOfUser>,
    /// Per connection id.
    pub connections: BTreeMap<i64, AskedOfConnection>,
    /// The shortest time between two polls (`GET /api/tasks/{id}`) at one task, over all tasks, in milliseconds.
    pub smallest_interval_ms: Option<u64>,
    /// Tasks made.
    pub tasks: u64,
    /// Tasks that are not final, nor their web form, now.
    pub open_tasks: u64,
}

/// What was asked about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedOfUser {
    /// Tokens given out, the same one again included.
    pub token_responses: u64,
    /// Different tokens among them.
    pub tokens_made: u64,
    /// Wrong passwords in a row, by now.
    pub wrong_passwords: u32,
}

/// What was asked about a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AskedOfConnection {
    /// Whose it is; nobody's as long as nobody asked.
    pub user_id: Option<String>,
    /// Background updates asked for, whatever the answer, if they were well-formed.
    pub posts: u64,
    /// Those that made a task.
    pub tasks_made: u64,
    /// Tasks without `userMetadata`: the bank counts these against 4 a day.
    pub without_user: u64,
    /// The most tasks that were not final at one time, nor their web form; a web form that nobody has opened does not lock.
    pub open_max: u64,
    /// Polls of web forms.
    pub web_form_polls: u64,
    /// The tasks, oldest first.
    pub tasks: Vec<AskedOfTask>,
    /// What was imported, oldest first. An update adds to it when finAPI is next asked about the connection.
    pub imports: Vec<Imported>,
}

/// Transactions that one update imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The task that imported them; none where that was no task.
    pub task_id: Option<String>,
    /// The lowest id; the others follow without a gap.
    pub first_id: i64,
    /// How many there are.
    pub count: u32,
    /// Their import date, RFC 3339.
    pub imported_at: String,
}

/// What was asked about a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AskedOfTask {
    /// Its id.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Its status by now.
    pub status: String,
    /// The id of its web form, if there is one by now.
    pub web_form_id: Option<String>,
    /// The status of its web form by now.
    pub web_form_status: Option<String>,
    /// When its web form was made, if there is one by now, RFC 3339.
    pub web_form_created_at: Option<String>,
    /// When the user opened its web form, which locks the connection; none as long as nobody did.
    pub web_form_opened_at: Option<String>,
    /// When its web form was over; none as long as it is not.
    pub web_form_ended_at: Option<String>,
    /// Polls of it (`GET /api/tasks/{id}`).
    pub polls: u64,
    /// The shortest time between two polls, in milliseconds.
    pub smallest_interval_ms: Option<u64>,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: BTreeMap<Endpoint, u64>,
    responses: BTreeMap<(Endpoint, Option<u16>), u64>,
    pub(super) faults: u64,
    smallest_interval: Option<Duration>,
}

impl Counters {
    pub(super) fn call(&mut self, endpoint: Endpoint) {
        *self.calls.entry(endpoint).or_default() += 1;
    }

    pub(super) fn answer(&mut self, endpoint: Endpoint, status: Option<u16>) {
        *self.responses.entry((endpoint, status)).or_default() += 1;
    }

    pub(super) fn task_interval(&mut self, interval: Option<Duration>) {
        self.smallest_interval = match (self.smallest_interval, interval) {
            (Some(smallest), Some(interval)) => Some(smallest.min(interval)),
            (smallest, interval) => smallest.or(interval),
        };
    }

    fn responses(&self) -> BTreeMap<String, u64> {
        let text = |((endpoint, status), count): (&(Endpoint, Option<u16>), &u64)| {
            let status = status.map_or_else(|| "dropped".to_owned(), |status| status.to_string());
            (format!("{} {status}", endpoint.name()), *count)
        };
        self.responses.iter().map(text).collect()
    }
}

impl State {
    pub(super) fn asked(&self) -> Asked {
        self.asked_at_most(usize::MAX)
    }

    /// The same, with so many users and connections at most.
    pub(super) fn asked_at_most(&self, most: usize) -> Asked {
        let users = self.users.iter().take(most).map(|(id, user)| {
            let asked = AskedOfUser {
                token_responses: user.token_responses,
                tokens_made: user.tokens_made,
                wrong_passwords: user.wrong_passwords,
            };
            (id.to_string(), asked)
        });
        let connections = self.connections.iter().take(most);
        Asked {
            calls: self.counters.calls.clone(),
            responses: self.counters.responses(),
            faults: self.counters.faults,
            users: users.collect(),
            connections: connections
                .map(|(id, connection)| (*id, self.asked_of_connection(connection)))
                .collect(),
            smallest_interval_ms: self.counters.smallest_interval.map(millis),
            tasks: self.tasks.len() as u64,
            open_tasks: self.tasks.keys().filter(|id| self.is_open(**id)).count() as u64,
        }
    }

    fn is_open(&self, task: uuid::Uuid) -> bool {
        self.finished(task).is_some_and(|at| self.now < at)
    }

    fn asked_of_connection(&self, connection: &Connection) -> AskedOfConnection {
        let tasks = connection.tasks.iter().filter_map(|task| self.tasks.get(task));
        AskedOfConnection {
            user_id: connection.owner.as_ref().map(|owner| owner.to_string()),
            posts: connection.posts,
            tasks_made: connection.tasks.len() as u64,
            without_user: connection.without_user,
            open_max: connection.open_max as u64,
            web_form_polls: connection.form_polls,
            tasks: tasks.map(|task| self.asked_of_task(task)).collect(),
            imports: connection.batches.iter().map(import).collect(),
        }
    }

    fn asked_of_task(&self, task: &Task) -> AskedOfTask {
        let form = self.form_of(task).filter(|form| form.created <= self.now);
        let opened = form.and_then(|form| form.opens.filter(|opens| *opens < form.ends));
        let ended = form.map(|form| form.ends);
        let so_far = |at: &Timestamp| *at <= self.now;
        AskedOfTask {
            id: task.id.to_string(),
            created_at: task.created.to_string(),
            status: task.status(self.now).to_owned(),
            web_form_id: form.map(|form| form.id.to_string()),
            web_form_status: form.map(|form| form.status(self.now).to_owned()),
            web_form_created_at: form.map(|form| form.created.to_string()),
            web_form_opened_at: opened.filter(so_far).map(|at| at.to_string()),
            web_form_ended_at: ended.filter(so_far).map(|at| at.to_string()),
            polls: task.polls,
            smallest_interval_ms: task.smallest_interval.map(millis),
        }
    }
}

fn import(batch: &Batch) -> Imported {
    Imported {
        task_id: batch.task.map(|task| task.to_string()),
        first_id: batch.first_id,
        count: batch.count,
        imported_at: batch.imported.to_string(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
