//! What was asked for, as a type that cannot be wrong.
//!
//! [`Command::parse`] is the edge. Nothing behind it checks a command again, because no other way leads to one.

mod choice;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

pub use choice::{AccountType, BankingInterface, Download, ImportNewAccounts, SavedSetting};
pub use parse::InvalidCommand;

use super::earlier;
use crate::id::{CommandId, ConnectionId, RefreshId, UserId};

/// A command that is fit to be acted on.
#[derive(Clone)]
pub struct Command {
    refresh_id: RefreshId,
    requested_at: Option<Timestamp>,
    import_new_accounts: Option<ImportNewAccounts>,
    account_types: Vec<AccountType>,
    allowed_interfaces: Vec<BankingInterface>,
    edit_saved_settings: Vec<SavedSetting>,
    download: Download,
    load_owner_data: bool,
    user_metadata: Option<UserMetadata>,
    profile_id: Option<String>,
    redirect_url: Option<String>,
    max_age: Option<Duration>,
    transactions_since: Option<Timestamp>,
    wait_for_categorization: bool,
    access_token: Option<SecretString>,
    labels: BTreeMap<String, String>,
    client: Option<String>,
}

/// The user's device; none of it is empty.
#[derive(Clone)]
pub struct UserMetadata {
    /// The user's IP address.
    pub ip_address: String,
    /// The operating system of the user's device.
    pub device_os: String,
    /// The user agent of the user's browser or app.
    pub user_agent: String,
}

/// Only the ids: the rest may be secret or personal.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("id", &self.id())
            .field("connection_id", &self.connection_id())
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Identifies it among the commands of its sender.
    #[must_use]
    pub fn id(&self) -> CommandId {
        self.refresh_id.command_id
    }

    /// Identifies its refresh. Commands with the same one are duplicates.
    #[must_use]
    pub fn refresh_id(&self) -> &RefreshId {
        &self.refresh_id
    }

    /// Who owns the connection.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.refresh_id.user_id
    }

    /// The bank connection: greater than zero.
    #[must_use]
    pub fn connection_id(&self) -> ConnectionId {
        self.refresh_id.connection_id
    }

    /// When its sender asked for it, in the sender's words.
    #[must_use]
    pub fn requested_at(&self) -> Option<Timestamp> {
        self.requested_at
    }

    /// What to do with accounts that are new at the bank.
    #[must_use]
    pub fn import_new_accounts(&self) -> ImportNewAccounts {
        self.import_new_accounts.unwrap_or(ImportNewAccounts::Skip)
    }

    /// The types of account to import; all where it is empty.
    #[must_use]
    pub fn account_types(&self) -> &[AccountType] {
        &self.account_types
    }

    /// The interfaces finAPI may use; finAPI's choice where it is empty.
    #[must_use]
    pub fn allowed_interfaces(&self) -> &[BankingInterface] {
        &self.allowed_interfaces
    }

    /// What the user is to edit of what finAPI has saved.
    #[must_use]
    pub fn edit_saved_settings(&self) -> &[SavedSetting] {
        &self.edit_saved_settings
    }

    /// How much finAPI downloads of known accounts.
    #[must_use]
    pub fn download(&self) -> Download {
        self.download
    }

    /// Whether the account owners' data is fetched, too.
    #[must_use]
    pub fn load_owner_data(&self) -> bool {
        self.load_owner_data
    }

    /// The user's device, when the user is present.
    #[must_use]
    pub fn user_metadata(&self) -> Option<&UserMetadata> {
        self.user_metadata.as_ref()
    }

    /// A web form profile of 36 characters; the mandator's default where there is none.
    #[must_use]
    pub fn profile_id(&self) -> Option<&str> {
        self.profile_id.as_deref()
    }

    /// Where the web form sends the user in the end: an https URL of at most 2048 characters.
    #[must_use]
    pub fn redirect_url(&self) -> Option<&str> {
        self.redirect_url.as_deref()
    }

    /// Everything imported since then is published; what the update brings where there is none.
    #[must_use]
    pub fn transactions_since(&self) -> Option<Timestamp> {
        self.transactions_since
    }

    /// Whether to wait until finAPI has categorized the new transactions.
    #[must_use]
    pub fn wait_for_categorization(&self) -> bool {
        self.wait_for_categorization
    }

    /// The user's access token, where the platform sends one.
    #[must_use]
    pub fn access_token(&self) -> Option<&SecretString> {
        self.access_token.as_ref()
    }

    /// The platform's own words, echoed in every event.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The finAPI client that it is for, by name; any where it names none.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Whether the user is to edit saved settings, which always takes a web form.
    #[must_use]
    pub fn edits_saved_settings(&self) -> bool {
        !self.edit_saved_settings.is_empty()
    }

    /// Whether it asks for more than bringing the known accounts up to date, so that a running update that somebody else began does not
    /// satisfy it.
    #[must_use]
    pub fn asks_for_more(&self) -> bool {
        self.import_new_accounts() != ImportNewAccounts::Skip || self.edits_saved_settings()
    }

    /// Since when an update is fresh enough, when the command says so by `max_age`.
    #[must_use]
    pub fn fresh_since(&self, requested_at: Timestamp) -> Option<Timestamp> {
        self.max_age.map(|age| earlier(requested_at, age))
    }
}
