//! The body of `POST /api/tasks/backgroundUpdate`, in either of the two sets of names that finAPI's sources give.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::id::ConnectionId;
use crate::refresh::Command;
use crate::refresh::command::{AccountType, BankingInterface, Download, ImportNewAccounts, SavedSetting};

/// Which names finAPI is spoken to with (`finapi.dialect`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Those with which finAPI starts the first update of this process: the reference's are tried first.
    #[default]
    Auto,
    /// `bankConnectionIds`, `importNewAccounts`, `editSavedSettings`.
    Guide,
    /// `bankConnectionId`, `importNewAccountsMode`, `manageSavedSettings`.
    Reference,
}

/// The language of finAPI's messages (`finapi.language`).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// German.
    De,
    /// English.
    En,
    /// Czech.
    Cs,
    /// Slovak.
    Sk,
}

impl Language {
    /// As `Accept-Language` names it.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::De => "de",
            Self::En => "en",
            Self::Cs => "cs",
            Self::Sk => "sk",
        }
    }
}

/// One of the two sets of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The guide's.
    Guide,
    /// The reference's.
    Reference,
}

/// The fields that are called otherwise in the two.
const REVEALING_FIELDS: [&str; 6] = [
    "bankConnectionIds",
    "bankConnectionId",
    "importNewAccounts",
    "importNewAccountsMode",
    "editSavedSettings",
    "manageSavedSettings",
];

impl Names {
    /// The name of the set in settings, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Guide => "guide",
            Self::Reference => "reference",
        }
    }

    /// The other set.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Guide => Self::Reference,
            Self::Reference => Self::Guide,
        }
    }
}

impl Dialect {
    /// The names that it settles on.
    #[must_use]
    pub fn names(self) -> Option<Names> {
        match self {
            Self::Auto => None,
            Self::Guide => Some(Names::Guide),
            Self::Reference => Some(Names::Reference),
        }
    }
}

/// Whether a validation error over these fields is a matter of names.
#[must_use]
pub fn is_about_names(fields: &[String]) -> bool {
    fields.iter().any(|field| {
        let name = field.split(['[', '.']).next().unwrap_or_default();
        REVEALING_FIELDS.contains(&name)
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bank_connection_ids: Option<[ConnectionId; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bank_connection_id: Option<ConnectionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_new_accounts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_new_accounts_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_types: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_interfaces: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edit_saved_settings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    manage_saved_settings: Vec<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    skip_balances_download: bool,
    #[serde(skip_serializing_if = "is_false")]
    skip_positions_download: bool,
    #[serde(skip_serializing_if = "is_false")]
    load_owner_data: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<&'a Callbacks>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_metadata: Option<UserMetadata<'a>>,
}

/// Where finAPI should call back.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Callbacks {
    /// When the task or its web form is over.
    pub finalised: String,
    /// When the task needs the user.
    pub web_form_required: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserMetadata<'a> {
    ip_address: Ipv4Addr,
    device_os: &'a str,
    user_agent: &'a str,
}

/// The user's device, as far as finAPI takes it: Access V2 replaces an address that is not IPv4 by its own.
fn user_metadata(command: &Command) -> Option<UserMetadata<'_>> {
    let user = command.user_metadata()?;
    let ip_address = match user.ip_address.parse().ok()? {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped()?,
    };
    Some(UserMetadata {
        ip_address,
        device_os: &user.device_os,
        user_agent: &user.user_agent,
    })
}

/// Whether finAPI is not notified of the user's device, because it does not take the address.
#[must_use]
pub fn leaves_out_user(command: &Command) -> bool {
    command.user_metadata().is_some() && user_metadata(command).is_none()
}

/// Writes the body for a command.
#[must_use]
pub fn body(command: &Command, names: Names, callbacks: Option<&Callbacks>) -> Vec<u8> {
    let saved_settings: Vec<&'static str> = command.edit_saved_settings().iter().map(saved_setting).collect();
    let guide = names == Names::Guide;
    let (edit_saved_settings, manage_saved_settings) = if guide {
        (saved_settings, Vec::new())
    } else {
        (Vec::new(), saved_settings)
    };
    let id = command.connection_id();
    // The guide has no word for FORCED, so it goes by the reference's.
    let (import_new_accounts, import_new_accounts_mode) = match command.import_new_accounts() {
        ImportNewAccounts::Skip => (None, None),
        ImportNewAccounts::Conditional if guide => (Some(true), None),
        ImportNewAccounts::Conditional => (None, Some("CONDITIONAL")),
        ImportNewAccounts::Forced => (None, Some("FORCED")),
    };
    let body = Body {
        bank_connection_ids: guide.then_some([id]),
        bank_connection_id: (!guide).then_some(id),
        import_new_accounts,
        import_new_accounts_mode,
        account_types: command.account_types().iter().map(account_type).collect(),
        allowed_interfaces: command.allowed_interfaces().iter().map(interface).collect(),
        edit_saved_settings,
        manage_saved_settings,
        skip_balances_download: command.download() == Download::WithoutPositionsAndBalances,
        skip_positions_download: command.download() != Download::Everything,
        load_owner_data: command.load_owner_data(),
        callbacks,
        profile_id: command.profile_id(),
        redirect_url: command.redirect_url(),
        user_metadata: user_metadata(command),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

fn account_type(kind: &AccountType) -> &'static str {
    match kind {
        AccountType::Checking => "CHECKING",
        AccountType::Savings => "SAVINGS",
        AccountType::CreditCard => "CREDIT_CARD",
        AccountType::Security => "SECURITY",
        AccountType::Loan => "LOAN",
        AccountType::Membership => "MEMBERSHIP",
        AccountType::Bausparen => "BAUSPAREN",
    }
}

fn interface(kind: &BankingInterface) -> &'static str {
    match kind {
        BankingInterface::Xs2a => "XS2A",
        BankingInterface::FintsServer => "FINTS_SERVER",
        BankingInterface::WebScraper => "WEB_SCRAPER",
    }
}

fn saved_setting(setting: &SavedSetting) -> &'static str {
    match setting {
        SavedSetting::Credentials => "CREDENTIALS",
        SavedSetting::DefaultTwoStepProcedure => "DEFAULT_TWO_STEP_PROCEDURE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{self, RefreshConnection};
    use serde_json::{Value, json};

    fn plain() -> RefreshConnection {
        RefreshConnection {
            command_id: uuid::Uuid::nil().to_string(),
            user_id: "anna".into(),
            bank_connection_id: 7,
            ..RefreshConnection::default()
        }
    }

    fn command() -> RefreshConnection {
        RefreshConnection {
            import_new_accounts: proto::ImportNewAccounts::Conditional.into(),
            account_types: vec![
                proto::AccountType::Checking.into(),
                proto::AccountType::CreditCard.into(),
            ],
            edit_saved_settings: vec![proto::SavedSetting::Credentials.into()],
            skip_positions_download: true,
            user_metadata: Some(proto::UserMetadata {
                ip_address: "192.0.2.1".into(),
                device_os: "iOS".into(),
                user_agent: "App".into(),
            }),
            ..plain()
        }
    }

    fn written(command: RefreshConnection, names: Names) -> Value {
        let command = &Command::parse(command).expect("a command");
        serde_json::from_slice(&body(command, names, None)).expect("JSON")
    }

    #[test]
    fn both_sets_of_names_are_written_as_their_sources_have_them() {
        let shared = json!({
            "accountTypes": ["CHECKING", "CREDIT_CARD"],
            "skipPositionsDownload": true,
            "userMetadata": {"ipAddress": "192.0.2.1", "deviceOs": "iOS", "userAgent": "App"},
        });
        let with = |more: Value| {
            let mut all = shared.as_object().cloned().expect("an object");
            all.extend(more.as_object().cloned().expect("an object"));
            Value::Object(all)
        };
        let guide = json!({"bankConnectionIds": [7], "importNewAccounts": true, "editSavedSettings": ["CREDENTIALS"]});
        assert_eq!(written(command(), Names::Guide), with(guide));
        let reference = json!({
            "bankConnectionId": 7,
            "importNewAccountsMode": "CONDITIONAL",
            "manageSavedSettings": ["CREDENTIALS"],
        });
        assert_eq!(written(command(), Names::Reference), with(reference));
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        assert_eq!(written(plain(), Names::Guide), json!({"bankConnectionIds": [7]}));
    }

    #[test]
    fn an_address_that_finapi_does_not_take_leaves_the_user_out() {
        let at = |ip_address: &str| {
            let mut command = command();
            command.user_metadata.as_mut().expect("a user").ip_address = ip_address.to_owned();
            let leaves_out = leaves_out_user(&Command::parse(command.clone()).expect("a command"));
            let written = written(command, Names::Reference);
            let address = written.pointer("/userMetadata/ipAddress").cloned();
            assert_eq!(leaves_out, address.is_none(), "{ip_address}");
            address
        };
        assert_eq!(at("192.0.2.1"), Some(json!("192.0.2.1")));
        assert_eq!(at("::ffff:192.0.2.1"), Some(json!("192.0.2.1")));
        for other in ["2001:db8::1", "fe80::1%eth0", "192.0.2.1:443", "unknown", "192.0.2.256"] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_recognised_in_validation_errors() {
        assert!(is_about_names(&["bankConnectionIds[0]".to_owned()]));
        assert!(!is_about_names(&["accountTypes".to_owned()]));
    }
}
