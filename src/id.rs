//! Ids, each with a type of its own, so that nobody takes one for another. All are cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::limits::{FINAPI_ID_CHARACTERS_MAX, USER_ID_CHARACTERS_MAX};
use crate::plain::is_plain;

/// A command's id: a UUID with hyphens and small letters. Other spellings are refused, so that one id is one text everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Uuid);

/// What a refresh is known by: the command's id, and whose connection it is about. Two senders may use one command id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefreshId {
    /// The command's id.
    pub command_id: CommandId,
    /// Who owns the connection.
    pub user_id: UserId,
    /// The bank connection.
    pub connection_id: ConnectionId,
}

/// A text that is no [`CommandId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UUID with hyphens and small letters is required")]
pub struct NotUuid;

/// A text that can't be the id of a finAPI user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to {USER_ID_CHARACTERS_MAX} characters that can be printed are required")]
pub struct NotUserId;

/// A text that can't be the id of a task or a web form at finAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to {FINAPI_ID_CHARACTERS_MAX} letters, digits, `-` and `_` are required")]
pub struct NotFinapiId;

impl CommandId {
    /// The UUID.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for CommandId {
    type Err = NotUuid;

    fn from_str(text: &str) -> Result<Self, NotUuid> {
        let uuid = Uuid::try_parse(text).map_err(|_| NotUuid)?;
        let canonical = uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
        canonical.then_some(Self(uuid)).ok_or(NotUuid)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl RefreshId {
    /// The id of an event of this refresh, by what happened: a UUIDv5 of that, below a UUIDv5 of the connection and the user, below the
    /// command's id.
    #[must_use]
    pub fn event_id(&self, what: &str) -> Uuid {
        let whose = format!("{}/{}", self.connection_id, self.user_id);
        let refresh = Uuid::new_v5(&self.command_id.uuid(), whose.as_bytes());
        Uuid::new_v5(&refresh, what.as_bytes())
    }
}

impl FromStr for UserId {
    type Err = NotUserId;

    fn from_str(text: &str) -> Result<Self, NotUserId> {
        let fits = (1..=USER_ID_CHARACTERS_MAX).contains(&text.chars().count());
        (fits && text.chars().all(is_plain))
            .then(|| Self(text.into()))
            .ok_or(NotUserId)
    }
}

fn finapi_id(text: &str) -> Result<Arc<str>, NotFinapiId> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=FINAPI_ID_CHARACTERS_MAX).contains(&text.len()) && text.chars().all(is_fit);
    fits.then(|| text.into()).ok_or(NotFinapiId)
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

macro_rules! finapi_ids {
    ($($name:ident)*) => {$(
        impl FromStr for $name {
            type Err = NotFinapiId;

            fn from_str(text: &str) -> Result<Self, NotFinapiId> {
                finapi_id(text).map(Self)
            }
        }

        /// Tests know what they write.
        #[cfg(test)]
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                text.parse().expect("an id of finAPI")
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

finapi_ids! { TaskId WebFormId }

text_ids! {
    /// A finAPI user's id: characters that can be printed, at most [`USER_ID_CHARACTERS_MAX`] of them.
    UserId
    /// An update task's id at finAPI: letters, digits, `-` and `_`, at most [`FINAPI_ID_CHARACTERS_MAX`] of them.
    TaskId
    /// A web form's id at finAPI, of the same characters.
    WebFormId
}

macro_rules! number_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(deserializer)?;
                let id = (number > 0).then_some(Self(number));
                id.ok_or_else(|| D::Error::custom("an id is more than 0"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i64(self.0)
            }
        }

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

    const ID: &str = "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001";

    #[test]
    fn a_command_id_has_one_spelling() {
        let id: CommandId = ID.parse().expect("an id");
        assert_eq!((id.to_string(), format!("{id:?}")), (ID.to_owned(), ID.to_owned()));
        let others = [
            ID.to_uppercase(),
            ID.replace('-', ""),
            format!("{{{ID}}}"),
            format!("urn:uuid:{ID}"),
            format!("{ID} "),
            ID[1..].to_owned(),
            "7".to_owned(),
            String::new(),
        ];
        for wrong in others {
            assert_eq!(wrong.parse::<CommandId>(), Err(NotUuid), "{wrong:?}");
        }
    }

    #[test]
    fn a_user_id_has_as_many_characters_as_finapi_allows_and_all_can_be_printed() {
        let id = |text: &str| text.parse::<UserId>().map(|id| id.to_string());
        assert_eq!(id(""), Err(NotUserId));
        assert_eq!(id(&"ä".repeat(36)), Ok("ä".repeat(36)));
        assert_eq!(id(&"ä".repeat(37)), Err(NotUserId));
        for wrong in ["an\tna", "anna\n", ".\t.", "\0", "an\u{202e}na", "\u{85}"] {
            assert_eq!(id(wrong), Err(NotUserId), "{wrong:?}");
        }
    }

    #[test]
    fn an_id_of_finapi_that_would_change_a_path_is_refused() {
        assert!("946db09e-5bfc-11eb-ae93-0242ac130002".parse::<TaskId>().is_ok());
        for wrong in ["", "a/../b", "..", "a?b", "a b", "ä", &"a".repeat(65)] {
            assert_eq!(wrong.parse::<TaskId>(), Err(NotFinapiId), "{wrong:?}");
            assert!(serde_json::from_value::<WebFormId>(wrong.into()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_event_id_depends_on_the_command_the_user_the_connection_and_what_happened() {
        let of = |command: &str, user: &str, connection: i64, what: &str| {
            let id = RefreshId {
                command_id: command.parse().expect("an id"),
                user_id: user.parse().expect("an id"),
                connection_id: connection.into(),
            };
            id.event_id(what)
        };
        let other = ID.replace('1', "2");
        let ids = [
            of(ID, "anna", 1, "outcome/1"),
            of(&other, "anna", 1, "outcome/1"),
            of(ID, "berta", 1, "outcome/1"),
            of(ID, "anna", 2, "outcome/1"),
            of(ID, "anna", 1, "outcome/2"),
            of(ID, "1/anna", 1, "outcome/1"),
            of(ID, "anna/outcome", 1, "1"),
        ];
        let distinct: std::collections::BTreeSet<Uuid> = ids.into_iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
        assert_eq!(ids[0], of(ID, "anna", 1, "outcome/1"));
    }
}
