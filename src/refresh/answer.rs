//! What finAPI can say, as facts the workflow decides on. Every enum of finAPI's is open: what is new becomes `Other`.

use std::time::Duration;

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use secrecy::SecretString;

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

/// A call that brought no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means for the refresh.
    pub kind: FailureKind,
    /// finAPI's code, as it came.
    pub code: Option<String>,
    /// For developers. Holds no secret.
    pub message: String,
    /// The request's `X-Request-Id`.
    pub request_id: Option<String>,
}

/// What a failed call means for the refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The call was not made (finAPI is known to be down): try again after this.
    NotAsked(Duration),
    /// 429: try again, after this where finAPI said so.
    RateLimited(Option<Duration>),
    /// Connection refused or lost, timeout, 408, 5xx: try again.
    Unavailable,
    /// An answer that can't be understood: try again, but not for long.
    Unexpected,
    /// 423 on the start of an update: another one is running.
    Locked,
    /// 400: finAPI refuses the request as invalid.
    Rejected,
    /// 404.
    NotFound,
    /// 422, or a code that says the bank can't do it.
    NotSupported,
    /// The user's credentials or token were refused, or none were found.
    UserUnauthorized,
    /// The user is locked.
    UserLocked,
    /// The client's credentials were refused, or 403.
    ClientUnauthorized,
    /// A step of this worker panicked.
    Internal,
}

/// A background update.
#[derive(Clone, Debug)]
pub struct Task {
    /// finAPI's id.
    pub id: String,
    /// When finAPI created it.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: TaskStatus,
    /// The connection it updates.
    pub bank_connection_id: Option<i64>,
    /// The web form it led to.
    pub web_form: Option<WebFormLink>,
    /// Why it failed.
    pub error: Option<BankError>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// NOT_YET_STARTED, IN_PROGRESS, and what is new.
    Running,
    /// WEB_FORM_REQUIRED: the task never changes again.
    WebFormRequired,
    /// COMPLETED.
    Completed,
    /// COMPLETED_WITH_ERROR.
    Failed,
}

/// A web form as a task names it.
#[derive(Clone, Debug)]
pub struct WebFormLink {
    /// finAPI's id.
    pub id: String,
    /// The one-time URL for the user.
    pub url: SecretString,
}

/// Why a task, a web form or an update failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankError {
    /// finAPI's code.
    pub code: String,
    /// The text for the user; may be personal data.
    pub message: Option<String>,
}

/// A web form.
#[derive(Clone, Debug)]
pub struct WebForm {
    /// Where it stands.
    pub status: WebFormStatus,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<BankError>,
}

/// Where a web form stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebFormStatus {
    /// NOT_YET_OPENED, IN_PROGRESS, and what is new.
    Open,
    /// COMPLETED.
    Completed,
    /// COMPLETED_WITH_ERROR.
    Failed,
    /// EXPIRED.
    Expired,
    /// ABORTED.
    Aborted,
}

/// A bank connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The bank's id.
    pub bank_id: i64,
    /// The bank's name.
    pub bank_name: String,
    /// `updateStatus` is READY: everything is stored.
    pub ready: bool,
    /// `categorizationStatus` is READY.
    pub categorized: bool,
    /// The ids of its accounts.
    pub account_ids: Vec<i64>,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
}

/// One interface of a bank connection.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// finAPI's name: XS2A, FINTS_SERVER, WEB_SCRAPER or newer.
    pub name: String,
    /// finAPI can't update over it without the user.
    pub user_action_required: bool,
    /// When the user's consent ends.
    pub consent_expires_at: Option<Timestamp>,
    /// The last successful update, by whomever.
    pub last_success_at: Option<Timestamp>,
}

impl Connection {
    /// The last successful update over any interface.
    #[must_use]
    pub fn last_success_at(&self) -> Option<Timestamp> {
        self.interfaces
            .iter()
            .filter_map(|interface| interface.last_success_at)
            .max()
    }
}

/// What there is to tell of an update.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// The transactions of the span asked for, by ascending id.
    pub transactions: Vec<Transaction>,
}

/// An account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// finAPI's id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its IBAN.
    pub iban: String,
    /// finAPI's name of its type.
    pub kind: String,
    /// ISO 4217.
    pub currency: String,
    /// The balance.
    pub balance: Option<Decimal>,
    /// First imported by the last update.
    pub is_new: bool,
    /// How its download went, per interface.
    pub interfaces: Vec<AccountInterface>,
}

/// How an account's download went over one interface.
#[derive(Clone, Debug, Default)]
pub struct AccountInterface {
    /// finAPI's name of the interface.
    pub name: String,
    /// finAPI's status.
    pub status: String,
    /// The last successful update.
    pub last_success_at: Option<Timestamp>,
}

/// A transaction.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// finAPI's id.
    pub id: i64,
    /// The account's id.
    pub account_id: i64,
    /// The amount.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// The bank's booking date.
    pub bank_booking_date: Option<Date>,
    /// The value date.
    pub value_date: Option<Date>,
    /// finAPI's booking date.
    pub finapi_booking_date: Option<Date>,
    /// The purpose.
    pub purpose: String,
    /// The other party's name.
    pub counterpart_name: String,
    /// The other party's IBAN.
    pub counterpart_iban: String,
    /// The other party's BIC.
    pub counterpart_bic: String,
    /// The SEPA end-to-end reference.
    pub end_to_end_reference: String,
    /// The SEPA mandate reference.
    pub mandate_reference: String,
    /// The bank's word for its kind.
    pub kind: String,
    /// finAPI's category.
    pub category: String,
    /// finAPI thinks it may be a duplicate.
    pub is_potential_duplicate: bool,
    /// finAPI made it up to make the balance fit.
    pub is_adjusting_entry: bool,
    /// When finAPI stored it.
    pub imported_at: Option<Timestamp>,
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

impl FailureKind {
    /// The class' name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAsked(_) => "not_asked",
            Self::RateLimited(_) => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
            Self::Locked => "locked",
            Self::Rejected => "rejected",
            Self::NotFound => "not_found",
            Self::NotSupported => "not_supported",
            Self::UserUnauthorized => "user_unauthorized",
            Self::UserLocked => "user_locked",
            Self::ClientUnauthorized => "client_unauthorized",
            Self::Internal => "internal",
        }
    }
}
