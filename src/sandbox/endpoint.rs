//! finAPI's endpoints.

use serde::{Deserialize, Serialize};

/// An endpoint of finAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /oauth/token`
    Token,
    /// `POST /api/tasks/backgroundUpdate`
    StartUpdate,
    /// `GET /api/tasks`
    Tasks,
    /// `GET /api/tasks/{id}`
    Task,
    /// `GET /api/webForms/{id}`
    WebForm,
    /// `GET /api/v1/bankConnections/{id}`
    BankConnection,
    /// `GET /api/v1/accounts`
    Accounts,
    /// `GET /api/v1/transactions`
    Transactions,
}

/// Which of finAPI's APIs an endpoint belongs to. Each has its own way to say what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    OAuth,
    Access,
    WebForm,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Token,
        Self::StartUpdate,
        Self::Tasks,
        Self::Task,
        Self::WebForm,
        Self::BankConnection,
        Self::Accounts,
        Self::Transactions,
    ];

    /// The path, with `{id}` where an id goes.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Token => "/oauth/token",
            Self::StartUpdate => "/api/tasks/backgroundUpdate",
            Self::Tasks => "/api/tasks",
            Self::Task => "/api/tasks/{id}",
            Self::WebForm => "/api/webForms/{id}",
            Self::BankConnection => "/api/v1/bankConnections/{id}",
            Self::Accounts => "/api/v1/accounts",
            Self::Transactions => "/api/v1/transactions",
        }
    }

    /// As settings and counters name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::StartUpdate => "start_update",
            Self::Tasks => "tasks",
            Self::Task => "task",
            Self::WebForm => "web_form",
            Self::BankConnection => "bank_connection",
            Self::Accounts => "accounts",
            Self::Transactions => "transactions",
        }
    }

    pub(super) const fn is_post(self) -> bool {
        matches!(self, Self::Token | Self::StartUpdate)
    }

    pub(super) const fn surface(self) -> Surface {
        match self {
            Self::Token => Surface::OAuth,
            Self::StartUpdate | Self::Tasks | Self::Task | Self::WebForm => Surface::WebForm,
            Self::BankConnection | Self::Accounts | Self::Transactions => Surface::Access,
        }
    }
}
