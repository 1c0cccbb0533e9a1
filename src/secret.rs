//! Secrets among the settings: never empty, and never shown. They may change while the process runs.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// A secret of one character or more. Is never formatted, and serializes as [`HIDDEN`]. Every clone is the same secret, and changes with it
/// ([`Secret::rotate`]).
#[derive(Clone)]
pub struct Secret(Arc<RwLock<Pair>>);

/// The secret in use, and the one before it, as long as that is good.
struct Pair {
    current: SecretString,
    previous: Option<SecretString>,
}

/// The text of a secret, for as long as it is needed.
pub struct Exposed(SecretString);

impl fmt::Debug for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl Deref for Exposed {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A secret that is empty: a variable or a file that somebody forgot to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret can't be empty")]
pub struct Empty;

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> Exposed {
        Exposed(self.read(|pair| pair.current.clone()))
    }

    /// The one before it, until [`Secret::has_worked`].
    #[must_use]
    pub fn expose_previous(&self) -> Option<Exposed> {
        self.read(|pair| pair.previous.clone()).map(Exposed)
    }

    /// Whether both are the same text now.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        *self.expose() == *other.expose()
    }

    /// Takes the text of another one into use. The text that was in use stays good.
    pub fn rotate(&self, to: &Self) {
        let text = to.read(|pair| pair.current.clone());
        let mut pair = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut pair.current, text);
        pair.previous = Some(before);
    }

    /// The text in use is accepted, so the one before it is not good any more.
    pub fn has_worked(&self) {
        if self.read(|pair| pair.previous.is_some()) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).previous = None;
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Pair) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl TryFrom<SecretString> for Secret {
    type Error = Empty;

    fn try_from(secret: SecretString) -> Result<Self, Empty> {
        match secret.expose_secret() {
            "" => Err(Empty),
            _ => Ok(Self(Arc::new(RwLock::new(Pair {
                current: secret,
                previous: None,
            })))),
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
        deserializer.deserialize_any(OnlyText)
    }
}

/// Takes text. serde's own words for what is not text repeat it.
struct OnlyText;

impl de::Visitor<'_> for OnlyText {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        SecretString::from(text).try_into().map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }
}

const NOT_TEXT: &str = "a secret must be a text in quotes";

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
        assert_eq!(&*secret.expose(), "s3cret");
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).expect("JSON"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn every_clone_rotates_and_the_old_text_is_good_until_the_new_one_has_worked() {
        let secret: Secret = "old".parse().expect("a secret");
        let clone = secret.clone();
        clone.rotate(&"new".parse().expect("a secret"));
        assert_eq!(&*secret.expose(), "new");
        assert_eq!(secret.expose_previous().as_deref(), Some("old"));
        secret.has_worked();
        assert!(clone.expose_previous().is_none() && clone.is(&secret));
    }

    #[test]
    fn what_is_no_text_is_not_repeated() {
        for json in ["123456789", "-123456789", "123456789.5", "true"] {
            // As in a section that is chosen by one of its settings.
            let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
            let error = serde_json::from_value::<Secret>(value)
                .expect_err("no text")
                .to_string();
            assert!(!error.contains("12345") && !error.contains("true"), "{error}");
        }
    }
}
