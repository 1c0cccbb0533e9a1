//! Which tokens are kept, and what is not asked for again.

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

    async fn grant(&self, user_id: &UserId, grant: GrantRequest) -> Result<TokenResponse, NoGrant> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let number = self.grants.fetch_add(1, Ordering::Relaxed);
        let refused = |denial, class| {
            let failure = Failure::new(class, "refused");
            Err(NoGrant { denial, failure })
        };
        if user_id.as_str() == "locked" {
            return refused(Denial::Locked, FailureClass::UserLocked);
        }
        match grant {
            GrantRequest::Password(password) if password.expose_secret() == "wrong" => {
                return refused(Denial::Wrong, FailureClass::UserUnauthorized);
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
    let secret = "secret".parse().expect("a secret");
    let passwords = Passwords::new(&secret, None, Duration::from_millis(100));
    let users_max = NonZeroUsize::new(2).expect("not zero");
    Tokens::new(users_max, passwords, FinApiMetrics::default())
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
async fn a_locked_user_is_left_alone_until_its_password_is_another_one() {
    let (tokens, source) = (tokens(), Counting::default());
    for _ in 0..3 {
        let failure = tokens.fetch(&user("locked"), &source).await.expect_err("locked");
        assert_eq!(failure.class, FailureClass::UserLocked);
        tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    }
    assert_eq!(source.grants.load(Ordering::Relaxed), 1);
    *source.password.lock().expect("the password") = "new".into();
    assert!(tokens.fetch(&user("locked"), &source).await.is_err());
    assert_eq!(source.grants.load(Ordering::Relaxed), 2);
}
