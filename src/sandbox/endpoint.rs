//! finAPI's endpoints.

use serde::{Deserialize, Serialize};

use super::config::ApiVersion;

/// An endpoint of finAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /oauth/token`, `POST /api/v2/oauth/token`
    Token,
    /// `GET /api/v1/clientConfiguration`, `GET /api/v2/clientConfiguration`
    ClientConfiguration,
    /// `POST /api/tasks/backgroundUpdate`
    StartUpdate,
    /// `GET /api/tasks`
    Tasks,
    /// `GET /api/tasks/{id}`
    Task,
    /// `GET /api/webForms/{id}`
    WebForm,
    /// `GET /api/v1/bankConnections/{id}`, the same of V2
    BankConnection,
    /// `GET /api/v1/accounts`, the same of V2
    Accounts,
    /// `GET /api/v1/transactions`, the same of V2
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
    pub const ALL: [Self; 9] = [
        Self::Token,
        Self::ClientConfiguration,
        Self::StartUpdate,
        Self::Tasks,
        Self::Task,
        Self::WebForm,
        Self::BankConnection,
        Self::Accounts,
        Self::Transactions,
    ];

    /// The path, with `{id}` where an id goes. Web Form 2.0 has one for both versions.
    #[must_use]
    pub const fn path(self, version: ApiVersion) -> &'static str {
        match (self, version) {
            (Self::Token, ApiVersion::V1) => "/oauth/token",
            (Self::Token, ApiVersion::V2) => "/api/v2/oauth/token",
            (Self::ClientConfiguration, ApiVersion::V1) => "/api/v1/clientConfiguration",
            (Self::ClientConfiguration, ApiVersion::V2) => "/api/v2/clientConfiguration",
            (Self::StartUpdate, _) => "/api/tasks/backgroundUpdate",
            (Self::Tasks, _) => "/api/tasks",
            (Self::Task, _) => "/api/tasks/{id}",
            (Self::WebForm, _) => "/api/webForms/{id}",
            (Self::BankConnection, ApiVersion::V1) => "/api/v1/bankConnections/{id}",
            (Self::BankConnection, ApiVersion::V2) => "/api/v2/bankConnections/{id}",
            (Self::Accounts, ApiVersion::V1) => "/api/v1/accounts",
            (Self::Accounts, ApiVersion::V2) => "/api/v2/accounts",
            (Self::Transactions, ApiVersion::V1) => "/api/v1/transactions",
            (Self::Transactions, ApiVersion::V2) => "/api/v2/transactions",
        }
    }

    pub(super) const fn has_versions(self) -> bool {
        !matches!(self.surface(), Surface::WebForm)
    }

    /// As settings and counters name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ClientConfiguration => "client_configuration",
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
            Self::ClientConfiguration | Self::BankConnection | Self::Accounts | Self::Transactions => Surface::Access,
        }
    }
}
