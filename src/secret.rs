//! Secrets among the settings: never empty, and never shown.

use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// A secret of one character or more. Formats and serializes as [`HIDDEN`].
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

/// A secret that is empty: a variable or a file that somebody forgot to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret can't be empty")]
pub struct Empty;

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl TryFrom<SecretString> for Secret {
    type Error = Empty;

    fn try_from(secret: SecretString) -> Result<Self, Empty> {
        match secret.expose_secret() {
            "" => Err(Empty),
            _ => Ok(Self(secret)),
        }
    }
}

impl FromStr for Secret {
    type Err = Empty;

    fn from_str(text: &str) -> Result<Self, Empty> {
        SecretString::from(text).try_into()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = SecretString::deserialize(deserializer)?;
        secret.try_into().map_err(de::Error::custom)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_neither_empty_nor_shown() {
        assert_eq!("".parse::<Secret>().err(), Some(Empty));
        let secret: Secret = "s3cret".parse().expect("a secret");
        assert_eq!(secret.expose(), "s3cret");
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).expect("JSON"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
