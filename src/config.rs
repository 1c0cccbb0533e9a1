//! The settings of all sections: loads them from a TOML file and from the environment, which wins, checks and prints them.
//!
//! `BANKREFRESH__<SECTION>__<KEY>` sets one key, `BANKREFRESH__<SECTION>__<KEY>_FILE` reads it from a file. What each section may hold is
//! declared with its module, see [`Section`].

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod reference;
mod sources;
#[cfg(test)]
mod tests;

use std::path::Path;

use ::config::{Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

use crate::broker::rabbit;
use crate::finapi::{self, breaker, credentials::Credentials};
use crate::refresh::event::Transactions;
use crate::refresh::schedule::{Polling, Retry};
use crate::refresh::{Limits, Policy};
use crate::setting::{Declared, NotAllowed, Section, Setting};
use crate::{admin, callbacks, console, telemetry, worker};

/// Every setting. A section that is left out has its defaults, apart from `finapi`, which has none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each section says what it is about")]
pub struct Config<FinApi = Option<finapi::Settings>> {
    pub amqp: rabbit::Settings,
    pub finapi: FinApi,
    pub credentials: Credentials,
    pub worker: worker::Settings,
    pub polling: Polling,
    pub retry: Retry,
    pub limits: Limits,
    pub breaker: breaker::Settings,
    pub callbacks: callbacks::Settings,
    pub events: Transactions,
    pub admin: admin::Settings,
    pub console: console::Settings,
    pub telemetry: telemetry::Settings,
}

/// The settings of a command that asks finAPI.
pub type WithFinApi = Config<finapi::Settings>;

/// Why the settings can't be used. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file can't be read.
    #[error("{0}")]
    File(String),
    /// A setting is unknown, missing or of another type.
    #[error("{0}")]
    Type(String),
    /// A setting is out of bounds.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// A file named by the environment can't be read.
    #[error("{variable} names a file that cannot be read: {error}")]
    SecretFile {
        /// The environment variable.
        variable: String,
        /// Why.
        error: std::io::Error,
    },
    /// The section `finapi` is left out, and the command asks finAPI.
    #[error("a worker needs finapi.access_url, finapi.web_form_url, finapi.client_id and finapi.client_secret")]
    NoFinApi,
}

/// An error of the library `config`, which names the setting last.
fn setting_first(error: &str) -> String {
    let parts = error.rsplit_once(" for key `");
    let named = parts.and_then(|(what, name)| Some(format!("{}: {what}", name.strip_suffix('`')?)));
    named.unwrap_or_else(|| error.to_owned())
}

impl Config {
    /// Reads the settings from a file, if one is given, and from environment variables.
    ///
    /// # Errors
    ///
    /// Names the setting, what it is and what is allowed.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = file.map(sources::text).transpose()?;
        Self::read(text.as_deref(), environment)
    }

    /// Reads the settings from TOML, if any is given, and from environment variables.
    fn read(text: Option<&str>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut builder = ::config::Config::builder();
        if let Some(text) = text {
            builder = builder.add_source(File::from_str(text, FileFormat::Toml));
        }
        let variables = sources::variables(environment)?;
        let environment = Environment::default().separator("__").source(Some(variables));
        let config: Self = builder
            .add_source(environment)
            .build()
            .and_then(::config::Config::try_deserialize)
            .map_err(|error| ConfigError::Type(setting_first(&error.to_string())))?;
        for setting in config.sections().iter().flat_map(|section| &section.settings) {
            setting.check()?;
        }
        Ok(config)
    }

    /// The same for a command that asks finAPI.
    ///
    /// # Errors
    ///
    /// As there, and when the section `finapi` is left out.
    pub fn load_with_finapi(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<WithFinApi, ConfigError> {
        let config = Self::load(file, environment)?;
        Ok(Config {
            finapi: config.finapi.ok_or(ConfigError::NoFinApi)?,
            amqp: config.amqp,
            credentials: config.credentials,
            worker: config.worker,
            polling: config.polling,
            retry: config.retry,
            limits: config.limits,
            breaker: config.breaker,
            callbacks: config.callbacks,
            events: config.events,
            admin: config.admin,
            console: config.console,
            telemetry: config.telemetry,
        })
    }

    /// Every section with its settings, in the order of the reference.
    fn sections(&self) -> Vec<Described> {
        let finapi = self.finapi.as_ref().map(Described::of);
        let before = [Described::of(&self.amqp)];
        let after = [
            Described::of(&self.credentials),
            Described::of(&self.worker),
            Described::of(&self.polling),
            Described::of(&self.retry),
            Described::of(&self.limits),
            Described::of(&self.breaker),
            Described::of(&self.callbacks),
            Described::of(&self.events),
            Described::of(&self.admin),
            Described::of(&self.console),
            Described::of(&self.telemetry),
        ];
        before.into_iter().chain(finapi).chain(after).collect()
    }
}

impl<FinApi> Config<FinApi> {
    /// The rules a refresh follows, without the name of the client.
    fn rules(&self) -> Policy {
        Policy {
            client: None,
            polling: self.polling.clone(),
            fallback_polling: self.callbacks.signer().map(|_| self.callbacks.polling(&self.polling)),
            retry: self.retry.clone(),
            limits: self.limits.clone(),
            events: self.events.clone(),
        }
    }
}

impl WithFinApi {
    /// The rules a refresh follows.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            client: self.finapi.client_name.clone(),
            ..self.rules()
        }
    }
}

/// A section and what it declares.
struct Described {
    name: &'static str,
    title: &'static str,
    note: &'static str,
    settings: Vec<Setting>,
}

impl Described {
    fn of<S: Section>(section: &S) -> Self {
        Self {
            name: S::NAME,
            title: S::TITLE,
            note: S::NOTE,
            settings: Declared::by(section),
        }
    }
}
