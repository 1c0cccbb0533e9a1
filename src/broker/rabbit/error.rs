//! Every error of RabbitMQ: what its reply codes mean, and what an operator reads. A password is never part of one.

use std::fmt;

use lapin::ErrorKind;

/// The broker does not let the user do this, or does not know the user.
pub(super) const ACCESS_REFUSED: u16 = 403;

/// There is no such exchange or queue.
pub(super) const NOT_FOUND: u16 = 404;

/// It exists with other arguments, or a message is too large.
pub(super) const PRECONDITION_FAILED: u16 = 406;

/// The user may not use the virtual host.
pub(super) const NOT_ALLOWED: u16 = 530;

/// Why RabbitMQ can't be used. Holds no secret, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL is none of an AMQP broker.
    #[error("the AMQP URL is not valid: {0}; it should look like amqp://user:password@host:5672/%2f")]
    Url(String),
    /// There is no connection.
    #[error("no connection to RabbitMQ at {address}: {why}")]
    Connect {
        /// Host and port.
        address: String,
        /// What happened, and what to look at.
        why: String,
    },
    /// A setting of TLS is of no use.
    #[error("{setting}: {why}")]
    Tls {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// None of several addresses could be used.
    #[error("{}", list(.0))]
    Nowhere(Vec<Error>),
    /// Something of the topology is missing and was not to be declared.
    #[error("{} (`bankrefresh topology apply` declares what is missing)", list(.0))]
    Missing(Vec<Difference>),
    /// The broker refused something, or the connection was lost meanwhile.
    #[error("{what}: {why}")]
    Refused {
        /// What was being done.
        what: String,
        /// What the broker said.
        why: String,
    },
}

fn list(items: &[impl fmt::Display]) -> String {
    let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// One thing in which the broker differs from the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such exchange.
    MissingExchange {
        /// Its name.
        name: String,
    },
    /// There is no such queue.
    MissingQueue {
        /// Its name.
        name: String,
    },
    /// The exchange is of another kind or has other arguments.
    DifferentExchange {
        /// Its name.
        name: String,
        /// What differs, in the broker's words.
        detail: String,
    },
    /// The queue is of another type or has other arguments.
    DifferentQueue {
        /// Its name.
        name: String,
        /// What differs, in the broker's words.
        detail: String,
    },
    /// The user may not look.
    Forbidden {
        /// The name of the exchange or queue.
        name: String,
        /// The broker's words.
        detail: String,
    },
}

impl Difference {
    /// The name of the exchange or queue.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::MissingExchange { name }
            | Self::MissingQueue { name }
            | Self::DifferentExchange { name, .. }
            | Self::DifferentQueue { name, .. }
            | Self::Forbidden { name, .. } => name,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingExchange { name } => write!(f, "exchange {name:?} is missing"),
            Self::MissingQueue { name } => write!(f, "queue {name:?} is missing"),
            Self::DifferentExchange { name, detail } => {
                write!(f, "exchange {name:?} exists, but differs: {detail}")
            }
            Self::DifferentQueue { name, detail } => {
                write!(f, "queue {name:?} exists, but differs: {detail}")
            }
            Self::Forbidden { name, detail } => {
                write!(f, "{name:?} cannot be inspected: {detail}")
            }
        }
    }
}

/// The broker's code and words, when it was the broker that refused.
pub(super) fn refusal(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => Some((refusal.get_id(), refusal.get_message().to_string())),
        _ => None,
    }
}

pub(super) fn refused(what: &str, error: &lapin::Error) -> Error {
    let why = refusal(error).map_or_else(|| error.to_string(), |(_, words)| words);
    let what = what.to_owned();
    Error::Refused { what, why }
}
