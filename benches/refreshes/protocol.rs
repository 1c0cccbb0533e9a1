//! What finAPI is spoken to with.

use std::fmt;

use http::Version;
use serde::{Deserialize, Serialize};

/// What finAPI is spoken to with. finAPI itself takes TLS only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1 without TLS, to compare with older figures
    Plain,
    /// HTTP/1.1 over TLS
    Http1,
    /// HTTP/2 over TLS, chosen by ALPN
    Http2,
}

impl Protocol {
    /// What a server has seen.
    pub fn of(tls: bool, version: Version) -> Self {
        match (tls, version) {
            (false, Version::HTTP_11) => Self::Plain,
            (true, Version::HTTP_11) => Self::Http1,
            (true, Version::HTTP_2) => Self::Http2,
            other => panic!("nothing here speaks {other:?}"),
        }
    }

    pub fn is_tls(self) -> bool {
        self != Self::Plain
    }

    /// A client that offers no more than this protocol needs.
    pub fn client(self) -> reqwest::Client {
        let client = reqwest::Client::builder().tcp_nodelay(true);
        let client = match self {
            Self::Http2 => client,
            Self::Plain | Self::Http1 => client.http1_only(),
        };
        client.build().expect("a client")
    }

    /// As an argument of this program.
    pub fn argument(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("a value");
        format!("--protocol={}", value.get_name())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "HTTP/1.1 without TLS",
            Self::Http1 => "HTTP/1.1 over TLS",
            Self::Http2 => "HTTP/2 over TLS",
        })
    }
}
