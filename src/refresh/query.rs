//! What finAPI is asked, and what a good answer brings.

use jiff::Timestamp;

use super::failure::Failure;
use super::model::{Collected, Connection, Task, WebForm};

/// What the workflow wants finAPI to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /api/v1/bankConnections/{id}`.
    Connection,
    /// `GET /api/tasks`, newest first.
    FindTask,
    /// `POST /api/tasks/backgroundUpdate`.
    Start,
    /// `GET /api/tasks/{id}`.
    Task(String),
    /// `GET /api/webForms/{id}`.
    WebForm(String),
    /// `GET /api/v1/accounts`, and the transactions of these accounts that were imported in a span of time where there is
    /// one.
    Collect(Vec<i64>, Option<Span>),
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first moment in it.
    pub since: Timestamp,
    /// The last moment in it.
    pub until: Timestamp,
}

/// What came of a [`Call`].
pub type Answered = Result<Answer, Failure>;

/// A good answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Call::Connection`].
    Connection(Connection),
    /// To [`Call::FindTask`].
    Tasks(Vec<Task>),
    /// To [`Call::Start`] and [`Call::Task`].
    Task(Task),
    /// To [`Call::WebForm`].
    WebForm(WebForm),
    /// To [`Call::Collect`].
    Collected(Collected),
}

impl Call {
    /// The call's name in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::FindTask => "find_task",
            Self::Start => "start",
            Self::Task(_) => "task",
            Self::WebForm(_) => "web_form",
            Self::Collect(..) => "collect",
        }
    }
}

impl Answer {
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
