//! What events say of accounts, interfaces and transactions.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::limits::{CATEGORY_CHARACTERS_MAX, TEXT_CHARACTERS_MAX};
use crate::proto::{self, AccountInterfaceStatus, AccountType, BankingInterface, InterfaceStatus, from_timestamp};
use crate::refresh::later;
use crate::refresh::model::{self, Connection};
use crate::refresh::reading::AccountFigures;

/// A text of finAPI or of a bank, as an event has it.
pub(in crate::refresh) fn cut(text: &str) -> String {
    first(TEXT_CHARACTERS_MAX, text)
}

/// The first characters, without control characters: those between two words become a space.
fn first(characters_max: usize, text: &str) -> String {
    // Mostly it is short and plain, so its characters are not read one by one.
    let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != 0x7F && byte != 0xC2);
    if is_plain && text.len() <= characters_max {
        return text.to_owned();
    }
    let shown = text.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c => (!c.is_control()).then_some(c),
    });
    shown.take(characters_max).collect()
}

pub(super) fn account(account: &model::Account, figures: AccountFigures) -> proto::Account {
    proto::Account {
        id: account.id.get(),
        name: cut(&account.name),
        iban: cut(&account.iban),
        r#type: account_type(&account.kind).into(),
        currency: cut(&account.currency),
        balance: decimal(account.balance),
        interfaces: account.interfaces.iter().map(account_interface).collect(),
        new_transactions: figures.new,
        oldest_changed_date: text(figures.oldest),
        is_new: account.is_new,
        balance_is_rounded: account.balance_is_rounded,
        unreadable: account.unreadable.clone(),
        holder_name: cut(&account.holder_name),
        number: cut(&account.number),
        sub_number: cut(&account.sub_number),
        is_seized: account.is_seized,
        overdraft_limit: decimal(account.overdraft_limit),
        overdraft: decimal(account.overdraft),
        available_funds: decimal(account.available_funds),
    }
}

fn account_interface(interface: &model::AccountInterface) -> AccountInterfaceStatus {
    AccountInterfaceStatus {
        interface: banking_interface(&interface.name).into(),
        status: cut(&interface.status),
        last_successful_update: interface.last_success_at.map(from_timestamp),
        last_attempt: interface.last_attempt_at.map(from_timestamp),
    }
}

pub(super) fn interfaces(connection: &Connection, now: Timestamp, warning: Duration) -> Vec<InterfaceStatus> {
    let soon = later(now, warning);
    let interface = |interface: &model::Interface| InterfaceStatus {
        interface: banking_interface(&interface.name).into(),
        user_action_required: interface.user_action_required,
        consent_expires_at: interface.consent_expires_at.map(from_timestamp),
        consent_expires_soon: interface.consent_expires_at.is_some_and(|at| at <= soon),
        consent_status: cut(&interface.consent_status),
        consent_supports_new_accounts: interface.consent_supports_new_accounts,
    };
    connection.interfaces.iter().map(interface).collect()
}

pub(super) fn transaction(transaction: &model::Transaction) -> proto::Transaction {
    proto::Transaction {
        id: transaction.id.get(),
        account_id: transaction.account_id.get(),
        amount: transaction.amount.map(|amount| amount.to_string()).unwrap_or_default(),
        amount_is_rounded: transaction.amount_is_rounded,
        unreadable: transaction.unreadable.clone(),
        currency: cut(&transaction.currency),
        bank_booking_date: text(transaction.bank_booking_date),
        value_date: text(transaction.value_date),
        finapi_booking_date: text(transaction.finapi_booking_date),
        purpose: cut(&transaction.purpose),
        counterpart_name: cut(&transaction.counterpart_name),
        counterpart_iban: cut(&transaction.counterpart_iban),
        counterpart_bic: cut(&transaction.counterpart_bic),
        end_to_end_reference: cut(&transaction.end_to_end_reference),
        mandate_reference: cut(&transaction.mandate_reference),
        r#type: cut(&transaction.kind),
        category: first(CATEGORY_CHARACTERS_MAX, &transaction.category),
        is_potential_duplicate: transaction.is_potential_duplicate,
        is_adjusting_entry: transaction.is_adjusting_entry,
        imported_at: transaction.imported_at.map(from_timestamp),
        counterpart_account_number: cut(&transaction.counterpart_account_number),
        counterpart_bank_code: cut(&transaction.counterpart_bank_code),
        counterpart_bank_name: cut(&transaction.counterpart_bank_name),
        customer_reference: cut(&transaction.customer_reference),
        creditor_id: cut(&transaction.creditor_id),
        debtor_id: cut(&transaction.debtor_id),
        ultimate_debtor: cut(&transaction.ultimate_debtor),
        ultimate_creditor: cut(&transaction.ultimate_creditor),
        sepa_purpose_code: cut(&transaction.sepa_purpose_code),
        bank_transaction_code: cut(&transaction.bank_transaction_code),
        bank_transaction_code_description: cut(&transaction.bank_transaction_code_description),
        zka_code: cut(&transaction.zka_code),
        swift_code: cut(&transaction.swift_code),
        primanota: cut(&transaction.primanota),
        original_currency: cut(&transaction.original_currency),
        fee_currency: cut(&transaction.fee_currency),
        original_amount: decimal(transaction.original_amount),
        fee_amount: decimal(transaction.fee_amount),
        compensation_amount: decimal(transaction.compensation_amount),
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

fn decimal(amount: Option<Decimal>) -> String {
    amount.map(|amount| amount.to_string()).unwrap_or_default()
}

fn text(date: Option<Date>) -> String {
    date.map(|date| date.to_string()).unwrap_or_default()
}
