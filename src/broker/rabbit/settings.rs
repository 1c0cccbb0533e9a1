//! How RabbitMQ is reached.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::Addresses;
use super::error::Error;
use super::tls::{self, LastTls, TlsFiles};
use crate::setting::{Declared, MINUTE, SECOND, Section};

/// How to reach RabbitMQ (section `amqp`). For `amqps` the process must have installed a rustls crypto provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub url: Addresses,
    pub ca_file: Option<PathBuf>,
    pub client_certificate_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub prefix: String,
    pub declare: bool,
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub confirm_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// The name of the connections in the broker's management. Not for operators to set.
    #[serde(skip, default = "connection_name")]
    pub connection_name: String,
    /// What the last connection with TLS was made with. Not for operators to set.
    #[serde(skip)]
    pub last_tls: LastTls,
    /// The longest wait between two attempts to connect, before a jitter of up to as much again. Not for operators to set.
    #[serde(skip, default = "reconnect_max")]
    pub reconnect_max: Duration,
    /// The most bytes of a message's body that are read. A larger body is left out, and its delivery has a flaw. Not for operators to set.
    #[serde(skip, default = "body_max")]
    pub body_max: usize,
}

/// What RabbitMQ 4 takes.
fn body_max() -> usize {
    16 * 1024 * 1024
}

fn connection_name() -> String {
    "bankrefresh".to_owned()
}
fn reconnect_max() -> Duration {
    Duration::from_secs(15)
}

/// The broker of a development machine.
const URL: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

impl Default for Settings {
    fn default() -> Self {
        match URL.parse() {
            Ok(url) => Self::new(url),
            Err(_) => unreachable!("the default URL is valid"),
        }
    }
}

impl Settings {
    /// Where to connect, if what TLS needs is there.
    pub(super) fn addresses(&self) -> Result<Addresses, Error> {
        let tls = self.tls();
        match (self.url.need_tls(), tls.given()) {
            (true, _) => drop(tls.connector()?),
            (false, Some(setting)) => {
                let why = "it is for amqps, and amqp.url begins with amqp://".to_owned();
                return Err(Error::Tls { setting, why });
            }
            (false, None) => {}
        }
        Ok(self.url.clone())
    }

    /// Whether the files of TLS can be used, and the connection was made with them.
    ///
    /// # Errors
    ///
    /// Names the setting whose file is of no use.
    pub fn check_tls_files(&self) -> Result<(), Error> {
        if self.url.need_tls() && self.tls().given().is_some() {
            drop(self.tls().connector()?);
        }
        match self.last_tls.is_old() {
            true => Err(tls::refused_files()),
            false => Ok(()),
        }
    }

    /// The defaults, for a broker.
    #[must_use]
    pub fn new(url: Addresses) -> Self {
        Self {
            url,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            prefix: "bankrefresh".to_owned(),
            declare: true,
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(15),
            heartbeat: Duration::from_secs(15),
            connection_name: connection_name(),
            last_tls: LastTls::default(),
            reconnect_max: reconnect_max(),
            body_max: body_max(),
        }
    }

    /// The same for connections that the broker's management shows as those of this part of the program.
    #[must_use]
    pub fn named(&self, part: &str) -> Self {
        Self {
            connection_name: format!("bankrefresh {part}"),
            ..self.clone()
        }
    }

    /// The files of TLS.
    #[must_use]
    pub(super) fn tls(&self) -> TlsFiles {
        TlsFiles {
            ca: self.ca_file.clone(),
            client_certificate: self.client_certificate_file.clone(),
            client_key: self.client_key_file.clone(),
        }
    }

    fn declare_broker(&self, list: &mut Declared) {
        list.any(
            "url",
            &self.url,
            "`amqp://user:password@host:port/vhost`, or `amqps://` for TLS. For a cluster, several `host:port` with commas in between.",
        )
        .default(URL);
        list.any(
            "ca_file",
            &self.ca_file,
            "The certificates (PEM) of the only CAs that the worker trusts for `amqps`. Without it, it trusts the system's.",
        );
        list.any(
            "client_certificate_file",
            &self.client_certificate_file,
            "The client certificate (PEM) that the worker shows the broker, followed by the intermediate certificates.",
        );
        list.any(
            "client_key_file",
            &self.client_key_file,
            "The private key (PEM) of `amqp.client_certificate_file`.",
        );
    }
}

impl Section for Settings {
    const NAME: &'static str = "amqp";
    const TITLE: &'static str = "the broker";

    fn declare(&self, list: &mut Declared) {
        self.declare_broker(list);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        list.any(
            "prefix",
            &self.prefix,
            "The names of all exchanges and queues begin with this.",
        )
        .and(
            (1..=100).contains(&self.prefix.len()) && self.prefix.chars().all(is_plain),
            "1 to 100 letters, digits, `.`, `_` and `-`",
        );
        list.any(
            "declare",
            &self.declare,
            "Whether a worker declares exchanges and queues at start. If it does not, it is not ready until all of them exist; see \
             `bankrefresh topology`.",
        );
        list.within(
            "connect_timeout",
            self.connect_timeout,
            SECOND..=5 * MINUTE,
            "The longest a new connection to the broker may take, TLS and login included.",
        );
        list.within(
            "confirm_timeout",
            self.confirm_timeout,
            SECOND..=5 * MINUTE,
            "The longest the broker may take to confirm a message. A connection that takes longer counts as lost.",
        );
        list.within(
            "heartbeat",
            self.heartbeat,
            SECOND..=10 * MINUTE,
            "How often both sides send a heartbeat. A connection without a sign of the other side for twice this time counts as lost.",
        )
        .and(self.heartbeat.subsec_nanos() == 0, "whole seconds");
    }
}
