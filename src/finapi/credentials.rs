//! Where users' credentials come from.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::transport::Transport;
use super::wire::Life;
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};
use crate::secret::{Exposed, HIDDEN, Secret as SecretSetting};
use crate::setting::{Declared, HttpUrl, MINUTE, Section, Value};

/// Where users' credentials come from (section `credentials`). A token in the command goes before any of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "source", rename_all = "lowercase", deny_unknown_fields)]
pub enum Credentials {
    /// Only from the command.
    #[default]
    Command,
    /// A directory with one file per user: its name the user id, its content the password.
    #[expect(missing_docs, reason = "`declare` says what each field means")]
    Directory { directory: PathBuf },
    /// The platform's own service: `GET {url}/{user_id}` answers 200 with `{"password": "…"}` or
    /// `{"access_token": "…", "expires_in": seconds}`, or 404 where it knows no such user.
    #[expect(missing_docs, reason = "`declare` says what each field means")]
    Http {
        url: HttpUrl,
        #[serde(default, deserialize_with = "truth")]
        allow_insecure: bool,
        #[serde(default)]
        bearer: Option<Bearer>,
        #[serde(with = "humantime_serde", default = "timeout")]
        timeout: Duration,
    },
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

/// The environment has texts, and a section that is chosen by one of its settings takes them as they are.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Truth {
        Given(bool),
        Written(String),
    }
    match Truth::deserialize(deserializer)? {
        Truth::Given(truth) => Ok(truth),
        Truth::Written(text) => text.parse().map_err(de::Error::custom),
    }
}

impl Section for Credentials {
    const NAME: &'static str = "credentials";
    const TITLE: &'static str = "where users' passwords come from";
    const NOTE: &'static str = "If a command has a token, the worker uses that token and asks no source.";

    fn declare(&self, list: &mut Declared) {
        list.any(
            "source",
            &Source::of(self),
            "Where the worker finds a user's password or token: only in commands, in a directory, or at a service over HTTP.",
        );
        match self {
            Self::Command => {}
            Self::Directory { directory } => {
                list.any(
                    "directory",
                    directory,
                    "For `directory`: it has one file per user, whose name is the user id and whose content is the password.",
                )
                .required();
            }
            Self::Http {
                url,
                allow_insecure,
                bearer,
                timeout,
            } => {
                list.any(
                    "url",
                    url,
                    "For `http`: `GET {url}/{user_id}` returns `{\"password\": …}` or `{\"access_token\": …, \"expires_in\": seconds}`.",
                )
                .and(
                    url.is_secure(*allow_insecure),
                    "`https`; `http` only on loopback, or with `credentials.allow_insecure`",
                )
                .required();
                list.any(
                    "allow_insecure",
                    allow_insecure,
                    "For `http`: whether the service may have an `http://` URL beyond this machine. If it has, everybody on the network path \
                     can read the passwords.",
                );
                list.any("bearer", bearer, "For `http`: a bearer token for the service.");
                list.within(
                    "timeout",
                    *timeout,
                    Duration::from_millis(100)..=MINUTE,
                    "For `http`: the longest a response may take.",
                );
            }
        }
    }
}

/// The name of a source.
struct Source(&'static str);

impl Source {
    fn of(credentials: &Credentials) -> Self {
        Self(match credentials {
            Credentials::Command => "command",
            Credentials::Directory { .. } => "directory",
            Credentials::Http { .. } => "http",
        })
    }
}

impl Value for Source {
    const KIND: &'static str = "`command`, `directory` or `http`";

    fn show(&self) -> String {
        self.0.to_owned()
    }
}

/// A bearer token that a header can carry.
#[derive(Clone, Debug)]
pub struct Bearer(SecretSetting);

/// A secret that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bearer token can't have line breaks or other control characters")]
pub struct NoToken;

impl TryFrom<SecretSetting> for Bearer {
    type Error = NoToken;

    fn try_from(token: SecretSetting) -> Result<Self, NoToken> {
        header_value(&token.expose()).map(|_| Self(token))
    }
}

impl Bearer {
    /// The token.
    #[must_use]
    pub fn secret(&self) -> &SecretSetting {
        &self.0
    }
}

fn header_value(token: &str) -> Result<HeaderValue, NoToken> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| NoToken)?;
    value.set_sensitive(true);
    Ok(value)
}

impl<'de> Deserialize<'de> for Bearer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token = SecretSetting::deserialize(deserializer)?;
        token.try_into().map_err(de::Error::custom)
    }
}

impl Serialize for Bearer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl Value for Bearer {
    const KIND: &'static str = "secret";

    fn show(&self) -> String {
        HIDDEN.to_owned()
    }
}

/// What a source knows of a user.
#[derive(Clone, Debug)]
pub enum Secret {
    /// The user's password at finAPI.
    Password(SecretString),
    /// An access token of the user.
    Token {
        /// The token.
        value: SecretString,
        /// For how long it is good; none when it never ends.
        expires_in: Option<Duration>,
    },
}

#[derive(Deserialize)]
struct ServiceResponse {
    password: Option<SecretString>,
    access_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Life,
}

/// The most bytes of a credential.
const SECRET_BYTES_MAX: usize = 16 * 1024;

impl Credentials {
    /// A service, with the defaults.
    #[must_use]
    pub fn http(url: HttpUrl) -> Self {
        Self::Http {
            url,
            allow_insecure: false,
            bearer: None,
            timeout: timeout(),
        }
    }

    /// Looks up a user's secret.
    ///
    /// # Errors
    ///
    /// `UserUnauthorized` where there is none, `Unavailable` where the source can't be asked.
    pub async fn secret(&self, user_id: &UserId, transport: &Transport) -> Result<Secret, Failure> {
        match self {
            Self::Command => Err(unauthorized(
                "the command has no access_token, and credentials.source is \"command\"",
            )),
            Self::Directory { directory } => {
                let reading = tokio::time::timeout(timeout(), from_directory(directory, user_id)).await;
                reading.unwrap_or_else(|_| Err(unavailable("credentials.directory could not be read in time")))
            }
            Self::Http {
                url, bearer, timeout, ..
            } => from_service(url, bearer.as_ref(), *timeout, user_id, transport).await,
        }
    }
}

async fn from_directory(directory: &Path, user_id: &UserId) -> Result<Secret, Failure> {
    let user_id = user_id.as_str();
    // A user id is a plain file name or there is no such file.
    if user_id.starts_with('.') || user_id.contains(['/', '\\', '\0']) {
        return Err(unauthorized(
            "the user id can't be the name of a file in credentials.directory",
        ));
    }
    match tokio::fs::read_to_string(directory.join(user_id)).await {
        Ok(password) => {
            let password = password.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                // It would count as a wrong password at finAPI.
                return Err(unauthorized("the user's file in credentials.directory is empty"));
            }
            Ok(Secret::Password(SecretString::from(password)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(unauthorized("credentials.directory has no file for the user"))
        }
        Err(error) => Err(unavailable(&format!(
            "credentials.directory could not be read: {}",
            error.kind()
        ))),
    }
}

async fn from_service(
    url: &HttpUrl,
    bearer: Option<&Bearer>,
    timeout: Duration,
    user_id: &UserId,
    transport: &Transport,
) -> Result<Secret, Failure> {
    let user_id = user_id.as_str();
    let url = url
        .with_segment(user_id)
        .ok_or_else(|| unauthorized("the user id can't be asked for at credentials.url"))?;
    let ask = async |token: Option<&Exposed>| {
        let mut request = Request::new(Method::GET, url.clone());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let bearer = token.and_then(|token| header_value(token).ok());
        headers.extend(bearer.map(|value| (header::AUTHORIZATION, value)));
        let response = transport.send(request, timeout, SECRET_BYTES_MAX).await;
        response.map_err(|error| unavailable(&format!("the credential service: {error}")))
    };
    let secret = bearer.map(Bearer::secret);
    let token = secret.map(SecretSetting::expose);
    let mut response = ask(token.as_ref()).await?;
    if let (Some(secret), Some(token)) = (secret, token) {
        match response.status {
            StatusCode::OK => secret.has_worked(token.as_bytes()),
            // After a rotation the service may not know the new one yet.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if let Some(previous) = secret.expose_previous() {
                    response = ask(Some(&previous)).await?;
                }
            }
            _ => {}
        }
    }
    match response.status {
        StatusCode::OK => understand(&response.body),
        StatusCode::NOT_FOUND => Err(unauthorized("the credential service knows no such user")),
        status => Err(unavailable(&format!(
            "the credential service answered {}",
            status.as_u16()
        ))),
    }
}

pub(super) fn understand(body: &[u8]) -> Result<Secret, Failure> {
    let strange = || unavailable("the credential service answered neither a password nor an access_token");
    let response: ServiceResponse = serde_json::from_slice(body).map_err(|_| strange())?;
    match (response.access_token, response.password) {
        (Some(value), _) => Ok(Secret::Token {
            value,
            expires_in: response.expires_in.0,
        }),
        (None, Some(password)) => Ok(Secret::Password(password)),
        (None, None) => Err(strange()),
    }
}

fn unauthorized(message: &str) -> Failure {
    Failure::new(FailureClass::UserUnauthorized, message)
}

fn unavailable(message: &str) -> Failure {
    Failure::new(FailureClass::Unavailable, message)
}
