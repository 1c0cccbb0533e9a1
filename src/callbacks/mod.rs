//! What finAPI calls: callbacks of updates, and notifications of its batch update.
//!
//! finAPI signs neither. A callback's URL carries an HMAC of the command's id, so it can't be guessed, and all it does is to
//! have whoever holds that refresh look now. A notification's URL carries a secret, and what it says becomes a refresh that
//! asks finAPI itself, or the event that a user is needed.

mod listener;
mod notification;

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

pub use listener::{router, serve};

use crate::broker::topology::Topology;
use crate::broker::{Message, Outgoing, Properties};
use crate::finapi::callback_url::Signer;
use crate::refresh::schedule::Polling;

/// Callbacks and notifications (section `callbacks`). Without `public_url` finAPI is given no callbacks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the worker listens for finAPI; behind whatever ends TLS.
    pub listen: Option<SocketAddr>,
    /// What finAPI reaches `listen` by: an https URL.
    pub public_url: Option<Url>,
    /// The key of the HMAC in callback URLs, 16 characters or more. Needed with `public_url`.
    #[serde(
        serialize_with = "crate::config::hidden_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub key: Option<SecretString>,
    /// The key before, which callbacks of running updates may still use.
    #[serde(
        serialize_with = "crate::config::hidden_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous_key: Option<SecretString>,
    /// The secret in the URL of finAPI's notifications, `{public_url}/notifications/{secret}`: 16 letters and digits or
    /// more. Without it there is no such URL.
    #[serde(
        serialize_with = "crate::config::hidden_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub notification_secret: Option<SecretString>,
    /// The shortest wait before a look that no callback has led to: callbacks can get lost.
    #[serde(with = "humantime_serde")]
    pub poll_initial: Duration,
    /// The longest such wait. At least `poll_initial`.
    #[serde(with = "humantime_serde")]
    pub poll_max: Duration,
    /// The most calls a second that are looked at; more are answered with 429.
    pub calls_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: None,
            public_url: None,
            key: None,
            previous_key: None,
            notification_secret: None,
            poll_initial: Duration::from_secs(15),
            poll_max: Duration::from_secs(60),
            calls_per_second: 2000,
        }
    }
}

/// The fewest characters of a key.
pub const KEY_CHARACTERS_MIN: usize = 16;

/// The `type` of a hint on the wake exchange; its body is the command's id.
const HINT_NAME: &str = "bankrefresh.hint";

impl Settings {
    /// What makes callback URLs, if updates are to carry them.
    #[must_use]
    pub fn signer(&self) -> Option<Signer> {
        let (public_url, key) = (self.public_url.clone()?, self.key.clone()?);
        Some(Signer::new(public_url, key, self.previous_key.clone()))
    }

    /// How polling goes beside callbacks: as a safety net.
    #[must_use]
    pub fn polling(&self, plain: &Polling) -> Polling {
        Polling {
            initial: self.poll_initial,
            // No wait is shorter than the first.
            factor: plain.factor.max(2.0),
            max: self.poll_max,
            web_form_max: self.poll_max,
            ..plain.clone()
        }
    }
}

/// A hint that a refresh should be looked at now.
#[must_use]
pub fn hint(topology: &Topology, command_id: &str) -> Outgoing {
    Outgoing {
        exchange: topology.wake(),
        routing_key: String::new(),
        message: Message {
            body: command_id.to_owned().into(),
            properties: Properties {
                kind: Some(HINT_NAME.to_owned()),
                ..Properties::default()
            },
        },
    }
}
