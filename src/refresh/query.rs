//! Queries to finAPI, and what a good response brings.

use jiff::Timestamp;

use super::failure::Failure;
use super::model::{Collected, Connection, Task, WebForm};
use crate::id::{AccountId, TaskId, WebFormId};

/// What the workflow wants to know next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// `GET /api/v1/bankConnections/{id}`.
    Connection,
    /// `GET /api/tasks`, newest first.
    FindTask,
    /// `POST /api/tasks/backgroundUpdate`.
    Start,
    /// `GET /api/tasks/{id}`.
    Task(TaskId),
    /// `GET /api/webForms/{id}`.
    WebForm(WebFormId),
    /// `GET /api/v1/accounts`, a page of `GET /api/v1/transactions`, or both at once.
    Collect(Wanted),
}

/// What of the connection's data is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// All accounts.
    pub accounts: bool,
    /// A page of transactions.
    pub page: Option<PageQuery>,
}

/// Which page of transactions is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// Those of these accounts.
    pub accounts: Vec<AccountId>,
    /// Those that were imported from here on.
    pub since: Timestamp,
    /// The number of the page, from 1.
    pub page: u32,
}

/// What came of a [`Query`].
pub type QueryResult = Result<Response, Failure>;

/// A good response.
#[derive(Clone, Debug)]
pub enum Response {
    /// To [`Query::Connection`].
    Connection(Connection),
    /// To [`Query::FindTask`].
    Tasks(Vec<Task>),
    /// To [`Query::Start`] and [`Query::Task`].
    Task(Task),
    /// To [`Query::WebForm`].
    WebForm(WebForm),
    /// To [`Query::Collect`].
    Collected(Collected),
}

impl Query {
    /// The query's name in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::FindTask => "find_task",
            Self::Start => "start",
            Self::Task(_) => "task",
            Self::WebForm(_) => "web_form",
            Self::Collect(_) => "collect",
        }
    }
}

impl Response {
    /// Whether it has an error code that is not a word.
    pub(crate) fn has_odd_code(&self) -> bool {
        let error = match self {
            Self::Task(task) => &task.error,
            Self::WebForm(form) => &form.error,
            Self::Connection(_) | Self::Tasks(_) | Self::Collected(_) => return false,
        };
        error.as_ref().is_some_and(|error| error.code.is_empty())
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Connection(_) => "a bank connection",
            Self::Tasks(_) => "a task list",
            Self::Task(_) => "a task",
            Self::WebForm(_) => "a web form",
            Self::Collected(_) => "transactions",
        }
    }
}
