//! Users' access tokens: kept until shortly before they end, and not requested again after finAPI refused for good.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::credentials::Secret;
use super::grant::{Denial, NoGrant};
use super::passwords::{Judgement, NoTurn, Passwords, Refused, SendEnd};
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};
use crate::secret::Secret as ClientSecret;
use crate::telemetry::metrics::{FinApiMetrics, TokenFrom};

/// A token is not used any more so shortly before its end, or in the last tenth of a short lifetime.
const MARGIN: Duration = Duration::from_secs(60);

/// How long no token is asked for after finAPI refused the client itself.
const CLIENT_REFUSED_FOR: Duration = Duration::from_secs(60);

/// What `POST /oauth/token` gave.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: SecretString,
    /// A token to get the next one with.
    pub refresh_token: Option<SecretString>,
    /// For how long the access token is good; none when it never ends.
    pub expires_in: Option<Duration>,
}

/// How a token is asked for.
#[derive(Clone, Debug)]
pub enum GrantRequest {
    /// With the user's password.
    Password(SecretString),
    /// With a refresh token.
    RefreshToken(SecretString),
}

/// Gets what [`Tokens`] has not.
pub trait Source {
    /// The user's secret from the operator's source of credentials.
    fn secret(&self, user_id: &UserId) -> impl Future<Output = Result<Secret, Failure>> + Send;
    /// A token from finAPI.
    fn grant(
        &self,
        user_id: &UserId,
        grant: GrantRequest,
    ) -> impl Future<Output = Result<TokenResponse, NoGrant>> + Send;
}

/// How often one query may have its token fetched again. A token that finAPI refuses at once is refused for good.
pub const RENEWALS_MAX: u8 = 3;

/// The tokens of the users that were seen last.
#[derive(Debug)]
pub struct Tokens {
    users: Mutex<LruCache<UserId, User>>,
    passwords: Passwords,
    /// Until when the client is not tried, because finAPI refused it.
    client_refused: Mutex<Option<(Instant, Failure)>>,
    metrics: FinApiMetrics,
}

#[derive(Debug, Default)]
struct User {
    token: Option<Token>,
    /// finAPI took a token back, so its password may be another one by now.
    is_doubted: bool,
}

#[derive(Debug)]
struct Token {
    value: SecretString,
    refresh_token: Option<SecretString>,
    good_until: Option<Instant>,
    /// finAPI has accepted it.
    worked: bool,
}

impl Tokens {
    /// Remembers at most so many users.
    #[must_use]
    pub(super) fn new(users_max: NonZeroUsize, passwords: Passwords, metrics: FinApiMetrics) -> Self {
        Self {
            users: Mutex::new(LruCache::new(users_max)),
            passwords,
            client_refused: Mutex::new(None),
            metrics,
        }
    }

    /// What is known of passwords.
    pub(super) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The user's token, if one is known and good.
    #[must_use]
    pub fn get(&self, user_id: &UserId) -> Option<SecretString> {
        let now = Instant::now();
        let token = self.users().get(user_id)?.good_token(now)?.value.clone();
        self.metrics.token(TokenFrom::Memory);
        Some(token)
    }

    /// Whether [`Self::get`] has an answer now.
    #[must_use]
    pub fn has(&self, user_id: &UserId) -> bool {
        let now = Instant::now();
        self.users()
            .get(user_id)
            .and_then(|user| user.good_token(now))
            .is_some()
    }

    /// finAPI accepted a token.
    pub fn on_accepted(&self, user_id: &UserId, token: &SecretString) {
        if let Some(token) = self.users().get_mut(user_id).and_then(|user| user.this(token)) {
            token.worked = true;
        }
    }

    /// The client has another secret, which finAPI has accepted.
    pub(super) fn on_client_secret(&self, client_secret: &ClientSecret) {
        self.passwords.rotate(client_secret);
        *self.client_refused() = None;
    }

    /// They are all of a version of finAPI that the client is no longer bound to.
    pub fn forget_all(&self) {
        for (_, user) in self.users().iter_mut() {
            user.token = None;
        }
    }

    /// finAPI refused a token with 401, so it is not given again. Whether a query whose token was fetched again so many times should have
    /// it fetched once more.
    pub fn on_refused(&self, user_id: &UserId, token: &SecretString, renewals: u8) -> bool {
        let mut users = self.users();
        let Some(user) = users.get_mut(user_id) else {
            return renewals < RENEWALS_MAX;
        };
        let Some(worked) = user.this(token).map(|token| token.worked) else {
            return renewals < RENEWALS_MAX;
        };
        user.token = None;
        user.is_doubted = true;
        renewals == 0 || worked && renewals < RENEWALS_MAX
    }

    /// Fetches a token of the user, unless one is there. Whoever calls it makes sure that no two run at once for one user.
    ///
    /// # Errors
    ///
    /// What finAPI or the source of credentials answered, or answered before.
    pub async fn fetch(&self, user_id: &UserId, source: &impl Source) -> Result<(), Failure> {
        if self.has(user_id) {
            return Ok(());
        }
        let now = Instant::now();
        let (response, from) = self.renew(user_id, source).await?;
        self.keep(user_id, response, from, now);
        Ok(())
    }

    async fn renew(&self, user_id: &UserId, source: &impl Source) -> Result<(TokenResponse, TokenFrom), Failure> {
        let (refresh_token, mut is_doubted) = self.change(user_id, |user| {
            let refresh_token = user.token.take().and_then(|token| token.refresh_token);
            (refresh_token, std::mem::take(&mut user.is_doubted))
        });
        if let Some(refresh_token) = refresh_token {
            let grant = GrantRequest::RefreshToken(refresh_token.clone());
            match self.grant(user_id, source, grant).await {
                Ok(response) => {
                    let refresh_token = response.refresh_token.or(Some(refresh_token));
                    let response = TokenResponse {
                        refresh_token,
                        ..response
                    };
                    return Ok((response, TokenFrom::RefreshToken));
                }
                // Whatever finAPI has against a refresh token, the password shows more.
                Err(none) if none.denial.ends_refresh_token() => is_doubted |= none.denial != Denial::Broken,
                // It was not tried, or may be what is in the way: the next time the password is used.
                Err(none) => {
                    if none.denial == Denial::NotSent {
                        self.change(user_id, |user| user.token = Some(Token::ended(refresh_token)));
                    }
                    return Err(none.failure);
                }
            }
        }
        match source.secret(user_id).await? {
            Secret::Token { value, expires_in } => {
                let response = TokenResponse {
                    access_token: value,
                    refresh_token: None,
                    expires_in,
                };
                Ok((response, TokenFrom::Service))
            }
            Secret::Password(password) => {
                let response = self.try_password(user_id, source, password, is_doubted).await?;
                Ok((response, TokenFrom::Password))
            }
        }
    }

    /// Sends a password, unless finAPI refused it before, here or to another worker.
    async fn try_password(
        &self,
        user_id: &UserId,
        source: &impl Source,
        password: SecretString,
        is_doubted: bool,
    ) -> Result<TokenResponse, Failure> {
        let turn = self.passwords.turn(user_id, &password, is_doubted).await;
        let turn = turn.map_err(|none| {
            if let NoTurn::Refused(_) = none {
                self.metrics.password_kept();
            }
            not_sent(none)
        })?;
        let granted = self.grant(user_id, source, GrantRequest::Password(password)).await;
        turn.end(match &granted {
            Ok(_) => SendEnd::Judged(Judgement::Granted),
            Err(none) => none.denial.of_password(),
        });
        granted.map_err(|none| none.failure)
    }

    /// Asks finAPI for a token, unless it refused the client itself within the last minute.
    async fn grant(
        &self,
        user_id: &UserId,
        source: &impl Source,
        grant: GrantRequest,
    ) -> Result<TokenResponse, NoGrant> {
        if let Some((until, failure)) = &*self.client_refused()
            && Instant::now() < *until
        {
            return Err(NoGrant {
                denial: Denial::Client,
                failure: failure.clone(),
            });
        }
        // Of a refresh token a 401 may also say that it has ended.
        let is_password = matches!(grant, GrantRequest::Password(_));
        let granted = source.grant(user_id, grant).await;
        if let Err(none) = &granted
            && is_password
            && none.denial == Denial::Client
        {
            *self.client_refused() = Some((Instant::now() + CLIENT_REFUSED_FOR, none.failure.clone()));
        }
        granted
    }

    fn client_refused(&self) -> MutexGuard<'_, Option<(Instant, Failure)>> {
        self.client_refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, user_id: &UserId, response: TokenResponse, from: TokenFrom, now: Instant) {
        let good_until = response
            .expires_in
            .map(|lifetime| now + lifetime - MARGIN.min(lifetime / 10));
        let token = Token {
            value: response.access_token,
            refresh_token: response.refresh_token,
            good_until,
            worked: false,
        };
        self.metrics.token(from);
        self.change(user_id, |user| {
            user.token = Some(token);
        });
    }

    fn change<T>(&self, user_id: &UserId, change: impl FnOnce(&mut User) -> T) -> T {
        change(self.users().get_or_insert_mut(user_id.clone(), User::default))
    }

    fn users(&self) -> MutexGuard<'_, LruCache<UserId, User>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User {
    fn good_token(&self, now: Instant) -> Option<&Token> {
        let token = self.token.as_ref();
        token.filter(|token| token.good_until.is_none_or(|until| now < until))
    }

    /// Its token, if it is this one.
    fn this(&mut self, value: &SecretString) -> Option<&mut Token> {
        self.token.as_mut().filter(|token| same(&token.value, value))
    }
}

impl Token {
    /// Only its refresh token is of use.
    fn ended(refresh_token: SecretString) -> Self {
        Self {
            value: SecretString::default(),
            refresh_token: Some(refresh_token),
            good_until: Some(Instant::now()),
            worked: false,
        }
    }
}

/// What a password that is not sent means for a refresh.
fn not_sent(none: NoTurn) -> Failure {
    let NoTurn::Refused(Refused { judgement, until }) = none else {
        return Failure::new(
            FailureClass::Unavailable,
            "another worker is trying the user's password",
        );
    };
    let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
    let (class, message) = match judgement {
        Judgement::Wrong => (FailureClass::UserUnauthorized, "finAPI refused this password before"),
        Judgement::Forbidden => (
            FailureClass::UserUnauthorized,
            "finAPI gave the user no token (403) less than 15 minutes ago",
        ),
        Judgement::Locked => (
            FailureClass::UserLocked,
            "finAPI has locked the user until it has another password",
        ),
        Judgement::Granted | Judgement::Doubtful | Judgement::DoubtfulAgain => (
            FailureClass::RateLimited(wait),
            "something else than finAPI refused the password twice, so it waits",
        ),
    };
    Failure::new(class, message)
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests;
