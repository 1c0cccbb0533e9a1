//! finAPI's endpoints.

use axum::http::Method;
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
    /// `POST /api/webForms/{id}/cancel`
    CancelWebForm,
    /// `GET /api/v1/bankConnections/{id}`, the same of V2
    BankConnection,
    /// `GET /api/v1/accounts`, the same of V2
    Accounts,
    /// `GET /api/v1/transactions`, the same of V2
    Transactions,
    /// `PATCH /api/v1/clientConfiguration`, the same of V2: an operator's call
    ChangeClient,
    /// `POST /api/v1/notificationRules`, the same of V2: a platform's call
    NotificationRules,
}

/// Which of finAPI's APIs an endpoint belongs to. Each has its own way to say what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    OAuth,
    Access,
    WebForm,
}

impl Endpoint {
    /// All that a worker calls.
    pub const ALL: [Self; 10] = [
        Self::Token,
        Self::ClientConfiguration,
        Self::StartUpdate,
        Self::Tasks,
        Self::Task,
        Self::WebForm,
        Self::CancelWebForm,
        Self::BankConnection,
        Self::Accounts,
        Self::Transactions,
    ];

    /// All that a platform and its operator call to set up notifications. No fault is drawn for them.
    pub(super) const OF_OPERATORS: [Self; 2] = [Self::ChangeClient, Self::NotificationRules];

    /// The path, with `{id}` where an id goes. Web Form 2.0 has one for both versions.
    #[must_use]
    pub const fn path(self, version: ApiVersion) -> &'static str {
        match (self, version) {
            (Self::Token, ApiVersion::V1) => "/oauth/token",
            (Self::Token, ApiVersion::V2) => "/api/v2/oauth/token",
            (Self::ClientConfiguration | Self::ChangeClient, ApiVersion::V1) => "/api/v1/clientConfiguration",
            (Self::ClientConfiguration | Self::ChangeClient, ApiVersion::V2) => "/api/v2/clientConfiguration",
            (Self::StartUpdate, _) => "/api/tasks/backgroundUpdate",
            (Self::Tasks, _) => "/api/tasks",
            (Self::Task, _) => "/api/tasks/{id}",
            (Self::WebForm, _) => "/api/webForms/{id}",
            (Self::CancelWebForm, _) => "/api/webForms/{id}/cancel",
            (Self::BankConnection, ApiVersion::V1) => "/api/v1/bankConnections/{id}",
            (Self::BankConnection, ApiVersion::V2) => "/api/v2/bankConnections/{id}",
            (Self::Accounts, ApiVersion::V1) => "/api/v1/accounts",
            (Self::Accounts, ApiVersion::V2) => "/api/v2/accounts",
            (Self::Transactions, ApiVersion::V1) => "/api/v1/transactions",
            (Self::Transactions, ApiVersion::V2) => "/api/v2/transactions",
            (Self::NotificationRules, ApiVersion::V1) => "/api/v1/notificationRules",
            (Self::NotificationRules, ApiVersion::V2) => "/api/v2/notificationRules",
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
            Self::CancelWebForm => "cancel_web_form",
            Self::BankConnection => "bank_connection",
            Self::Accounts => "accounts",
            Self::Transactions => "transactions",
            Self::ChangeClient => "change_client",
            Self::NotificationRules => "notification_rules",
        }
    }

    pub(super) const fn method(self) -> Method {
        match self {
            Self::Token | Self::StartUpdate | Self::CancelWebForm | Self::NotificationRules => Method::POST,
            Self::ChangeClient => Method::PATCH,
            Self::ClientConfiguration
            | Self::Tasks
            | Self::Task
            | Self::WebForm
            | Self::BankConnection
            | Self::Accounts
            | Self::Transactions => Method::GET,
        }
    }

    pub(super) const fn surface(self) -> Surface {
        match self {
            Self::Token => Surface::OAuth,
            Self::StartUpdate | Self::Tasks | Self::Task | Self::WebForm | Self::CancelWebForm => Surface::WebForm,
            Self::ClientConfiguration
            | Self::BankConnection
            | Self::Accounts
            | Self::Transactions
            | Self::ChangeClient
            | Self::NotificationRules => Surface::Access,
        }
    }
}
