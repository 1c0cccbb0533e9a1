//! Where the broker's nodes are. A password is never part of an error or of what is shown.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::{Host, Url};

use super::error::Error;
use crate::secret::{HIDDEN, Secret};
use crate::setting::Value;

/// The addresses of a cluster's nodes, or of the only broker: one URL with one host or several, at least one.
///
/// Written as `amqp://user:password@host:port/vhost`, or `amqps`, as RabbitMQ's [URI
/// specification](https://www.rabbitmq.com/docs/uri-spec) has it. The default virtual host is `/%2f`. For a cluster, several `host:port` with
/// commas in between: the next one is tried when one does not answer or is lost. Formats without user and password.
#[derive(Clone)]
pub struct Addresses {
    all: Vec<Address>,
}

/// The most bytes of a URL: each host is read together with all that is not a host.
const URL_BYTES_MAX: usize = 8192;

/// The most hosts of a URL.
const HOSTS_MAX: usize = 100;

impl Addresses {
    /// Whether any of them needs TLS.
    pub(super) fn need_tls(&self) -> bool {
        self.all.iter().any(Address::is_tls)
    }

    /// The first of them where everybody on the way can read the password and the messages.
    pub(super) fn open(&self) -> Option<String> {
        self.all
            .iter()
            .find(|address| address.is_open())
            .map(ToString::to_string)
    }

    /// One address for each of the hosts that stand between commas.
    fn parse(text: &str) -> Result<Vec<Address>, Error> {
        if text.len() > URL_BYTES_MAX {
            return Err(Error::Url(format!(
                "it has {} bytes, of {URL_BYTES_MAX} at most",
                text.len()
            )));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(vec![Address::parse(text)?]);
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
        if hosts.len() > HOSTS_MAX {
            return Err(Error::Url(format!(
                "it has {} hosts, of {HOSTS_MAX} at most",
                hosts.len()
            )));
        }
        hosts
            .into_iter()
            .map(|host| Address::parse(&format!("{scheme}://{user}{host}{path}")))
            .collect()
    }

    /// Each address once, beginning with the one whose turn it is.
    pub(super) fn in_turn(&self, turn: usize) -> impl Iterator<Item = &Address> {
        let count = self.all.len();
        self.all.iter().cycle().skip(turn % count).take(count)
    }

    /// The user and the password.
    #[must_use]
    pub fn login(&self) -> (String, SecretString) {
        let login = self.all.first().map(|address| &address.uri.authority.userinfo);
        let login = login.map(|login| (login.username.clone(), login.password.clone()));
        let (user, password) = login.unwrap_or_default();
        (user, password.into())
    }

    /// The name of the virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        self.all.first().map_or("/", |address| &address.uri.vhost)
    }
}

impl FromStr for Addresses {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self {
            all: Self::parse(text)?,
        })
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(ToString::to_string))
            .finish()
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        text.expose().parse().map_err(de::Error::custom)
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl Value for Addresses {
    const KIND: &'static str = "secret URL";

    fn show(&self) -> String {
        HIDDEN.to_owned()
    }
}

/// One of the addresses. Formats as host and port.
#[derive(Clone)]
pub(super) struct Address {
    uri: AMQPUri,
}

impl Address {
    /// Reads a URL as [RabbitMQ specifies it](https://www.rabbitmq.com/docs/uri-spec).
    fn parse(text: &str) -> Result<Self, Error> {
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

    pub(super) fn is_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// Whether everybody on the way can read what is sent to it.
    pub(super) fn is_open(&self) -> bool {
        let host = self.host();
        let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        !self.is_tls() && !is_loopback
    }

    pub(super) fn host(&self) -> &str {
        &self.uri.authority.host
    }

    /// The URI for a connection. A `frame_max` of its own stays.
    pub(super) fn uri(&self, heartbeat: Duration, frame_max: Option<u32>) -> AMQPUri {
        let mut uri = self.uri.clone();
        let seconds = u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX);
        uri.query.heartbeat = Some(seconds.max(1));
        uri.query.frame_max = uri.query.frame_max.or(frame_max);
        uri
    }

    /// The user's name, for explanations.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// The virtual host's name, for explanations.
    pub(super) fn vhost(&self) -> &str {
        &self.uri.vhost
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
        Addresses::parse(url).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn an_address_is_host_and_port() {
        let urls = [
            ("amqp://u:p@broker/%2f", "broker:5672"),
            ("amqps://u:p@broker", "broker:5671"),
            ("amqp://127.0.0.1:1/", "127.0.0.1:1"),
            ("amqp://u:p@[::1]:7/", "[::1]:7"),
            ("amqp://u:p,@a:1,b, [::1]:2/v?x=,", "a:1 b:5672 [::1]:2"),
            ("amqps://a,b", "a:5671 b:5671"),
        ];
        for (url, address) in urls {
            assert_eq!(parse(url).as_deref(), Ok(address));
        }
    }

    #[test]
    fn a_url_with_more_hosts_than_any_cluster_is_refused_before_they_are_read() {
        let url = format!("amqp://u:s3cret@a{}", ",a".repeat(HOSTS_MAX));
        let error = url.parse::<Addresses>().unwrap_err().to_string();
        assert!(error.contains("101 hosts, of 100 at most"), "{error}");
    }

    #[test]
    fn only_tls_and_this_machine_are_not_open() {
        let open = |url: &str| url.parse::<Addresses>().expect("addresses").open();
        for url in ["amqps://u:p@broker", "amqp://localhost", "amqp://127.0.0.2,[::1]:7/v"] {
            assert_eq!(open(url), None, "{url}");
        }
        assert_eq!(open("amqp://u:p@localhost,broker").as_deref(), Some("broker:5672"));
    }

    #[test]
    fn every_address_has_its_turn() {
        let addresses = "amqp://a,b,c".parse::<Addresses>().unwrap();
        let turns = |turn| addresses.in_turn(turn).map(Address::host).collect::<String>();
        assert_eq!([turns(0), turns(1), turns(5)], ["abc", "bca", "cab"]);
    }

    #[test]
    fn an_error_repeats_nothing_of_the_url() {
        for url in [
            "s3cret",
            "http://u:s3cret@h/",
            "amqp:s3cret",
            "amqp://u:s3cret@h:99999/",
            "amqp://u:s3cret@/",
            "amqp://u:s3cret@a,,b/",
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
