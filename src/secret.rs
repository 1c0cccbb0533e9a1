//! Secrets among the settings: never empty, and never shown. They may change while the process runs.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq as _;

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// A secret of one character or more. Is never formatted, and serializes as [`HIDDEN`]. Every clone is the same secret, and changes with it
/// ([`Secret::rotate`]).
#[derive(Clone)]
pub struct Secret(Arc<RwLock<Pair>>);

/// The text in use and, until that has worked, the last one that did.
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

    /// The last text that worked, until the one in use [has worked](Secret::has_worked).
    #[must_use]
    pub fn expose_previous(&self) -> Option<Exposed> {
        self.read(|pair| pair.previous.clone()).map(Exposed)
    }

    /// Whether both are the same text now.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        *self.expose() == *other.expose()
    }

    /// Takes the text of another one into use. The last text that worked stays good: where the one that was in use never did, because somebody
    /// made a mistake and corrected it, that is the one before it.
    pub fn rotate(&self, to: &Self) {
        let text = to.read(|pair| pair.current.clone());
        let mut pair = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut pair.current, text);
        pair.previous.get_or_insert(before);
    }

    /// A text of this secret worked. If that is the one in use, the one before it is not good any more. It may have changed since the text was
    /// read: then nothing follows.
    pub fn has_worked(&self, text: &[u8]) {
        let is_settled = |pair: &Pair| pair.previous.is_some() && is_same(&pair.current, text);
        if self.read(is_settled) {
            let mut pair = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if is_settled(&pair) {
                pair.previous = None;
            }
        }
    }

    /// Whether what somebody gave is this secret: the text in use or, as long as nobody has given that, the one before it. The time that this
    /// takes does not say where a text differs.
    #[must_use]
    pub fn is_known(&self, given: &[u8]) -> bool {
        let (is_current, is_previous) = self.read(|pair| {
            let previous = pair.previous.as_ref();
            (
                is_same(&pair.current, given),
                previous.is_some_and(|previous| is_same(previous, given)),
            )
        });
        if is_current {
            self.has_worked(given);
        }
        is_current || is_previous
    }

    fn read<T>(&self, read: impl FnOnce(&Pair) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_same(text: &SecretString, given: &[u8]) -> bool {
    text.expose_secret().as_bytes().ct_eq(given).into()
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
        secret.has_worked(b"old");
        assert!(clone.expose_previous().is_some(), "the old one did");
        secret.has_worked(b"new");
        assert!(clone.expose_previous().is_none() && clone.is(&secret));
    }

    #[test]
    fn of_two_rotations_in_a_row_the_last_text_that_worked_stays_good() {
        let secret: Secret = "worked".parse().expect("a secret");
        secret.rotate(&"mistyped".parse().expect("a secret"));
        secret.rotate(&"right".parse().expect("a secret"));
        // The answer to what was sent before the second rotation.
        secret.has_worked(b"mistyped");
        assert_eq!(&*secret.expose(), "right");
        assert_eq!(secret.expose_previous().as_deref(), Some("worked"));
    }

    #[test]
    fn what_somebody_gives_is_known_as_the_old_text_until_it_is_the_new_one() {
        let secret: Secret = "old".parse().expect("a secret");
        let is_known = |given: &str| secret.is_known(given.as_bytes());
        assert!(is_known("old") && !is_known("new") && !is_known("ol") && !is_known(""));
        secret.rotate(&"new".parse().expect("a secret"));
        assert!(is_known("old") && is_known("old") && !is_known("other"));
        assert!(is_known("new") && is_known("new"));
        assert!(!is_known("old"));
        assert!(!secret.is_known(b"\xff"));
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
