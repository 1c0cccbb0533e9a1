//! finAPI's JSON, as far as the plain worker reads it, and what becomes of it in an event.

use bankrefresh::proto::{Account, AccountInterfaceStatus, Transaction, from_timestamp};
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Credentials {
    pub password: String,
}

#[derive(Deserialize)]
pub struct Token {
    pub access_token: String,
    pub expires_in: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub id: String,
    pub status: String,
    pub created_at: String,
}

#[derive(Deserialize)]
pub struct BankConnection {
    pub bank: ReadBank,
}

#[derive(Deserialize)]
pub struct ReadBank {
    pub id: i64,
    pub name: String,
}

#[derive(Deserialize)]
pub struct Accounts {
    pub accounts: Vec<ReadAccount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadAccount {
    pub id: i64,
    pub account_name: Option<String>,
    pub iban: Option<String>,
    pub account_currency: Option<String>,
    pub balance: f64,
    pub interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    pub status: String,
    pub last_successful_update: Option<String>,
}

#[derive(Deserialize)]
pub struct Page {
    pub transactions: Vec<ReadTransaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadTransaction {
    pub id: i64,
    pub account_id: i64,
    pub amount: f64,
    pub currency: Option<String>,
    pub bank_booking_date: String,
    pub purpose: Option<String>,
    pub counterpart_name: Option<String>,
    pub counterpart_iban: Option<String>,
    pub import_date: String,
}

impl From<ReadAccount> for Account {
    fn from(read: ReadAccount) -> Self {
        Self {
            id: read.id,
            name: read.account_name.unwrap_or_default(),
            iban: read.iban.unwrap_or_default(),
            currency: read.account_currency.unwrap_or_default(),
            balance: read.balance.to_string(),
            interfaces: read.interfaces.into_iter().map(AccountInterfaceStatus::from).collect(),
            ..Self::default()
        }
    }
}

impl From<Interface> for AccountInterfaceStatus {
    fn from(read: Interface) -> Self {
        let updated = read
            .last_successful_update
            .and_then(|text| text.parse::<Timestamp>().ok());
        Self {
            status: read.status,
            last_successful_update: updated.map(from_timestamp),
            ..Self::default()
        }
    }
}

impl From<ReadTransaction> for Transaction {
    fn from(read: ReadTransaction) -> Self {
        Self {
            id: read.id,
            account_id: read.account_id,
            amount: read.amount.to_string(),
            currency: read.currency.unwrap_or_default(),
            bank_booking_date: read.bank_booking_date[..10].to_owned(),
            purpose: read.purpose.unwrap_or_default(),
            counterpart_name: read.counterpart_name.unwrap_or_default(),
            counterpart_iban: read.counterpart_iban.unwrap_or_default(),
            ..Self::default()
        }
    }
}
