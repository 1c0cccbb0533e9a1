//! What events say of accounts, interfaces and transactions.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::id::AccountId;
use crate::proto::{self, AccountInterfaceStatus, AccountType, BankingInterface, InterfaceStatus, from_timestamp};
use crate::refresh::later;
use crate::refresh::model::{self, Collected, Connection};

/// The longest purpose text an event carries, in characters; longer ones are cut.
pub const PURPOSE_CHARACTERS_MAX: usize = 2000;

/// The longest name of a category that an event carries, in characters. Parts leave room for it, so that they are cut alike before and
/// after finAPI has categorized: two duplicates of a refresh would else publish transactions twice, or none of them.
pub const CATEGORY_CHARACTERS_MAX: usize = 64;

pub(super) fn accounts(collected: &Collected) -> Vec<proto::Account> {
    let mut news: BTreeMap<AccountId, (u32, Option<Date>)> = BTreeMap::new();
    for transaction in &collected.transactions {
        let (count, oldest) = news.entry(transaction.account_id).or_default();
        *count += 1;
        let date = transaction.bank_booking_date.or(transaction.finapi_booking_date);
        *oldest = match (*oldest, date) {
            (Some(oldest), Some(date)) => Some(oldest.min(date)),
            (oldest, date) => oldest.or(date),
        };
    }
    let account = |account: &model::Account| {
        let (new_transactions, oldest) = news.get(&account.id).copied().unwrap_or_default();
        proto::Account {
            id: account.id.get(),
            name: account.name.clone(),
            iban: account.iban.clone(),
            r#type: account_type(&account.kind).into(),
            currency: account.currency.clone(),
            balance: account.balance.map(|balance| balance.to_string()).unwrap_or_default(),
            interfaces: account.interfaces.iter().map(account_interface).collect(),
            new_transactions,
            oldest_changed_date: text(oldest),
            is_new: account.is_new,
        }
    };
    collected.accounts.iter().map(account).collect()
}

fn account_interface(interface: &model::AccountInterface) -> AccountInterfaceStatus {
    AccountInterfaceStatus {
        interface: banking_interface(&interface.name).into(),
        status: interface.status.clone(),
        last_successful_update: interface.last_success_at.map(from_timestamp),
    }
}

pub(super) fn interfaces(connection: &Connection, now: Timestamp, warning: Duration) -> Vec<InterfaceStatus> {
    let soon = later(now, warning);
    let interface = |interface: &model::Interface| InterfaceStatus {
        interface: banking_interface(&interface.name).into(),
        user_action_required: interface.user_action_required,
        consent_expires_at: interface.consent_expires_at.map(from_timestamp),
        consent_expires_soon: interface.consent_expires_at.is_some_and(|at| at <= soon),
    };
    connection.interfaces.iter().map(interface).collect()
}

pub(super) fn transaction(transaction: &model::Transaction) -> proto::Transaction {
    let purpose = match transaction.purpose.char_indices().nth(PURPOSE_CHARACTERS_MAX) {
        Some((end, _)) => transaction.purpose[..end].to_owned(),
        None => transaction.purpose.clone(),
    };
    proto::Transaction {
        id: transaction.id.get(),
        account_id: transaction.account_id.get(),
        amount: transaction.amount.to_string(),
        currency: transaction.currency.clone(),
        bank_booking_date: text(transaction.bank_booking_date),
        value_date: text(transaction.value_date),
        finapi_booking_date: text(transaction.finapi_booking_date),
        purpose,
        counterpart_name: transaction.counterpart_name.clone(),
        counterpart_iban: transaction.counterpart_iban.clone(),
        counterpart_bic: transaction.counterpart_bic.clone(),
        end_to_end_reference: transaction.end_to_end_reference.clone(),
        mandate_reference: transaction.mandate_reference.clone(),
        r#type: transaction.kind.clone(),
        category: transaction.category.chars().take(CATEGORY_CHARACTERS_MAX).collect(),
        is_potential_duplicate: transaction.is_potential_duplicate,
        is_adjusting_entry: transaction.is_adjusting_entry,
        imported_at: transaction.imported_at.map(from_timestamp),
    }
}

fn account_type(name: &str) -> AccountType {
    match name {
        "Checking" => AccountType::Checking,
        "Savings" => AccountType::Savings,
        "CreditCard" => AccountType::CreditCard,
        "Security" => AccountType::Security,
        "Loan" => AccountType::Loan,
        "Membership" => AccountType::Membership,
        "Bausparen" => AccountType::Bausparen,
        _ => AccountType::Unspecified,
    }
}

fn banking_interface(name: &str) -> BankingInterface {
    match name {
        "XS2A" => BankingInterface::Xs2a,
        "FINTS_SERVER" => BankingInterface::FintsServer,
        "WEB_SCRAPER" => BankingInterface::WebScraper,
        _ => BankingInterface::Unspecified,
    }
}

fn text(date: Option<Date>) -> String {
    date.map(|date| date.to_string()).unwrap_or_default()
}
