//! What finAPI's answer to a request for a token means.
//!
//! | status | body | [`Denial`] | about | the refresh |
//! | --- | --- | --- | --- | --- |
//! | 400 | `errors[]`, or `invalid_grant` | `Wrong` | the password | `USER_UNAUTHORIZED` |
//! | 400 | another known OAuth word | `Request` | this request | `CLIENT_UNAUTHORIZED` |
//! | 401 | finAPI's | `Client` | the client's credentials | `CLIENT_UNAUTHORIZED` |
//! | 403 | finAPI's | `Forbidden` if the client is granted a token, else `Client` | the user, or the client | `USER_UNAUTHORIZED`, `CLIENT_UNAUTHORIZED` |
//! | 423 | finAPI's | `Locked` | the user | `USER_LOCKED` |
//! | 429 | any | `Waits` | nobody | waits as long as it says |
//! | any other 4xx, or another body | any | `Foreign` | nobody | tried again |
//! | 5xx, 3xx, no answer, 2xx without a token | any | `Unknown` | nobody | tried again |
//!
//! After any denial of a refresh token in finAPI's own form the password shows more. [`tokens`](super::tokens) has what follows for the next request.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::breaker::Host;
use super::client::FinApi;
use super::error::{self, Api};
use super::passwords::{Judgement, SendEnd};
use super::pipeline::Call;
use super::probe::ClientGrant;
use super::tokens::{GrantRequest, TokenResponse};
use super::transport::HttpResponse;
use super::verdict;
use super::version::{AccessCall, Forbidden, Version};
use super::wire::{self, Read, parse};
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};

/// How long a 403 waits for its meaning before finAPI is asked again.
const MEANING_WAIT: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Clone, Debug)]
pub struct NoGrant {
    /// What it says of the password or of the client.
    pub denial: Denial,
    /// What it means for the refresh.
    pub failure: Failure,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The user id, the password or the refresh token is wrong.
    Wrong,
    /// The user may have no token.
    Forbidden,
    /// The user is locked until it has another password.
    Locked,
    /// The client's credentials are refused.
    Client,
    /// finAPI does not take this request.
    Request,
    /// finAPI asks to wait.
    Waits,
    /// A server error in finAPI's own form.
    Broken,
    /// 4xx, and not finAPI's own word.
    Foreign,
    /// Nothing of finAPI's own: no answer, or none that can be understood.
    Unknown,
    /// It was not sent.
    NotSent,
}

impl Denial {
    /// `own` is finAPI's code, empty where it gave none; none where the body is not finAPI's.
    pub(super) fn of(status: u16, own: Option<&str>) -> Self {
        match (status, own) {
            (429, _) => Self::Waits,
            (400, Some("invalid_request" | "unsupported_grant_type" | "unauthorized_client" | "invalid_scope")) => {
                Self::Request
            }
            (400, Some("invalid_client")) | (401, Some(_)) => Self::Client,
            (400, Some(code)) if code == "invalid_grant" || !is_oauth(code) => Self::Wrong,
            (403, Some(_)) => Self::Forbidden,
            (423, Some(_)) => Self::Locked,
            (400..500, _) => Self::Foreign,
            (500.., Some(_)) => Self::Broken,
            _ => Self::Unknown,
        }
    }

    /// Whether a refresh token is of no use, so that the password is to be sent.
    #[must_use]
    pub fn ends_refresh_token(self) -> bool {
        match self {
            Self::Wrong | Self::Forbidden | Self::Locked | Self::Client | Self::Request | Self::Broken => true,
            Self::Waits | Self::Foreign | Self::Unknown | Self::NotSent => false,
        }
    }

    /// What it says of the password that was sent.
    pub(super) fn of_password(self) -> SendEnd {
        match self {
            Self::Wrong => SendEnd::Judged(Judgement::Wrong),
            Self::Forbidden => SendEnd::Judged(Judgement::Forbidden),
            Self::Locked => SendEnd::Judged(Judgement::Locked),
            Self::Foreign => SendEnd::Foreign,
            Self::Client | Self::Request | Self::Waits | Self::Broken | Self::Unknown | Self::NotSent => {
                SendEnd::Nothing
            }
        }
    }

    /// What it means for the refresh.
    pub(super) fn class(self, status: u16, own: Option<&str>, retry_after: Option<Duration>) -> FailureClass {
        match self {
            Self::Wrong | Self::Forbidden => FailureClass::UserUnauthorized,
            Self::Locked => FailureClass::UserLocked,
            Self::Client | Self::Request => FailureClass::ClientUnauthorized,
            Self::Foreign => FailureClass::Foreign,
            Self::Waits | Self::Broken | Self::Unknown | Self::NotSent => verdict::of_call(status, own, retry_after),
        }
    }
}

/// OAuth has its words in small letters, and Access its codes in capitals.
fn is_oauth(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

impl NoGrant {
    /// No answer came, or none that can be understood.
    fn unknown(failure: Failure) -> Self {
        let denial = match failure.is_not_sent() {
            true => Denial::NotSent,
            false => Denial::Unknown,
        };
        Self { denial, failure }
    }

    fn of(endpoint: &str, response: &HttpResponse) -> Self {
        let failure = error::classify(endpoint, Api::OAuth, response);
        let own = error::is_of_access(response).then(|| failure.code.as_deref().unwrap_or_default());
        let denial = Denial::of(response.status.as_u16(), own);
        Self { denial, failure }
    }
}

impl FinApi {
    /// Asks finAPI for a token.
    pub(super) async fn request_token(&self, user_id: &UserId, grant: &GrantRequest) -> Result<TokenResponse, NoGrant> {
        loop {
            let version = self.versions.get().map_err(NoGrant::unknown)?;
            let sent = Instant::now();
            let response = self
                .send_grant(version, user_id, grant)
                .await
                .map_err(NoGrant::unknown)?;
            let endpoint = version.endpoint(AccessCall::Token);
            if response.status.is_success() {
                let token: Read<wire::Token> = parse(endpoint, &response).map_err(NoGrant::unknown)?;
                let unreadable = |name: &String| self.metrics.unreadable("token", name);
                token.unreadable.iter().for_each(unreadable);
                return Ok(token.value.into());
            }
            let mut none = NoGrant::of(endpoint, &response);
            if none.denial == Denial::Forbidden {
                match self.meaning(version, sent).await {
                    Meaning::User => {}
                    Meaning::Client => {
                        none.denial = Denial::Client;
                        none.failure.class = FailureClass::ClientUnauthorized;
                    }
                    Meaning::OtherVersion => continue,
                }
                none.failure.message.push_str(self.versions.hint());
            }
            none.failure = self.judged(Host::Access, none.failure);
            return Err(none);
        }
    }

    /// Whose a token's 403 is. Waits until that shows, so that a password is not sent again to find out.
    async fn meaning(&self, version: Version, sent: Instant) -> Meaning {
        loop {
            let wait = match self.on_forbidden(version, sent).await {
                Forbidden::Changed => return Meaning::OtherVersion,
                Forbidden::Unknown(wait) => wait,
                // The probe has shown that the client is granted a token.
                Forbidden::Stands if !self.versions.is_set() => return Meaning::User,
                Forbidden::Stands => match self.client_grant(version).await {
                    ClientGrant::Granted => return Meaning::User,
                    ClientGrant::Refused => return Meaning::Client,
                    ClientGrant::Unknown => MEANING_WAIT,
                },
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn send_grant(
        &self,
        version: Version,
        user_id: &UserId,
        grant: &GrantRequest,
    ) -> Result<HttpResponse, Failure> {
        let host = Host::Access;
        let request = match grant {
            GrantRequest::Password(password) => self.token_request(
                version,
                &[
                    ("grant_type", "password"),
                    ("username", user_id.as_str()),
                    ("password", password.expose_secret()),
                ],
            ),
            GrantRequest::RefreshToken(token) => self.token_request(
                version,
                &[
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.expose_secret()),
                ],
            ),
        };
        let _permit = self.concurrency.acquire().await;
        self.turn(host, user_id).await?;
        let call = Call {
            endpoint: version.endpoint(AccessCall::Token),
            host,
            user_id,
            stop: None,
            room: &self.bodies.room(None),
        };
        let response = self.send(call, request).await;
        response.map_err(|failure| self.judged(host, failure))
    }
}

/// Whose a 403 is.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    User,
    Client,
    OtherVersion,
}

/// An access token as it may be in a header, if it is one that finAPI gives.
pub(super) fn is_token(token: &SecretString) -> bool {
    let token = token.expose_secret();
    (1..=crate::limits::ACCESS_TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_meaning_and_only_finapis_own_word_is_about_somebody() {
        use Denial::{Broken, Client, Forbidden, Foreign, Locked, Request, Unknown, Waits, Wrong};
        for (status, own, denial) in [
            (400, Some("BAD_REQUEST"), Wrong),
            (400, Some("invalid_grant"), Wrong),
            (400, Some(""), Wrong),
            (400, Some("invalid_request"), Request),
            (400, Some("unsupported_grant_type"), Request),
            (400, Some("invalid_client"), Client),
            (400, Some("something_new"), Foreign),
            (401, Some("invalid_client"), Client),
            (401, Some("invalid_token"), Client),
            (401, Some("UNAUTHORIZED_ACCESS"), Client),
            (403, Some("FORBIDDEN"), Forbidden),
            (403, Some("unauthorized_user"), Forbidden),
            (423, Some("LOCKED"), Locked),
            (423, Some("user_locked"), Locked),
            (404, Some("UNKNOWN_ENTITY"), Foreign),
            (422, Some("ILLEGAL_FIELD_VALUE"), Foreign),
            (500, Some("UNEXPECTED_ERROR"), Broken),
            (500, Some("server_error"), Broken),
            (429, Some("TOO_MANY_REQUESTS"), Waits),
            (429, None, Waits),
            (302, None, Unknown),
            (204, None, Unknown),
        ] {
            assert_eq!(Denial::of(status, own), denial, "{status} {own:?}");
        }
        for status in 400..600 {
            let expected = match status {
                429 => Waits,
                400..500 => Foreign,
                _ => Unknown,
            };
            assert_eq!(Denial::of(status, None), expected, "{status}");
        }
    }
}
