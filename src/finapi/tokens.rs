//! Users' access tokens: fetched once however many refreshes ask, kept until shortly before they end, and not asked for
//! again where finAPI refused for good.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::credentials::Secret;
use crate::refresh::failure::{Failure, FailureKind};
use crate::telemetry::metrics::{FinApiMetrics, TokenFrom};

/// A token is not used any more so shortly before its end, or in the last tenth of a short life.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a user that finAPI refused is left alone: a locked one, an unverified one.
const REFUSED_FOR: Duration = Duration::from_secs(15 * 60);

/// What `POST /oauth/token` gave.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The access token.
    pub access_token: SecretString,
    /// A token to get the next one with.
    pub refresh_token: Option<SecretString>,
    /// For how long the access token is good; none when it never ends.
    pub expires_in: Option<Duration>,
}

/// How a token is asked for.
#[derive(Clone, Debug)]
pub enum Grant {
    /// With the user's password.
    Password(SecretString),
    /// With a refresh token.
    RefreshToken(SecretString),
}

/// Gets what [`Tokens`] has not.
pub trait Source {
    /// The user's secret from the operator's source of credentials.
    fn secret(&self, user_id: &str) -> impl Future<Output = Result<Secret, Failure>> + Send;
    /// A token from finAPI.
    fn grant(&self, user_id: &str, grant: Grant) -> impl Future<Output = Result<Granted, Failure>> + Send;
}

/// The tokens of the users that were seen last.
#[derive(Debug)]
pub struct Tokens {
    users: StdMutex<LruCache<String, Arc<Mutex<User>>>>,
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
}

#[derive(Debug)]
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
            users: StdMutex::new(LruCache::new(users_max)),
            metrics,
        }
    }

    /// A token of the user. `dead` is one that finAPI refused with 401, and is not given again.
    ///
    /// # Errors
    ///
    /// What finAPI or the source of credentials answered, or answered before.
    pub async fn get(
        &self,
        user_id: &str,
        dead: Option<&SecretString>,
        source: &impl Source,
    ) -> Result<SecretString, Failure> {
        let user = self.user(user_id);
        // Whoever comes meanwhile waits here and finds the token.
        let mut user = user.lock().await;
        if let Some(dead) = dead
            && user.token.as_ref().is_some_and(|token| same(&token.value, dead))
        {
            user.token = None;
        }
        let now = Instant::now();
        if let Some(token) = &user.token
            && token.good_until.is_none_or(|until| now < until)
        {
            self.metrics.token(TokenFrom::Memory);
            return Ok(token.value.clone());
        }
        // Rare and large, so it takes its room only when it is needed.
        let (token, from) = Box::pin(user.renew(user_id, source, now)).await?;
        self.metrics.token(from);
        Ok(token)
    }

    fn user(&self, user_id: &str) -> Arc<Mutex<User>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(users.get_or_insert_mut(user_id.to_owned(), Arc::default))
    }
}

impl User {
    async fn renew(
        &mut self,
        user_id: &str,
        source: &impl Source,
        now: Instant,
    ) -> Result<(SecretString, TokenFrom), Failure> {
        let refresh_token = self.token.take().and_then(|token| token.refresh_token);
        if let Some(refresh_token) = refresh_token {
            match source.grant(user_id, Grant::RefreshToken(refresh_token)).await {
                Ok(granted) => return Ok((self.keep(granted, now), TokenFrom::RefreshToken)),
                // A refresh token that has ended is no reason to fail: the password may still do.
                Err(failure) if failure.kind == FailureKind::UserUnauthorized => {}
                Err(failure) => return Err(failure),
            }
        }
        self.fetch(user_id, source, now).await
    }

    async fn fetch(
        &mut self,
        user_id: &str,
        source: &impl Source,
        now: Instant,
    ) -> Result<(SecretString, TokenFrom), Failure> {
        let refused = self.refused.take_if(|refused| now >= refused.until);
        drop(refused);
        if let Some(refused) = &self.refused
            && refused.password.is_none()
        {
            return Err(refused.failure.clone());
        }
        let password = match source.secret(user_id).await? {
            Secret::Token { value, expires_in } => {
                let granted = Granted {
                    access_token: value,
                    refresh_token: None,
                    expires_in,
                };
                return Ok((self.keep(granted, now), TokenFrom::Service));
            }
            Secret::Password(password) => password,
        };
        if let Some(refused) = &self.refused
            && refused.password.as_ref().is_some_and(|wrong| same(wrong, &password))
        {
            return Err(refused.failure.clone());
        }
        match source.grant(user_id, Grant::Password(password.clone())).await {
            Ok(granted) => Ok((self.keep(granted, now), TokenFrom::Password)),
            Err(failure) => {
                self.refused = remembered(&failure, password, now);
                Err(failure)
            }
        }
    }

    fn keep(&mut self, granted: Granted, now: Instant) -> SecretString {
        self.refused = None;
        let good_until = granted.expires_in.map(|life| now + life - MARGIN.min(life / 10));
        self.token = Some(Token {
            value: granted.access_token.clone(),
            refresh_token: granted.refresh_token,
            good_until,
        });
        granted.access_token
    }
}

/// What not to ask again. A wrong password stays wrong until it is another one: finAPI locks who tries it too often.
fn remembered(failure: &Failure, password: SecretString, now: Instant) -> Option<Refused> {
    let password = match (failure.kind, failure.code.as_deref()) {
        (FailureKind::UserUnauthorized, _) => Some(password),
        (FailureKind::UserLocked, _) => None,
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
        password: StdMutex<String>,
        grants: AtomicU32,
        refreshes: AtomicU32,
    }

    impl Source for Counting {
        async fn secret(&self, _: &str) -> Result<Secret, Failure> {
            let password = self.password.lock().expect("the password").clone();
            Ok(Secret::Password(SecretString::from(password)))
        }

        async fn grant(&self, user_id: &str, grant: Grant) -> Result<Granted, Failure> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let number = self.grants.fetch_add(1, Ordering::Relaxed);
            if user_id == "locked" {
                return Err(Failure::new(FailureKind::UserLocked, "locked"));
            }
            match grant {
                Grant::Password(password) if password.expose_secret() == "wrong" => {
                    return Err(Failure::new(FailureKind::UserUnauthorized, "wrong"));
                }
                Grant::Password(_) => {}
                Grant::RefreshToken(_) => {
                    self.refreshes.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Granted {
                access_token: SecretString::from(format!("token-{number}")),
                refresh_token: Some(SecretString::from("refresh")),
                expires_in: Some(Duration::from_secs(3600)),
            })
        }
    }

    fn tokens() -> Tokens {
        Tokens::new(NonZeroUsize::new(2).expect("not zero"), FinApiMetrics::default())
    }

    #[tokio::test(start_paused = true)]
    async fn many_refreshes_of_a_user_cost_one_request() {
        let (tokens, source) = (tokens(), Counting::default());
        let asked = (0..50).map(|_| tokens.get("anna", None, &source));
        let got = futures_util::future::join_all(asked).await;
        assert!(
            got.iter()
                .all(|token| token.as_ref().is_ok_and(|t| t.expose_secret() == "token-0"))
        );
        assert_eq!(source.grants.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_with_the_refresh_token() {
        let (tokens, source) = (tokens(), Counting::default());
        tokens.get("anna", None, &source).await.expect("a token");
        tokio::time::advance(Duration::from_secs(3530)).await;
        tokens.get("anna", None, &source).await.expect("the same token");
        assert_eq!(source.grants.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_secs(11)).await;
        tokens.get("anna", None, &source).await.expect("the next token");
        assert_eq!(source.refreshes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_token_costs_one_new_one() {
        let (tokens, source) = (tokens(), Counting::default());
        let dead = tokens.get("anna", None, &source).await.expect("a token");
        let again = (0..5).map(|_| tokens.get("anna", Some(&dead), &source));
        for token in futures_util::future::join_all(again).await {
            assert_eq!(token.expect("a token").expose_secret(), "token-1");
        }
        assert_eq!(source.grants.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_tried_once_and_another_one_at_once() {
        let (tokens, source) = (tokens(), Counting::default());
        *source.password.lock().expect("the password") = "wrong".into();
        for _ in 0..3 {
            assert!(tokens.get("anna", None, &source).await.is_err());
        }
        assert_eq!(source.grants.load(Ordering::Relaxed), 1);
        *source.password.lock().expect("the password") = "right".into();
        assert!(tokens.get("anna", None, &source).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_user_is_left_alone_for_a_while() {
        let (tokens, source) = (tokens(), Counting::default());
        for _ in 0..3 {
            assert!(tokens.get("locked", None, &source).await.is_err());
        }
        assert_eq!(source.grants.load(Ordering::Relaxed), 1);
        tokio::time::advance(REFUSED_FOR).await;
        assert!(tokens.get("locked", None, &source).await.is_err());
        assert_eq!(source.grants.load(Ordering::Relaxed), 2);
    }
}
