//! The edge: the protocol's command becomes a [`Command`] or is refused, and every rule of `commands.proto` is here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{AccountType, BankingInterface, Command, Download, ImportNewAccounts, SavedSetting, UserMetadata};
use crate::id::{ConnectionId, RefreshId};
use crate::limits::is_client_name;
use crate::limits::{
    ACCESS_TOKEN_BYTES_MAX, ACCOUNT_TYPES_MAX, DEVICE_CHARACTERS_MAX, INTERFACES_MAX, IP_ADDRESS_CHARACTERS_MAX,
    LABEL_BYTES_MAX, LABELS_MAX, MAX_AGE_SECONDS_MAX, PROFILE_ID_CHARACTERS, SAVED_SETTINGS_MAX, URL_CHARACTERS_MAX,
};
use crate::plain::is_plain;
use crate::proto::{self, RefreshConnection, from_timestamp, timestamp};

/// Why a command can't be acted on: the field and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {allowed}{}", of_newer_release(*.unknown))]
pub struct InvalidCommand {
    /// The field's name in `commands.proto`.
    pub field: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
    /// An enum's value that this release does not know: a newer sender may mean something by it.
    pub unknown: Option<i32>,
}

fn of_newer_release(unknown: Option<i32>) -> String {
    unknown.map_or_else(String::new, |value| {
        format!(" (this release does not know the value {value})")
    })
}

impl InvalidCommand {
    fn new(field: &'static str, allowed: &'static str) -> Self {
        Self {
            field,
            allowed,
            unknown: None,
        }
    }
}

impl Command {
    /// Reads a command, before anything is asked of finAPI.
    ///
    /// # Errors
    ///
    /// The first field that is not as `commands.proto` says.
    pub fn parse(command: RefreshConnection) -> Result<Self, InvalidCommand> {
        let import_new_accounts = import_new_accounts(command.import_new_accounts)?;
        Ok(Self {
            refresh_id: refresh_id(&command)?,
            requested_at: moment("requested_at", command.requested_at.as_ref())?,
            import_new_accounts,
            account_types: account_types(&command.account_types, import_new_accounts)?,
            allowed_interfaces: allowed_interfaces(&command.allowed_interfaces)?,
            edit_saved_settings: edit_saved_settings(&command.edit_saved_settings)?,
            download: download(command.skip_balances_download, command.skip_positions_download)?,
            load_owner_data: command.load_owner_data,
            user_metadata: command.user_metadata.map(user_metadata).transpose()?,
            profile_id: profile_id(command.profile_id)?,
            redirect_url: redirect_url(command.redirect_url)?,
            max_age: command.max_age.map(max_age).transpose()?,
            transactions_since: moment("transactions_since", command.transactions_since.as_ref())?,
            wait_for_categorization: command.wait_for_categorization,
            access_token: access_token(command.access_token)?,
            labels: labels(command.labels)?,
            client: client(command.client)?,
        })
    }
}

/// What an optional text says; none where it is empty.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn refresh_id(command: &RefreshConnection) -> Result<RefreshId, InvalidCommand> {
    let invalid = InvalidCommand::new;
    let (command_id, user_id) = (command.command_id.parse(), command.user_id.parse());
    Ok(RefreshId {
        command_id: command_id.map_err(|_| invalid("command_id", "must be a UUID with hyphens and small letters"))?,
        user_id: user_id.map_err(|_| invalid("user_id", "must have 1 to 36 characters that can be printed"))?,
        connection_id: connection_id(command.bank_connection_id)?,
    })
}

/// What goes into a header.
fn access_token(text: String) -> Result<Option<SecretString>, InvalidCommand> {
    let fits = text.len() <= ACCESS_TOKEN_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    match fits {
        true => Ok(given(text).map(SecretString::from)),
        false => Err(InvalidCommand::new(
            "access_token",
            "at most 8192 visible ASCII characters",
        )),
    }
}

/// Whether a text can be printed and has at most so many characters.
fn is_short(text: &str, characters_max: usize) -> bool {
    text.chars().count() <= characters_max && text.chars().all(is_plain)
}

fn connection_id(id: i64) -> Result<ConnectionId, InvalidCommand> {
    match id {
        1.. => Ok(id.into()),
        _ => Err(InvalidCommand::new("bank_connection_id", "must be greater than zero")),
    }
}

fn moment(field: &'static str, at: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, InvalidCommand> {
    let invalid = || InvalidCommand::new(field, "must be a valid timestamp");
    at.map(|at| timestamp(at).ok_or_else(invalid)).transpose()
}

fn import_new_accounts(value: i32) -> Result<Option<ImportNewAccounts>, InvalidCommand> {
    match proto::ImportNewAccounts::try_from(value) {
        Ok(mode) => Ok(ImportNewAccounts::of(mode)),
        Err(_) => Err(InvalidCommand {
            unknown: Some(value),
            ..InvalidCommand::new("import_new_accounts", "must be skip, conditional or forced")
        }),
    }
}

fn account_types(values: &[i32], import: Option<ImportNewAccounts>) -> Result<Vec<AccountType>, InvalidCommand> {
    let invalid = InvalidCommand::new("account_types", "must be at most 7 account types of commands.proto");
    let types = all(values, ACCOUNT_TYPES_MAX, AccountType::of, invalid)?;
    match import {
        None | Some(ImportNewAccounts::Skip) if !types.is_empty() => Err(InvalidCommand::new(
            "account_types",
            "only with import_new_accounts conditional or forced",
        )),
        _ => Ok(types),
    }
}

fn allowed_interfaces(values: &[i32]) -> Result<Vec<BankingInterface>, InvalidCommand> {
    let invalid = InvalidCommand::new(
        "allowed_interfaces",
        "must be at most 3 of XS2A, FINTS_SERVER and WEB_SCRAPER",
    );
    all(values, INTERFACES_MAX, BankingInterface::of, invalid)
}

fn edit_saved_settings(values: &[i32]) -> Result<Vec<SavedSetting>, InvalidCommand> {
    let allowed = "must be at most 2 of credentials and default two-step procedure";
    let invalid = InvalidCommand::new("edit_saved_settings", allowed);
    all(values, SAVED_SETTINGS_MAX, SavedSetting::of, invalid)
}

/// All values of an enum, or the first that this release does not know.
fn all<T>(
    values: &[i32],
    count_max: usize,
    of: fn(i32) -> Option<T>,
    invalid: InvalidCommand,
) -> Result<Vec<T>, InvalidCommand> {
    if values.len() > count_max {
        return Err(invalid);
    }
    let known = |value: &i32| {
        of(*value).ok_or_else(|| InvalidCommand {
            // Every release knows zero, and refuses it.
            unknown: Some(*value).filter(|value| *value != 0),
            ..invalid.clone()
        })
    };
    values.iter().map(known).collect()
}

fn download(skip_balances: bool, skip_positions: bool) -> Result<Download, InvalidCommand> {
    match (skip_positions, skip_balances) {
        (false, false) => Ok(Download::Everything),
        (true, false) => Ok(Download::WithoutPositions),
        (true, true) => Ok(Download::WithoutPositionsAndBalances),
        (false, true) => Err(InvalidCommand::new(
            "skip_balances_download",
            "only together with skip_positions_download",
        )),
    }
}

fn user_metadata(user: proto::UserMetadata) -> Result<UserMetadata, InvalidCommand> {
    let proto::UserMetadata {
        ip_address,
        device_os,
        user_agent,
    } = user;
    if [&ip_address, &device_os, &user_agent]
        .iter()
        .any(|text| text.is_empty())
    {
        let allowed = "ip_address, device_os and user_agent are all required";
        return Err(InvalidCommand::new("user_metadata", allowed));
    }
    let is_device = |text| is_short(text, DEVICE_CHARACTERS_MAX);
    if !is_short(&ip_address, IP_ADDRESS_CHARACTERS_MAX) || !is_device(&device_os) || !is_device(&user_agent) {
        let allowed =
            "at most 64 characters of ip_address, and 1024 of device_os and of user_agent, that can be printed";
        return Err(InvalidCommand::new("user_metadata", allowed));
    }
    Ok(UserMetadata {
        ip_address,
        device_os,
        user_agent,
    })
}

fn profile_id(text: String) -> Result<Option<String>, InvalidCommand> {
    match text.chars().count() {
        0 => Ok(None),
        PROFILE_ID_CHARACTERS if text.chars().all(is_plain) => Ok(Some(text)),
        _ => Err(InvalidCommand::new(
            "profile_id",
            "must have 36 characters that can be printed",
        )),
    }
}

fn redirect_url(text: String) -> Result<Option<String>, InvalidCommand> {
    let is_https = |text: &String| {
        // As finAPI has it. The parser would change other characters, but the text is what finAPI gets.
        is_short(text, URL_CHARACTERS_MAX)
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-()@:%_+.~#?&/=".contains(c))
            && url::Url::parse(text).is_ok_and(|url| {
                url.scheme() == "https" && url.host_str().is_some_and(|host| host.trim_matches('.').contains('.'))
            })
    };
    match given(text) {
        Some(url) if !is_https(&url) => Err(InvalidCommand::new(
            "redirect_url",
            "must be an https URL of at most 2048 characters: a host with a dot, letters, digits and -()@:%_+.~#?&/=",
        )),
        url => Ok(url),
    }
}

fn max_age(age: prost_types::Duration) -> Result<Duration, InvalidCommand> {
    let invalid = InvalidCommand::new("max_age", "must be 0 to 315576000000 seconds");
    if !(0..=MAX_AGE_SECONDS_MAX).contains(&age.seconds) || !(0..1_000_000_000).contains(&age.nanos) {
        return Err(invalid);
    }
    age.try_into().map_err(|_| invalid)
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidCommand> {
    let fits = |text: &String| text.len() <= LABEL_BYTES_MAX;
    if labels.len() <= LABELS_MAX && labels.iter().all(|(key, value)| fits(key) && fits(value)) {
        return Ok(labels);
    }
    Err(InvalidCommand::new(
        "labels",
        "at most 32 entries of at most 255 bytes a key and a value",
    ))
}

fn client(text: String) -> Result<Option<String>, InvalidCommand> {
    match text.is_empty() || is_client_name(&text) {
        true => Ok(given(text)),
        false => Err(InvalidCommand::new(
            "client",
            "at most 64 letters, digits, `.`, `_` and `-`",
        )),
    }
}

/// What [`Command::parse`] reads as the same command: for checkpoints, and for the way back to a lane.
impl From<&Command> for RefreshConnection {
    fn from(command: &Command) -> Self {
        let import_new_accounts = command.import_new_accounts.map(proto::ImportNewAccounts::from);
        Self {
            command_id: command.id().to_string(),
            user_id: command.user_id().to_string(),
            bank_connection_id: command.connection_id().get(),
            requested_at: command.requested_at.map(from_timestamp),
            import_new_accounts: import_new_accounts.unwrap_or_default().into(),
            account_types: values(&command.account_types, proto::AccountType::from),
            allowed_interfaces: values(&command.allowed_interfaces, proto::BankingInterface::from),
            edit_saved_settings: values(&command.edit_saved_settings, proto::SavedSetting::from),
            skip_balances_download: command.download == Download::WithoutPositionsAndBalances,
            skip_positions_download: command.download != Download::Everything,
            load_owner_data: command.load_owner_data,
            user_metadata: command.user_metadata.clone().map(Into::into),
            profile_id: command.profile_id.clone().unwrap_or_default(),
            redirect_url: command.redirect_url.clone().unwrap_or_default(),
            max_age: command.max_age.map(from_duration),
            transactions_since: command.transactions_since.map(from_timestamp),
            wait_for_categorization: command.wait_for_categorization,
            access_token: exposed(command.access_token.as_ref()),
            labels: command.labels.clone(),
            client: command.client.clone().unwrap_or_default(),
        }
    }
}

impl From<UserMetadata> for proto::UserMetadata {
    fn from(user: UserMetadata) -> Self {
        Self {
            ip_address: user.ip_address,
            device_os: user.device_os,
            user_agent: user.user_agent,
        }
    }
}

fn values<T: Copy, P: Into<i32>>(choices: &[T], to_proto: fn(T) -> P) -> Vec<i32> {
    choices.iter().map(|choice| to_proto(*choice).into()).collect()
}

/// Both numbers fit, because they came from there.
fn from_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

fn exposed(secret: Option<&SecretString>) -> String {
    secret
        .map(|secret| secret.expose_secret().to_owned())
        .unwrap_or_default()
}
