//! What makes a command fit to be acted on.

use jiff::Timestamp;
use uuid::Uuid;

use crate::proto::{self, AccountType, BankingInterface, ImportNewAccounts, RefreshConnection, SavedSetting};

/// The most characters of a URL that finAPI takes.
pub const URL_CHARACTERS_MAX: usize = 2048;
/// The most labels of a command.
pub const LABELS_MAX: usize = 32;
/// The most bytes of a label's key, and of its value.
pub const LABEL_BYTES_MAX: usize = 255;

/// Why a command can't be acted on: the field and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {allowed}")]
pub struct Invalid {
    /// The field's name in `commands.proto`.
    pub field: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
}

/// Checks a command before anything is asked of finAPI.
///
/// # Errors
///
/// The first field that is not as `commands.proto` says.
pub fn validate(command: &RefreshConnection) -> Result<(), Invalid> {
    let refuse = |field, allowed| Err(Invalid { field, allowed });
    if Uuid::parse_str(&command.command_id).is_err() {
        return refuse("command_id", "a UUID is required");
    }
    if !(1..=36).contains(&command.user_id.chars().count()) {
        return refuse("user_id", "1 to 36 characters are required");
    }
    if command.bank_connection_id <= 0 {
        return refuse("bank_connection_id", "must be greater than zero");
    }
    if let Some(at) = &command.requested_at
        && proto::timestamp(at).is_none()
    {
        return refuse("requested_at", "must be a valid timestamp");
    }
    validate_enums(command)?;
    if !command.account_types.is_empty() && !imports_new_accounts(command) {
        return refuse("account_types", "only with import_new_accounts conditional or forced");
    }
    if command.skip_balances_download && !command.skip_positions_download {
        return refuse("skip_balances_download", "only together with skip_positions_download");
    }
    if let Some(user) = &command.user_metadata
        && [&user.ip_address, &user.device_os, &user.user_agent]
            .iter()
            .any(|value| value.is_empty())
    {
        return refuse("user_metadata", "ip_address, device_os and user_agent are all required");
    }
    if !command.profile_id.is_empty() && command.profile_id.chars().count() != 36 {
        return refuse("profile_id", "must have 36 characters");
    }
    if !command.redirect_url.is_empty() && !is_https_url(&command.redirect_url) {
        return refuse("redirect_url", "must be an https URL of at most 2048 characters");
    }
    if let Some(age) = &command.max_age
        && (age.seconds < 0 || age.nanos < 0)
    {
        return refuse("max_age", "must not be negative");
    }
    let too_long = |text: &String| text.len() > LABEL_BYTES_MAX;
    if command.labels.len() > LABELS_MAX
        || command
            .labels
            .iter()
            .any(|(key, value)| too_long(key) || too_long(value))
    {
        return refuse("labels", "at most 32 entries of at most 255 bytes a key and a value");
    }
    Ok(())
}

fn validate_enums(command: &RefreshConnection) -> Result<(), Invalid> {
    let known = |values: &[i32], is_named: fn(i32) -> bool| values.iter().all(|value| is_named(*value));
    let checks: [(&'static str, bool, &'static str); 4] = [
        (
            "import_new_accounts",
            ImportNewAccounts::try_from(command.import_new_accounts).is_ok(),
            "must be skip, conditional or forced",
        ),
        (
            "account_types",
            known(&command.account_types, |value| {
                AccountType::try_from(value).is_ok_and(|kind| kind != AccountType::Unspecified)
            }),
            "must be account types of commands.proto",
        ),
        (
            "allowed_interfaces",
            known(&command.allowed_interfaces, |value| {
                BankingInterface::try_from(value).is_ok_and(|kind| kind != BankingInterface::Unspecified)
            }),
            "must be XS2A, FINTS_SERVER or WEB_SCRAPER",
        ),
        (
            "edit_saved_settings",
            known(&command.edit_saved_settings, |value| {
                SavedSetting::try_from(value).is_ok_and(|kind| kind != SavedSetting::Unspecified)
            }),
            "must be credentials or default two-step procedure",
        ),
    ];
    match checks.into_iter().find(|(_, holds, _)| !holds) {
        Some((field, _, allowed)) => Err(Invalid { field, allowed }),
        None => Ok(()),
    }
}

/// Whether the command asks for more than bringing the known accounts up to date, so that a running update that
/// somebody else began does not satisfy it.
#[must_use]
pub fn asks_for_more(command: &RefreshConnection) -> bool {
    imports_new_accounts(command) || !command.edit_saved_settings.is_empty()
}

/// Whether new accounts are to be imported.
#[must_use]
pub fn imports_new_accounts(command: &RefreshConnection) -> bool {
    matches!(
        command.import_new_accounts(),
        ImportNewAccounts::Conditional | ImportNewAccounts::Forced
    )
}

/// Since when an update is fresh enough for the command, when it says so by `max_age`.
#[must_use]
pub fn fresh_since(command: &RefreshConnection, requested_at: Timestamp) -> Option<Timestamp> {
    let age = std::time::Duration::try_from(*command.max_age.as_ref()?).ok()?;
    Some(requested_at.saturating_sub(age).unwrap_or(Timestamp::MIN))
}

fn is_https_url(text: &str) -> bool {
    text.chars().count() <= URL_CHARACTERS_MAX
        && url::Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> RefreshConnection {
        RefreshConnection {
            command_id: Uuid::from_u128(1).to_string(),
            user_id: "anna".into(),
            bank_connection_id: 1,
            ..RefreshConnection::default()
        }
    }

    #[test]
    fn a_plain_command_is_fit() {
        assert_eq!(validate(&command()), Ok(()));
    }

    #[test]
    fn every_field_out_of_bounds_is_named() {
        type Spoil = fn(&mut RefreshConnection);
        let spoilt: [(&str, Spoil); 14] = [
            ("command_id", |c| c.command_id = "7".into()),
            ("user_id", |c| c.user_id.clear()),
            ("user_id", |c| c.user_id = "x".repeat(37)),
            ("bank_connection_id", |c| c.bank_connection_id = 0),
            ("requested_at", |c| {
                c.requested_at = Some(prost_types::Timestamp {
                    seconds: i64::MAX,
                    nanos: 0,
                });
            }),
            ("import_new_accounts", |c| c.import_new_accounts = 9),
            ("account_types", |c| c.account_types = vec![1]),
            ("account_types", |c| {
                c.import_new_accounts = 2;
                c.account_types = vec![0];
            }),
            ("skip_balances_download", |c| c.skip_balances_download = true),
            ("user_metadata", |c| {
                c.user_metadata = Some(crate::proto::UserMetadata::default())
            }),
            ("profile_id", |c| c.profile_id = "short".into()),
            ("redirect_url", |c| c.redirect_url = "http://example.org".into()),
            ("max_age", |c| {
                c.max_age = Some(prost_types::Duration { seconds: -1, nanos: 0 })
            }),
            ("labels", |c| {
                c.labels.insert("k".into(), "v".repeat(256));
            }),
        ];
        for (field, spoil) in spoilt {
            let mut command = command();
            spoil(&mut command);
            assert_eq!(validate(&command).map_err(|invalid| invalid.field), Err(field));
        }
    }
}
