//! Ids, each with a type of its own, so that nobody takes one for another. All are cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most characters of a user's id, as finAPI has them.
pub const USER_ID_CHARACTERS_MAX: usize = 36;

/// A command's id: a UUID, in the sender's own spelling. Two spellings of one UUID are two ids that lead to the same event ids.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId {
    text: Arc<str>,
    uuid: Uuid,
}

/// A text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UUID is required")]
pub struct NotUuid;

/// A text that can't be the id of a finAPI user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to {USER_ID_CHARACTERS_MAX} characters are required")]
pub struct NotUserId;

impl CommandId {
    /// As the sender wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same id whatever its spelling.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl FromStr for CommandId {
    type Err = NotUuid;

    fn from_str(text: &str) -> Result<Self, NotUuid> {
        let uuid = Uuid::parse_str(text).map_err(|_| NotUuid)?;
        Ok(Self {
            text: text.into(),
            uuid,
        })
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for UserId {
    type Err = NotUserId;

    fn from_str(text: &str) -> Result<Self, NotUserId> {
        match text.chars().count() {
            1..=USER_ID_CHARACTERS_MAX => Ok(Self(text.into())),
            _ => Err(NotUserId),
        }
    }
}

impl From<&str> for TaskId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<&str> for WebFormId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As it came.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_ids! {
    /// A finAPI user's id.
    UserId
    /// An update task's id at finAPI.
    TaskId
    /// A web form's id at finAPI.
    WebFormId
}

macro_rules! number_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The number.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

number_ids! {
    /// A bank connection's id at finAPI.
    ConnectionId
    /// A bank's id at finAPI.
    BankId
    /// An account's id at finAPI.
    AccountId
    /// A transaction's id at finAPI. Later ones have higher ids.
    TransactionId
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWER: &str = "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001";

    #[test]
    fn a_command_id_is_a_uuid_and_keeps_its_spelling() {
        let id = |text: &str| text.parse::<CommandId>();
        let (lower, upper) = (id(LOWER).expect("an id"), id(&LOWER.to_uppercase()).expect("an id"));
        assert_eq!(upper.as_str(), LOWER.to_uppercase());
        assert_eq!(upper.to_string(), LOWER.to_uppercase());
        assert_eq!(upper.uuid(), lower.uuid());
        assert_ne!(upper, lower);
        for wrong in ["", "7", &LOWER[1..]] {
            assert_eq!(id(wrong), Err(NotUuid));
        }
    }

    #[test]
    fn a_user_id_has_as_many_characters_as_finapi_allows() {
        let id = |text: String| text.parse::<UserId>().map(|id| id.to_string());
        assert_eq!(id(String::new()), Err(NotUserId));
        assert_eq!(id("ä".repeat(36)), Ok("ä".repeat(36)));
        assert_eq!(id("ä".repeat(37)), Err(NotUserId));
    }
}
