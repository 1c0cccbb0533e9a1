//! Where the broker is, and every error text about it. A password is never part of one.

use std::fmt;
use std::time::Duration;

use lapin::ErrorKind;
use lapin::protocol::AMQPError;
use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::check::Difference;

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

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// A broker's address, read from its URL. Formats as host and port.
#[derive(Clone)]
pub(super) struct Address {
    uri: AMQPUri,
}

impl Address {
    /// Reads a URL as [RabbitMQ specifies it](https://www.rabbitmq.com/docs/uri-spec).
    pub(super) fn parse(url: &SecretString) -> Result<Self, Error> {
        let text = url.expose_secret();
        let invalid = |why: &str| Error::Url(why.to_owned());
        // This error names what is wrong and repeats nothing of the URL; lapin's repeats all of it.
        let parsed = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        if !matches!(parsed.scheme(), "amqp" | "amqps") {
            return Err(invalid("the scheme is neither amqp nor amqps"));
        }
        let host = parsed.host().ok_or_else(|| invalid("there is no host"))?;
        let mut uri: AMQPUri = text
            .parse()
            .map_err(|_| invalid("its query, user or virtual host can't be read"))?;
        // lapin takes an IPv6 address for no host at all.
        if let Host::Ipv6(ip) = host {
            uri.authority.host = ip.to_string();
        }
        Ok(Self { uri })
    }

    pub(super) fn uri(&self, heartbeat: Duration) -> AMQPUri {
        let mut uri = self.uri.clone();
        let seconds = u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX);
        uri.query.heartbeat = Some(seconds.max(1));
        uri
    }

    /// Why connecting failed, for an operator.
    pub(super) fn failure(&self, error: &lapin::Error) -> Error {
        let why = match error.kind() {
            ErrorKind::ProtocolError(refusal) => self.explain(refusal),
            ErrorKind::IOError(io) => format!("{io}; is it running, and is amqp.url right?"),
            _ => error.to_string(),
        };
        self.unreachable(why)
    }

    pub(super) fn unreachable(&self, why: String) -> Error {
        let address = self.to_string();
        Error::Connect { address, why }
    }

    fn explain(&self, refusal: &AMQPError) -> String {
        let user = &self.uri.authority.userinfo.username;
        let vhost = &self.uri.vhost;
        let said = refusal.get_message();
        match refusal.get_id() {
            403 => {
                format!("it refused user {user:?}; check user and password in amqp.url ({said})")
            }
            530 => format!(
                "it does not let user {user:?} use the virtual host {vhost:?}; check the path of amqp.url, where the \
                 default one is /%2f ({said})"
            ),
            _ => said.to_string(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        if authority.host.contains(':') {
            return write!(f, "[{}]:{}", authority.host, authority.port);
        }
        write!(f, "{}:{}", authority.host, authority.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<String, Error> {
        Address::parse(&url.into()).map(|address| address.to_string())
    }

    #[test]
    fn an_address_is_host_and_port() {
        let urls = [
            ("amqp://u:p@broker/%2f", "broker:5672"),
            ("amqps://u:p@broker", "broker:5671"),
            ("amqp://127.0.0.1:1/", "127.0.0.1:1"),
            ("amqp://u:p@[::1]:7/", "[::1]:7"),
        ];
        for (url, address) in urls {
            assert_eq!(parse(url).as_deref(), Ok(address));
        }
    }

    #[test]
    fn an_error_repeats_nothing_of_the_url() {
        for url in [
            "s3cret",
            "http://u:s3cret@h/",
            "amqp:s3cret",
            "amqp://u:s3cret@h:99999/",
            "amqp://u:s3cret@/",
            "amqp://u:s3cret%ff@h/",
            "amqp://u:s3cret@h/?heartbeat=s3cret",
            "amqp://u:s3cret@h/?auth_mechanism=s3cret",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, Error::Url(_)), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }
}
