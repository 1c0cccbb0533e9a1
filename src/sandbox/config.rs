//! The sandbox's settings.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, FaultKind};
use super::script::Script;

/// The settings. All have defaults; an unknown one is an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// The time it is when the sandbox is made; the wall clock's when not given. From then on time runs as
    /// `tokio::time` does.
    pub start: Option<Timestamp>,
    /// Where all randomness comes from.
    pub seed: u64,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The version of Access that the client is bound to. Calls of the other one are answered with 403.
    pub api_version: ApiVersion,
    /// How long an access token lives; zero: for ever.
    #[serde(with = "humantime_serde")]
    pub token_life: Duration,
    /// How many wrong passwords in a row lock a user.
    pub wrong_passwords_max: u32,
    /// How long a web form lives.
    #[serde(with = "humantime_serde")]
    pub web_form_life: Duration,
    /// What a web form's URL starts with; `/webForm/` and a secret follow.
    pub web_form_url: String,
    /// Which names a background update may use.
    pub dialect: Dialect,
    /// The refusal of a background update as invalid names no field.
    pub hides_fields: bool,
    /// Whether a background update must name a `redirectUrl`; which depends on the client's licence.
    pub redirect_url: RedirectUrl,
    /// Takes callback URLs that begin with `http://127.0.0.1` beside those with `https`.
    pub allow_http_callbacks: bool,
    /// Whether the ids of the table in `docs/sandbox.md` pick a behaviour.
    pub ids_pick_behaviour: bool,
    /// What a connection does that has no script and whose id picks none.
    pub default_script: Script,
    /// Users that are not as the others: any other user id exists and its password is `secret-` and the id.
    pub users: Vec<ScriptedUser>,
    /// Connections with a script.
    pub connections: Vec<ScriptedConnection>,
    /// Faults on the way to any connection, met after those of the connection's own script.
    pub faults: Vec<Fault>,
    /// The probability, from 0 to 1, that a call meets one of `random_faults`.
    pub fault_rate: f64,
    /// What random faults are drawn from.
    pub random_faults: Vec<FaultKind>,
}

/// A version of Access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ApiVersion {
    /// `/oauth/token`, `/api/v1/…`: times as `2026-03-09 09:36:15.000`, and each field is there, if only as `null`.
    V1,
    /// `/api/v2/…`: times as `2026-03-09T09:36:15.000+01:00`, and a field without a value is left out.
    #[default]
    V2,
}

impl ApiVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The one that a client is not bound to.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V1 => Self::V2,
            Self::V2 => Self::V1,
        }
    }
}

/// Which names of a background update's fields are known. finAPI's guide and its reference differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `bankConnectionIds`, `importNewAccounts`, `editSavedSettings`.
    Guide,
    /// `bankConnectionId`, `importNewAccountsMode` (and the deprecated `importNewAccounts`), `manageSavedSettings`.
    Reference,
    /// Both, but not both names of one thing in one request.
    #[default]
    Both,
}

/// Whether a `redirectUrl` is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectUrl {
    /// As a client with a licence of its own must.
    Required,
    /// As any other client must not.
    Forbidden,
    /// As you like; finAPI has no such client.
    #[default]
    Optional,
}

/// A user that is not as the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedUser {
    /// The user's id.
    pub user_id: String,
    /// The password, when it is not `secret-` and the id.
    #[serde(default)]
    pub password: Option<String>,
    /// The user is locked: 423.
    #[serde(default)]
    pub locked: bool,
    /// The user is not verified: 403.
    #[serde(default)]
    pub unverified: bool,
}

/// A connection with a script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedConnection {
    /// Whose it is; the first user's who asks for it when not given.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Its id, above zero.
    pub connection_id: i64,
    /// What it does.
    #[serde(default)]
    pub script: Script,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            start: None,
            seed: 0,
            client_id: "sandbox-client".to_owned(),
            client_secret: "sandbox-secret".to_owned(),
            api_version: ApiVersion::default(),
            token_life: Duration::from_secs(3600),
            wrong_passwords_max: 3,
            web_form_life: Duration::from_secs(20 * 60),
            web_form_url: "https://webform-sandbox.finapi.io".to_owned(),
            dialect: Dialect::default(),
            hides_fields: false,
            redirect_url: RedirectUrl::default(),
            allow_http_callbacks: false,
            ids_pick_behaviour: true,
            default_script: Script::default(),
            users: Vec::new(),
            connections: Vec::new(),
            faults: Vec::new(),
            fault_rate: 0.0,
            random_faults: FaultKind::all(),
        }
    }
}

impl SandboxConfig {
    /// Reads the settings from TOML.
    ///
    /// # Errors
    ///
    /// When it is not TOML, or a setting is unknown or has the wrong type; the error names it.
    pub fn from_toml(text: &str) -> Result<Self, config::ConfigError> {
        config::Config::builder()
            .add_source(config::File::from_str(text, config::FileFormat::Toml))
            .build()?
            .try_deserialize()
    }
}
