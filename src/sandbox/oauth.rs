//! The token endpoint, who a bearer token stands for, and the client's own configuration.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::call::{Call, Reply};
use super::clock::later;
use super::endpoint::Endpoint;
use super::params::Params;
use super::refusal::Refusal;
use super::state::{State, secret};

/// What an access token stands for.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// None: the client itself.
    user: Option<Arc<str>>,
    /// None: never.
    expires: Option<Timestamp>,
}

#[derive(Serialize)]
struct Token<'a> {
    access_token: &'a str,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    expires_in: i64,
    scope: &'static str,
}

impl Grant {
    /// None: it is the client's own.
    pub(super) fn user(&self) -> Option<Arc<str>> {
        self.user.clone()
    }
}

impl State {
    /// The user a token is asked for, if this call asks for one.
    pub(super) fn asks_for_token(&self, call: &Call) -> Option<Arc<str>> {
        if call.endpoint != Endpoint::Token {
            return None;
        }
        let given = |name: &str| {
            let mut fields = url::form_urlencoded::parse(&call.body);
            fields.find(|(key, _)| key == name).map(|(_, value)| value)
        };
        match given("username") {
            Some(user) => Some(Arc::from(&*user)),
            None => self.refresh_tokens.get(&*given("refresh_token")?).cloned(),
        }
    }

    /// The user whose token a call carries.
    pub(super) fn authorize(&self, call: &Call) -> Result<Arc<str>, Refusal> {
        let grant = self.living(call).ok_or(Refusal::DeadToken)?;
        let user = grant.user.clone();
        user.ok_or_else(|| Refusal::forbidden("This needs a user's access token."))
    }

    /// `GET /api/v2/clientConfiguration`, which is for the client's own token.
    pub(super) fn show_client(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        self.authorize_client(call)?;
        self.faults(call, None)?;
        Ok(self.client())
    }

    /// `PATCH /api/v2/clientConfiguration`: only the URL for notifications can be changed here.
    pub(super) fn change_client(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        self.authorize_client(call)?;
        self.notifications.set_url(&call.body)?;
        Ok(self.client())
    }

    fn authorize_client(&mut self, call: &Call) -> Result<(), Refusal> {
        if self.authorize(call).is_ok() {
            return Err(Refusal::forbidden("This needs the client's access token."));
        }
        self.living(call).map(|_| ()).ok_or(Refusal::DeadToken)
    }

    fn client(&self) -> Reply {
        Reply::ok(&serde_json::json!({
            "isAutomaticBatchUpdateEnabled": true,
            "userNotificationCallbackUrl": self.notifications.url(),
            "mandatorLicense": "UNLICENSED",
            "maxUserLoginAttempts": self.config.wrong_passwords_max,
        }))
    }

    fn living(&self, call: &Call) -> Option<&Grant> {
        let grant = call.bearer.as_ref().and_then(|token| self.grants.get(token));
        grant.filter(|grant| grant.expires.is_none_or(|at| self.now < at))
    }

    pub(super) fn token(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        self.faults(call, None)?;
        call.check_content_type("application/x-www-form-urlencoded")?;
        let mut given = Params::read(&call.body, &[]);
        let grant_type = given.required("grant_type");
        let own: &[&str] = match grant_type.as_str() {
            "password" => &["username", "password"],
            "client_credentials" => &[],
            "refresh_token" => &["refresh_token"],
            _ => {
                return Err(oauth(400, "unsupported_grant_type", "Unsupported grant type"));
            }
        };
        let known = [&["grant_type", "client_id", "client_secret"], own].concat();
        let mut given = Params::read(&call.body, &known);
        self.check_client(&mut given)?;
        let values: Vec<_> = own.iter().map(|name| given.required(name)).collect();
        given.done()?;
        match values.as_slice() {
            [username, password] => self.user_token(username, password),
            [refresh_token] => self.refreshed_token(refresh_token),
            _ => self.client_token(),
        }
    }

    fn check_client(&self, given: &mut Params) -> Result<(), Refusal> {
        let id = given.optional("client_id");
        let secret = given.optional("client_secret");
        let (Some(id), Some(secret)) = (id, secret) else {
            return Err(oauth(401, "invalid_client", "Missing client credentials"));
        };
        if id == self.config.client_id && secret == self.config.client_secret {
            return Ok(());
        }
        Err(oauth(401, "invalid_client", "Bad client credentials"))
    }

    /// The right password of a user.
    pub(super) fn password(&mut self, user_id: &str) -> String {
        let scripted = self.user(&Arc::from(user_id)).scripted.clone().unwrap_or_default();
        scripted.password.unwrap_or_else(|| format!("secret-{user_id}"))
    }

    fn user_token(&mut self, user_id: &str, password: &str) -> Result<Reply, Refusal> {
        let id: Arc<str> = Arc::from(user_id);
        let wrong_passwords_max = self.config.wrong_passwords_max;
        let user = self.user(&id);
        let scripted = user.scripted.clone().unwrap_or_default();
        if scripted.locked || user.wrong_passwords >= wrong_passwords_max {
            return Err(Refusal::new(423, "LOCKED", "User is locked"));
        }
        if scripted.password.unwrap_or_else(|| format!("secret-{user_id}")) != password {
            user.wrong_passwords += 1;
            return Err(Refusal::new(400, "BAD_REQUEST", "Wrong user id or password"));
        }
        if scripted.unverified {
            return Err(Refusal::new(403, "USER_NOT_VERIFIED", "User is not verified"));
        }
        user.wrong_passwords = 0;
        Ok(self.token_of(&id))
    }

    fn refreshed_token(&mut self, refresh_token: &str) -> Result<Reply, Refusal> {
        let user = self.refresh_tokens.get(refresh_token).cloned();
        let user = user.ok_or_else(|| Refusal::new(400, "BAD_REQUEST", "Invalid refresh token"))?;
        Ok(self.token_of(&user))
    }

    fn token_of(&mut self, id: &Arc<str>) -> Reply {
        let user = self.user(id);
        user.token_responses += 1;
        let (old, refresh) = (user.access_token.clone(), user.refresh_token.clone());
        let (token, made) = self.living_or_new(old, Some(id));
        let refresh = refresh.unwrap_or_else(|| secret(&mut self.random.next(&format!("refresh-token/{id}"))));
        self.refresh_tokens.insert(refresh.clone(), Arc::clone(id));
        let user = self.user(id);
        user.tokens_made += u64::from(made);
        user.access_token = Some(token.clone());
        user.refresh_token = Some(refresh.clone());
        self.token_reply(&token, Some(&refresh))
    }

    fn client_token(&mut self) -> Result<Reply, Refusal> {
        let (token, _) = self.living_or_new(self.client_token.clone(), None);
        self.client_token = Some(token.clone());
        Ok(self.token_reply(&token, None))
    }

    /// The same token as long as it lives. In its last second it would be said to live for 0 seconds, which means for ever.
    fn living_or_new(&mut self, old: Option<String>, user: Option<&Arc<str>>) -> (String, bool) {
        if let Some(old) = old {
            if self.grants.contains_key(&old) && self.lives_for(&old) != Some(0) {
                return (old, false);
            }
            self.grants.remove(&old);
        }
        let stream = user.map_or_else(|| "client-token".to_owned(), |user| format!("token/{user}"));
        let token = secret(&mut self.random.next(&stream));
        let life = self.config.token_life;
        let expires = (!life.is_zero()).then(|| later(self.now, life));
        let grant = Grant {
            user: user.cloned(),
            expires,
        };
        self.grants.insert(token.clone(), grant);
        (token, true)
    }

    /// Whole seconds; none: for ever.
    fn lives_for(&self, token: &str) -> Option<i64> {
        let expires = self.grants.get(token)?.expires?;
        Some(expires.duration_since(self.now).as_secs().max(0))
    }

    fn token_reply(&self, access_token: &str, refresh_token: Option<&str>) -> Reply {
        Reply::ok(&Token {
            access_token,
            token_type: "bearer",
            refresh_token,
            expires_in: self.lives_for(access_token).unwrap_or(0),
            scope: "all",
        })
    }
}

fn oauth(status: u16, error: &str, description: &str) -> Refusal {
    Refusal::new(status, error, description)
}
