//! Addresses of machines, and networks of them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Value;

/// Addresses and networks with commas in between: `10.0.0.0/8, 192.0.2.7`. None of them is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// A text that is not [`Networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be addresses or networks with commas in between, for instance \"10.0.0.0/8, 192.0.2.7\"")]
pub struct NotNetworks;

impl Networks {
    /// Whether no address is one of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    type Err = NotNetworks;

    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks = parts.map(|part| part.parse().or_else(|_| part.parse::<IpAddr>().map(IpNet::from)));
        networks.collect::<Result<_, _>>().map(Self).map_err(|_| NotNetworks)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Value for Networks {
    const KIND: &'static str = "networks";

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read_and_shown() {
        let networks: Networks = "10.0.0.0/8,192.0.2.7, 2001:db8::/32".parse().expect("networks");
        for (address, is_one) in [
            ("10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
        ] {
            assert_eq!(
                networks.contain(address.parse().expect("an address")),
                is_one,
                "{address}"
            );
        }
        assert_eq!(networks.show(), "10.0.0.0/8, 192.0.2.7/32, 2001:db8::/32");
        assert_eq!("".parse(), Ok(Networks::default()));
        assert_eq!("a proxy".parse::<Networks>(), Err(NotNetworks));
    }
}
