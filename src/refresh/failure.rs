//! The class of a call that failed, and what it makes of a refresh that ends with it.

use std::fmt;
use std::time::Duration;

use super::event::cut;
use super::model::BankError;
use crate::proto::{FailureReason, RefreshFailed};

/// A call that brought no good response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means for the refresh.
    pub class: FailureClass,
    /// finAPI's code; empty where it is not a word.
    pub code: Option<String>,
    /// For developers. Holds no secret.
    pub message: String,
    /// The request's `X-Request-Id`.
    pub request_id: Option<String>,
}

/// What a failed call means for the refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The request was not sent (finAPI is known to be down): try again after this.
    NotSent(Duration),
    /// 429: try again, after this where finAPI said so.
    RateLimited(Option<Duration>),
    /// Connection refused or lost, timeout, 408, 5xx: try again.
    Unavailable,
    /// The same, while too few users call the host to know its outage from one user's trouble: try again for long.
    MaybeDown,
    /// A response that can't be understood: try again, but not for long.
    Unexpected,
    /// A refusal that is not in finAPI's own form, so that it is no word of finAPI's: try again, but not for long.
    Foreign,
    /// 401 to a token that was just fetched, or that came with the command: the user's fault once finAPI has said so three times in a row.
    TokenRefused,
    /// 423: an update of the connection is running, or more is.
    Locked,
    /// finAPI refuses the request as invalid.
    Rejected,
    /// finAPI knows no such thing, or does not know it yet.
    NotFound,
    /// A code that says the bank can't do it.
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

impl FailureClass {
    /// Whether finAPI may have done what the call asked for.
    pub(super) fn may_have_arrived(self) -> bool {
        match self {
            Self::Unavailable | Self::MaybeDown | Self::Unexpected | Self::Foreign | Self::Internal => true,
            Self::NotSent(_)
            | Self::RateLimited(_)
            | Self::TokenRefused
            | Self::Locked
            | Self::Rejected
            | Self::NotFound
            | Self::NotSupported
            | Self::UserUnauthorized
            | Self::UserLocked
            | Self::ClientUnauthorized => false,
        }
    }

    /// Whether finAPI has said for good that it does not do what the call asked for.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Rejected
            | Self::NotFound
            | Self::NotSupported
            | Self::UserUnauthorized
            | Self::UserLocked
            | Self::ClientUnauthorized => true,
            Self::NotSent(_)
            | Self::RateLimited(_)
            | Self::Unavailable
            | Self::MaybeDown
            | Self::Unexpected
            | Self::Foreign
            | Self::TokenRefused
            | Self::Locked
            | Self::Internal => false,
        }
    }

    /// The class' name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::RateLimited(_) => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::MaybeDown => "maybe_down",
            Self::Unexpected => "unexpected",
            Self::Foreign => "foreign",
            Self::TokenRefused => "token_refused",
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

impl Failure {
    /// A response that can't be understood.
    #[must_use]
    pub fn unexpected(message: &str) -> Self {
        Self::new(FailureClass::Unexpected, message)
    }

    /// Whether the request was not sent, because its host is known to be down.
    #[must_use]
    pub fn is_not_sent(&self) -> bool {
        matches!(self.class, FailureClass::NotSent(_))
    }

    /// Whether finAPI has certainly not done what the call asked for.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !self.class.may_have_arrived()
    }

    /// A failure that no code of finAPI's goes with.
    #[must_use]
    pub fn new(class: FailureClass, message: &str) -> Self {
        Self {
            class,
            code: None,
            message: message.to_owned(),
            request_id: None,
        }
    }
}

/// How often in a row finAPI said what is hard to believe the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// That it does not know what it has just handed out.
    pub not_found: u32,
    /// That a token is dead that was just fetched.
    pub token_refused: u32,
}

impl Doubts {
    /// What is left of them after a call that failed. A call that was not made says nothing.
    pub(super) fn after(self, class: FailureClass) -> Self {
        let none = Self::default();
        match class {
            FailureClass::NotSent(_) => self,
            FailureClass::NotFound => Self {
                not_found: self.not_found.saturating_add(1),
                ..none
            },
            FailureClass::TokenRefused => Self {
                token_refused: self.token_refused.saturating_add(1),
                ..none
            },
            _ => none,
        }
    }
}

/// Why a refresh failed, in the words of its event.
#[derive(Clone, PartialEq, Eq)]
pub struct FailureDetails {
    pub(crate) reason: FailureReason,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) bank_message: String,
    pub(crate) retryable: bool,
    pub(crate) request_id: String,
}

/// Without the bank's words, which may be personal.
impl fmt::Debug for FailureDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureDetails")
            .field("reason", &self.reason)
            .field("code", &self.code)
            .field("message", &self.message)
            .field("retryable", &self.retryable)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl FailureDetails {
    pub(super) fn of(reason: FailureReason, message: &str, retryable: bool) -> Self {
        Self {
            reason,
            code: String::new(),
            message: message.to_owned(),
            bank_message: String::new(),
            retryable,
            request_id: String::new(),
        }
    }

    pub(super) fn by_bank(error: Option<BankError>, otherwise: FailureReason, what: &str) -> Self {
        let Some(error) = error else {
            return Self::of(otherwise, &format!("{what} ended with an error and no code"), false);
        };
        let message = match error.code.as_str() {
            "" => format!("{what} ended with a code that is not a word"),
            code => format!("{what} ended with {code}"),
        };
        let (reason, retryable) = match error.code.as_str() {
            "BANK_SERVER_REJECTION" => (FailureReason::BankRejected, false),
            "INVALID_TOKEN" | "UNEXPECTED_ACCESS_RESPONSE" | "INTERNAL_ERROR" | "INTERRUPTED" => (otherwise, true),
            _ => (otherwise, false),
        };
        Self {
            message,
            code: error.code,
            bank_message: error.message.unwrap_or_default(),
            ..Self::of(reason, "", retryable)
        }
    }
}

impl From<&FailureDetails> for RefreshFailed {
    fn from(details: &FailureDetails) -> Self {
        Self {
            reason: details.reason.into(),
            finapi_code: details.code.clone(),
            message: cut(&details.message),
            bank_message: cut(&details.bank_message),
            retryable: details.retryable,
            finapi_request_id: details.request_id.clone(),
            ..Self::default()
        }
    }
}

impl From<RefreshFailed> for FailureDetails {
    fn from(event: RefreshFailed) -> Self {
        Self {
            reason: event.reason(),
            code: event.finapi_code,
            message: event.message,
            bank_message: event.bank_message,
            retryable: event.retryable,
            request_id: event.finapi_request_id,
        }
    }
}

impl From<Failure> for FailureDetails {
    fn from(failure: Failure) -> Self {
        let (reason, retryable) = match failure.class {
            FailureClass::NotSent(_)
            | FailureClass::RateLimited(_)
            | FailureClass::Unavailable
            | FailureClass::Foreign
            | FailureClass::MaybeDown => (FailureReason::FinapiUnavailable, true),
            FailureClass::Unexpected => (FailureReason::UnexpectedResponse, true),
            FailureClass::Locked => (FailureReason::ConnectionLocked, true),
            FailureClass::Rejected => (FailureReason::RequestRejected, false),
            FailureClass::NotFound => (FailureReason::NotFound, false),
            FailureClass::NotSupported => (FailureReason::NotSupported, false),
            FailureClass::TokenRefused | FailureClass::UserUnauthorized => (FailureReason::UserUnauthorized, false),
            FailureClass::UserLocked => (FailureReason::UserLocked, false),
            FailureClass::ClientUnauthorized => (FailureReason::ClientUnauthorized, false),
            FailureClass::Internal => (FailureReason::Internal, true),
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
