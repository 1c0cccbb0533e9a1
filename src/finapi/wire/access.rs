//! Bank connections and accounts, as Access has them.

use serde::Deserialize;

use super::Content;
use super::amount::Amount;
use super::lenient::{List, Read};
use super::time::GermanTime;
use crate::id::{AccountId, BankId, ConnectionId};
use crate::refresh::model;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::finapi) struct Connection {
    #[expect(dead_code, reason = "what has no id is no connection")]
    id: ConnectionId,
    bank: Option<Bank>,
    update_status: Option<String>,
    categorization_status: Option<String>,
    account_ids: Option<List<AccountId>>,
    interfaces: Option<Vec<Interface>>,
}

#[derive(Default, Deserialize)]
struct Bank {
    id: Option<BankId>,
    name: Option<String>,
    bic: Option<String>,
    blz: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    /// As V1 names it.
    interface: Option<String>,
    /// As V2 does.
    banking_interface: Option<String>,
    user_action_required: Option<bool>,
    ais_consent: Option<Consent>,
    last_manual_update: Option<UpdateResult>,
    last_auto_update: Option<UpdateResult>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consent {
    status: Option<String>,
    supports_import_new_accounts: Option<bool>,
    expires_at: Option<GermanTime>,
}

#[derive(Deserialize)]
struct UpdateResult {
    result: Option<String>,
    timestamp: Option<GermanTime>,
}

#[derive(Deserialize)]
pub(in crate::finapi) struct Accounts {
    accounts: Option<List<Account>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    id: AccountId,
    account_name: Option<String>,
    iban: Option<String>,
    account_type: Option<String>,
    account_currency: Option<String>,
    balance: Option<Amount>,
    account_holder_name: Option<String>,
    account_number: Option<String>,
    sub_account_number: Option<String>,
    is_seized: Option<bool>,
    overdraft: Option<Amount>,
    overdraft_limit: Option<Amount>,
    available_funds: Option<Amount>,
    is_new: Option<bool>,
    interfaces: Option<Vec<AccountInterface>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountInterface {
    interface: Option<String>,
    banking_interface: Option<String>,
    status: Option<String>,
    last_successful_update: Option<GermanTime>,
    last_update_attempt: Option<GermanTime>,
}

impl Content for Connection {
    const MEMBERS: &'static [&'static str] = &["id"];
}

impl Content for Accounts {
    const MEMBERS: &'static [&'static str] = &["accounts"];
}

impl From<Read<Connection>> for model::Connection {
    fn from(read: Read<Connection>) -> Self {
        let (connection, mut unreadable) = (read.value, read.unreadable);
        let account_ids = connection.account_ids.unwrap_or_default();
        unreadable.extend(account_ids.skipped.iter().map(|_| "accountIds".to_owned()));
        let bank = connection.bank.unwrap_or_default();
        Self {
            bank_id: bank.id.unwrap_or_default(),
            bank_name: bank.name.unwrap_or_default(),
            bank_bic: bank.bic.unwrap_or_default(),
            bank_code: bank.blz.unwrap_or_default(),
            ready: connection.update_status.as_deref() == Some("READY"),
            categorized: connection.categorization_status.is_none_or(|status| status == "READY"),
            account_ids: account_ids.items.into_iter().map(|id| id.value).collect(),
            unreadable,
            interfaces: connection
                .interfaces
                .unwrap_or_default()
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }
}

impl From<Interface> for model::Interface {
    fn from(interface: Interface) -> Self {
        let consent = interface.ais_consent.unwrap_or_default();
        let manual = interface.last_manual_update.as_ref();
        let last_manual_update_at = manual.and_then(|update| update.timestamp).map(|at| at.earliest);
        let updates = [interface.last_manual_update, interface.last_auto_update];
        let successes = updates
            .into_iter()
            .flatten()
            .filter(|update| update.result.as_deref() == Some("OK"));
        Self {
            name: interface.interface.or(interface.banking_interface).unwrap_or_default(),
            user_action_required: interface.user_action_required.unwrap_or_default(),
            consent_status: consent.status.unwrap_or_default(),
            consent_supports_new_accounts: consent.supports_import_new_accounts,
            consent_expires_at: consent.expires_at.map(|at| at.earliest),
            last_success_at: successes
                .filter_map(|update| update.timestamp)
                .map(|at| at.earliest)
                .max(),
            last_manual_update_at,
        }
    }
}

impl From<Read<Accounts>> for model::Collected {
    fn from(read: Read<Accounts>) -> Self {
        // What stands in the place of the list may be any number of accounts.
        let unknown = usize::from(read.is_without("accounts"));
        let accounts = read.value.accounts.unwrap_or_default();
        Self {
            accounts: Some(accounts.items.into_iter().map(Into::into).collect()),
            skipped_accounts: accounts.skipped.len() + unknown,
            unreadable: read.unreadable,
            ..Self::default()
        }
    }
}

impl From<Read<Account>> for model::Account {
    fn from(read: Read<Account>) -> Self {
        let account = read.value;
        Self {
            unreadable: read.unreadable,
            id: account.id,
            name: account.account_name.unwrap_or_default(),
            iban: account.iban.unwrap_or_default(),
            kind: account.account_type.unwrap_or_default(),
            currency: account.account_currency.unwrap_or_default(),
            balance: account.balance.map(|amount| amount.value),
            balance_is_rounded: account.balance.is_some_and(|amount| amount.is_rounded),
            holder_name: account.account_holder_name.unwrap_or_default(),
            number: account.account_number.unwrap_or_default(),
            sub_number: account.sub_account_number.unwrap_or_default(),
            is_seized: account.is_seized.unwrap_or_default(),
            overdraft: account.overdraft.map(|amount| amount.value),
            overdraft_limit: account.overdraft_limit.map(|amount| amount.value),
            available_funds: account.available_funds.map(|amount| amount.value),
            is_new: account.is_new.unwrap_or_default(),
            interfaces: account
                .interfaces
                .unwrap_or_default()
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }
}

impl From<AccountInterface> for model::AccountInterface {
    fn from(interface: AccountInterface) -> Self {
        Self {
            name: interface.interface.or(interface.banking_interface).unwrap_or_default(),
            status: interface.status.unwrap_or_default(),
            last_success_at: interface.last_successful_update.map(|at| at.earliest),
            last_attempt_at: interface.last_update_attempt.map(|at| at.earliest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finapi::wire::lenient::read;

    #[test]
    fn nulls_and_unknown_fields_are_normal() {
        let connection: Read<Connection> =
            read(r#"{"id":1,"updateStatus":"READY","bank":null,"interfaces":[{"interface":null}]}"#)
                .expect("a connection");
        let connection = model::Connection::from(connection);
        assert!(connection.ready && connection.categorized);
        assert_eq!(connection.last_success_at(), None);
    }
}
