//! Tasks: `POST /api/tasks/backgroundUpdate`, `GET /api/tasks` and `GET /api/tasks/{id}`.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use fastrand::Rng;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::call::{Call, Reply};
use super::callbacks::CallbackUrls;
use super::clock::{later, web_form_time};
use super::params::{Order, Paging, Params};
use super::refusal::Refusal;
use super::script::{AccountType, After, Behaviour, UserDoes};
use super::state::{State, uuid};
use super::update_request::UpdateRequest;

/// A task. Its whole life is known when it is made.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: Uuid,
    pub(super) user: Arc<str>,
    pub(super) connection: i64,
    pub(super) created: Timestamp,
    pub(super) starts: Timestamp,
    pub(super) ends: Timestamp,
    pub(super) ending: Ending,
    pub(super) import: Import,
    pub(super) settles: Duration,
    pub(super) categorizes: Duration,
    pub(super) callbacks: CallbackUrls,
    pub(super) polls: u64,
    pub(super) last_poll: Option<Timestamp>,
    pub(super) smallest_interval: Option<Duration>,
}

/// How a task ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Completed,
    Failed { code: String, message: String },
    Form(Uuid),
}

/// Which new accounts an update brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) new_accounts: bool,
    /// None: of any type.
    pub(super) types: Vec<AccountType>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskBody<'a> {
    id: Uuid,
    created_at: String,
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    payload: TaskPayload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskPayload<'a> {
    bank_connection_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_form: Option<TaskForm<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

/// A web form as a task names it.
#[derive(Serialize)]
pub(super) struct TaskForm<'a> {
    id: Uuid,
    url: &'a str,
    status: &'static str,
}

#[derive(Serialize)]
struct TaskList<'a> {
    items: Vec<TaskBody<'a>>,
    paging: Paging,
}

impl Task {
    pub(super) fn status(&self, now: Timestamp) -> &'static str {
        if now < self.starts {
            return "NOT_YET_STARTED";
        }
        if now < self.ends {
            return "IN_PROGRESS";
        }
        match self.ending {
            Ending::Completed => "COMPLETED",
            Ending::Failed { .. } => "COMPLETED_WITH_ERROR",
            Ending::Form(_) => "WEB_FORM_REQUIRED",
        }
    }

    fn on_poll(&mut self, now: Timestamp) {
        self.polls += 1;
        if let Some(last) = self.last_poll.replace(now) {
            let interval = Duration::try_from(now.duration_since(last)).unwrap_or_default();
            let smallest = self.smallest_interval.unwrap_or(interval);
            self.smallest_interval = Some(smallest.min(interval));
        }
    }
}

impl State {
    pub(super) fn start_update(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        call.check_content_type("application/json")?;
        let request = UpdateRequest::read(&call.body, &self.config)?;
        let id = request.connection;
        let known = self.reach(&user, id);
        if let Some(connection) = self.connections.get_mut(&id).filter(|_| known) {
            connection.posts += 1;
        }
        self.faults(call, Some(id))?;
        if request.profile.is_some_and(|profile| profile.is_nil()) {
            return Err(Refusal::not_found("The profile"));
        }
        if !known {
            return Err(Refusal::not_found("The bank connection"));
        }
        if self.locked(id) {
            return Err(Refusal::new(
                423,
                "LOCKED",
                "The bank connection is being imported or updated.",
            ));
        }
        let task = self.make_task(user, request);
        let body = self.tasks.get(&task).map(|task| self.task_body(task));
        Ok(Reply::json(StatusCode::CREATED, &body))
    }

    pub(super) fn list_tasks(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        let mut params = Params::read(call.query.as_bytes(), &["order", "page", "perPage"]);
        let order = params.order("createdAt", Order::Descending);
        let page = params.page();
        params.done()?;
        self.faults(call, None)?;
        let ids = self.users.get(&user).map_or(&[][..], |user| &user.tasks);
        let shows = |id: &&Uuid| self.tasks.get(id).is_some_and(|task| task.created <= self.now);
        // They are in the order in which they were made.
        let ids = &ids[..ids.iter().take_while(shows).count()];
        let (skip, take) = (page.skipped(), page.per_page);
        let shown: Vec<Uuid> = match order {
            Order::Ascending => ids.iter().skip(skip).take(take).copied().collect(),
            Order::Descending => ids.iter().rev().skip(skip).take(take).copied().collect(),
        };
        let items = shown.iter().filter_map(|id| self.tasks.get(id));
        Ok(Reply::ok(&TaskList {
            items: items.map(|task| self.task_body(task)).collect(),
            paging: Paging::new(page, ids.len()),
        }))
    }

    pub(super) fn show_task(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        let now = self.now;
        let id = Uuid::try_parse(&call.id).unwrap_or_default();
        let task = self.tasks.get_mut(&id).filter(|task| task.user == user);
        let task = task.ok_or_else(|| Refusal::not_found("The task"))?;
        task.on_poll(now);
        let connection = task.connection;
        let smallest = task.smallest_interval;
        self.counters.task_interval(smallest);
        self.faults(call, Some(connection))?;
        let task = self.tasks.get(&id).filter(|task| task.created <= self.now);
        let task = task.ok_or_else(|| Refusal::not_found("The task"))?;
        Ok(Reply::ok(&self.task_body(task)))
    }

    fn make_task(&mut self, user: Arc<str>, request: UpdateRequest) -> Uuid {
        let connection = self.connections.get(&request.connection);
        let script = connection.map(|connection| Arc::clone(&connection.script));
        let script = script.unwrap_or_default();
        let number = connection.map_or(0, |connection| connection.tasks.len());
        let behaviour = if request.edits_settings {
            Behaviour::ImmediateWebForm {
                user: script.user(number),
            }
        } else {
            script.update(number)
        };
        // Each task of a connection draws by itself, also when the connection is scripted again.
        let mut rng = self.random.next(&format!("task/{}", request.connection));
        let id = uuid(&mut rng);
        let mut task = Task {
            id,
            user,
            connection: request.connection,
            created: self.now,
            starts: self.now,
            ends: self.now,
            ending: Ending::Completed,
            import: request.import,
            settles: script.settles.draw(&mut rng),
            categorizes: script.categorizes.draw(&mut rng),
            callbacks: request.callbacks,
            polls: 0,
            last_poll: None,
            smallest_interval: None,
        };
        self.plan(&mut task, behaviour, &mut rng);
        self.keep_task(task, request.user_present);
        id
    }

    /// Decides when and how a task ends. It has not started for the first quarter of its time.
    fn plan(&mut self, task: &mut Task, behaviour: Behaviour, rng: &mut Rng) {
        let (after, user): (Option<After>, Option<UserDoes>) = match behaviour {
            Behaviour::Silent { after } => (Some(after), None),
            Behaviour::WebFormDuring { after, user } => (Some(after), Some(user)),
            Behaviour::ImmediateWebForm { user } => (None, Some(user)),
            Behaviour::Fails {
                after,
                error_code,
                error_message,
            } => {
                task.ending = Ending::Failed {
                    code: error_code,
                    message: error_message,
                };
                (Some(after), None)
            }
        };
        let takes = after.map_or(Duration::ZERO, |after| after.draw(rng));
        task.starts = later(task.created, takes / 4);
        task.ends = later(task.created, takes);
        if let Some(user) = user {
            task.ending = Ending::Form(self.make_form(task, task.ends, &user, rng));
            if after.is_none() {
                // The POST's answer has the web form, so nobody is called back for it.
                task.callbacks.web_form_required = None;
            }
        }
    }

    fn keep_task(&mut self, task: Task, user_present: bool) {
        let (id, at) = (task.id, task.ends);
        self.user(&Arc::clone(&task.user)).tasks.push(id);
        if let Some(connection) = self.connections.get_mut(&task.connection) {
            connection.tasks.push(id);
            connection.open.push(id);
            connection.open_max = connection.open_max.max(connection.open.len());
            connection.without_user += u64::from(!user_present);
        }
        let required = matches!(task.ending, Ending::Form(_)) && task.callbacks.web_form_required.is_some();
        let finalised = task.callbacks.finalised.is_some();
        self.tasks.insert(id, task);
        if required {
            self.call_back_web_form_required(id, at);
        }
        if let Some(at) = self.finished(id).filter(|_| finalised) {
            self.call_back_finalised(id, at);
        }
    }

    fn task_body<'a>(&'a self, task: &'a Task) -> TaskBody<'a> {
        let (error_code, error_message) = match &task.ending {
            Ending::Failed { code, message } if task.ends <= self.now => (Some(code.as_str()), Some(message.as_str())),
            _ => (None, None),
        };
        TaskBody {
            id: task.id,
            created_at: web_form_time(task.created),
            kind: "BANK_CONNECTION_UPDATE",
            status: task.status(self.now),
            payload: TaskPayload {
                bank_connection_id: task.connection,
                web_form: self.task_form(task),
                error_code,
                error_message,
            },
        }
    }

    /// The web form a task has led to by now.
    pub(super) fn task_form(&self, task: &Task) -> Option<TaskForm<'_>> {
        let form = self.form_of(task).filter(|form| form.created <= self.now)?;
        Some(TaskForm {
            id: form.id,
            url: &form.url,
            status: form.status(self.now),
        })
    }
}
