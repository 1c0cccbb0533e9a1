//! Users' access tokens: kept until shortly before they end, and not requested again after finAPI refused for good.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::credentials::Secret;
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};
use crate::telemetry::metrics::{FinApiMetrics, TokenFrom};

/// A token is not used any more so shortly before its end, or in the last tenth of a short lifetime.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a user that finAPI refused is left alone: a locked one, an unverified one.
const REFUSED_FOR: Duration = Duration::from_secs(15 * 60);

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
    ) -> impl Future<Output = Result<TokenResponse, Failure>> + Send;
}

/// How often one query may have its token fetched again. A token that finAPI refuses at once is refused for good.
pub const RENEWALS_MAX: u8 = 3;

/// The tokens of the users that were seen last.
#[derive(Debug)]
pub struct Tokens {
    users: Mutex<LruCache<UserId, User>>,
    metrics: FinApiMetrics,
}

#[derive(Debug, Default)]
struct User {
    token: Option<Token>,
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Token {
    value: SecretString,
    refresh_token: Option<SecretString>,
    good_until: Option<Instant>,
    /// finAPI has accepted it.
    worked: bool,
}

#[derive(Clone, Debug)]
struct Refused {
    failure: Failure,
    /// The password that was wrong: another one may be tried at once.
    password: Option<SecretString>,
    until: Instant,
}

impl Tokens {
    /// Remembers at most so many users.
    #[must_use]
    pub fn new(users_max: NonZeroUsize, metrics: FinApiMetrics) -> Self {
        Self {
            users: Mutex::new(LruCache::new(users_max)),
            metrics,
        }
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
        let (response, from) = self.renew(user_id, source, now).await?;
        self.keep(user_id, response, from, now);
        Ok(())
    }

    async fn renew(
        &self,
        user_id: &UserId,
        source: &impl Source,
        now: Instant,
    ) -> Result<(TokenResponse, TokenFrom), Failure> {
        let refresh_token = self.change(user_id, |user| user.token.take().and_then(|token| token.refresh_token));
        if let Some(refresh_token) = refresh_token {
            match source.grant(user_id, GrantRequest::RefreshToken(refresh_token)).await {
                Ok(response) => return Ok((response, TokenFrom::RefreshToken)),
                // A refresh token that has ended is no reason to fail: the password may still do.
                Err(failure) if failure.class == FailureClass::UserUnauthorized => {}
                Err(failure) => return Err(failure),
            }
        }
        let refused = self.change(user_id, |user| {
            drop(user.refused.take_if(|refused| now >= refused.until));
            user.refused.clone()
        });
        if let Some(refused) = &refused
            && refused.password.is_none()
        {
            return Err(refused.failure.clone());
        }
        let password = match source.secret(user_id).await? {
            Secret::Token { value, expires_in } => {
                let response = TokenResponse {
                    access_token: value,
                    refresh_token: None,
                    expires_in,
                };
                return Ok((response, TokenFrom::Service));
            }
            Secret::Password(password) => password,
        };
        if let Some(refused) = refused
            && refused.password.is_some_and(|wrong| same(&wrong, &password))
        {
            return Err(refused.failure);
        }
        match source.grant(user_id, GrantRequest::Password(password.clone())).await {
            Ok(response) => Ok((response, TokenFrom::Password)),
            Err(failure) => {
                let refused = remembered(&failure, password, now);
                self.change(user_id, |user| user.refused = refused);
                Err(failure)
            }
        }
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
            user.refused = None;
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

/// What not to ask again. A wrong password stays wrong until it is another one: finAPI locks who tries it too often.
fn remembered(failure: &Failure, password: SecretString, now: Instant) -> Option<Refused> {
    let password = match (failure.class, failure.code.as_deref()) {
        (FailureClass::UserUnauthorized, _) => Some(password),
        (FailureClass::UserLocked, _) => None,
        _ => return None,
    };
    let until = match password {
        Some(_) => now + 96 * REFUSED_FOR,
        None => now + REFUSED_FOR,
    };
    Some(Refused {
        failure: failure.clone(),
        password,
        until,
    })
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts what it is asked, and refuses the password "wrong" and the user "locked".
    #[derive(Default)]
    struct Counting {
        password: Mutex<String>,
        grants: AtomicU32,
        refreshes: AtomicU32,
    }

    impl Source for Counting {
        async fn secret(&self, _: &UserId) -> Result<Secret, Failure> {
            let password = self.password.lock().expect("the password").clone();
            Ok(Secret::Password(SecretString::from(password)))
        }

        async fn grant(&self, user_id: &UserId, grant: GrantRequest) -> Result<TokenResponse, Failure> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let number = self.grants.fetch_add(1, Ordering::Relaxed);
            if user_id.as_str() == "locked" {
                return Err(Failure::new(FailureClass::UserLocked, "locked"));
            }
            match grant {
                GrantRequest::Password(password) if password.expose_secret() == "wrong" => {
                    return Err(Failure::new(FailureClass::UserUnauthorized, "wrong"));
                }
                GrantRequest::Password(_) => {}
                GrantRequest::RefreshToken(_) => {
                    self.refreshes.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(TokenResponse {
                access_token: SecretString::from(format!("token-{number}")),
                refresh_token: Some(SecretString::from("refresh")),
                expires_in: Some(Duration::from_secs(3600)),
            })
        }
    }

    fn user(id: &str) -> UserId {
        id.parse().expect("a user's id")
    }

    fn tokens() -> Tokens {
        Tokens::new(NonZeroUsize::new(2).expect("not zero"), FinApiMetrics::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_with_the_refresh_token() {
        let (tokens, source) = (tokens(), Counting::default());
        tokens.fetch(&user("anna"), &source).await.expect("a token");
        tokio::time::advance(Duration::from_secs(3530)).await;
        assert!(tokens.has(&user("anna")));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(!tokens.has(&user("anna")));
        tokens.fetch(&user("anna"), &source).await.expect("the next token");
        assert_eq!(source.refreshes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_fetched_again_as_often_as_it_helps() {
        let (tokens, source) = (tokens(), Counting::default());
        for renewals in 0..=RENEWALS_MAX {
            tokens.fetch(&user("anna"), &source).await.expect("a token");
            let token = tokens.get(&user("anna")).expect("a token");
            tokens.on_accepted(&user("anna"), &token);
            assert_eq!(
                tokens.on_refused(&user("anna"), &token, renewals),
                renewals < RENEWALS_MAX
            );
            assert!(!tokens.has(&user("anna")));
        }
        tokens.fetch(&user("anna"), &source).await.expect("a token");
        let token = tokens.get(&user("anna")).expect("a token");
        assert!(!tokens.on_refused(&user("anna"), &token, 1), "it never worked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_tried_once_and_another_one_at_once() {
        let (tokens, source) = (tokens(), Counting::default());
        *source.password.lock().expect("the password") = "wrong".into();
        for _ in 0..3 {
            assert!(tokens.fetch(&user("anna"), &source).await.is_err());
        }
        assert_eq!(source.grants.load(Ordering::Relaxed), 1);
        *source.password.lock().expect("the password") = "right".into();
        assert!(tokens.fetch(&user("anna"), &source).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_user_is_left_alone_for_a_while() {
        let (tokens, source) = (tokens(), Counting::default());
        for _ in 0..3 {
            assert!(tokens.fetch(&user("locked"), &source).await.is_err());
        }
        assert_eq!(source.grants.load(Ordering::Relaxed), 1);
        tokio::time::advance(REFUSED_FOR).await;
        assert!(tokens.fetch(&user("locked"), &source).await.is_err());
        assert_eq!(source.grants.load(Ordering::Relaxed), 2);
    }
}
