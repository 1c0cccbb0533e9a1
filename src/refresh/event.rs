//! What a refresh tells the services downstream.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use prost::Message as _;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::answer::{self, Collected, Connection, WebFormLink};
pub use super::settings::{Detail, Transactions};
use super::{Fail, Phase, Refresh, Update};
use crate::proto::{
    self, AccountInterfaceStatus, AccountType, Bank, BankingInterface, InterfaceStatus, RefreshContext, RefreshFailed,
    TransactionsUpdated, UserActionReason, UserActionRequired, from_timestamp,
};

/// The longest purpose text an event carries, in characters; longer ones are cut.
pub const PURPOSE_CHARACTERS_MAX: usize = 2000;

/// The longest name of a category that an event carries, in characters. Parts leave room for it, so that they are cut alike before and
/// after finAPI has categorized: two copies of a refresh would else tell transactions twice, or none of them.
pub const CATEGORY_CHARACTERS_MAX: usize = 64;

/// The room that the first part leaves for an account and for an interface, for the same reason.
const ACCOUNT_BYTES: usize = 1024;
const INTERFACE_BYTES: usize = 64;

/// An event to be published.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// The connection is up to date.
    TransactionsUpdated(TransactionsUpdated),
    /// The user must act.
    UserActionRequired(UserActionRequired),
    /// The refresh did not succeed.
    RefreshFailed(RefreshFailed),
}

/// The summary: an event may hold a web form's URL and much that is personal.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl Event {
    /// The routing key at the events exchange.
    #[must_use]
    pub fn routing_key(&self) -> &'static str {
        match self {
            Self::TransactionsUpdated(_) => "transactions.updated",
            Self::UserActionRequired(_) => "user-action.required",
            Self::RefreshFailed(_) => "refresh.failed",
        }
    }

    /// The full name of the protobuf message.
    #[must_use]
    pub fn message_name(&self) -> &'static str {
        match self {
            Self::TransactionsUpdated(_) => "bankrefresh.v1.TransactionsUpdated",
            Self::UserActionRequired(_) => "bankrefresh.v1.UserActionRequired",
            Self::RefreshFailed(_) => "bankrefresh.v1.RefreshFailed",
        }
    }

    /// What every event begins with.
    #[must_use]
    pub fn context(&self) -> Option<&RefreshContext> {
        match self {
            Self::TransactionsUpdated(event) => event.refresh.as_ref(),
            Self::UserActionRequired(event) => event.refresh.as_ref(),
            Self::RefreshFailed(event) => event.refresh.as_ref(),
        }
    }

    /// Whether it is the command's outcome, or its last part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::TransactionsUpdated(event) => event.part >= event.parts,
            Self::UserActionRequired(_) => false,
            Self::RefreshFailed(_) => true,
        }
    }

    /// What happened in one line, without anything personal or secret.
    #[must_use]
    pub fn summary(&self) -> String {
        let lower = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase().replace('_', " ");
        match self {
            Self::TransactionsUpdated(event) => {
                let origin = lower(event.origin().as_str_name(), "UPDATE_ORIGIN_");
                let part = match event.parts {
                    0 | 1 => String::new(),
                    parts => format!(", part {} of {parts}", event.part),
                };
                let transactions = event.new_transactions;
                format!("TransactionsUpdated ({origin}, {transactions} new transactions{part})")
            }
            Self::UserActionRequired(event) => {
                let reason = lower(event.reason().as_str_name(), "USER_ACTION_REASON_");
                format!("UserActionRequired ({reason})")
            }
            Self::RefreshFailed(event) => {
                let reason = lower(event.reason().as_str_name(), "FAILURE_REASON_");
                match event.finapi_code.as_str() {
                    "" => format!("RefreshFailed ({reason})"),
                    code => format!("RefreshFailed ({reason}, {code})"),
                }
            }
        }
    }

    /// The protobuf encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::TransactionsUpdated(event) => event.encode_to_vec(),
            Self::UserActionRequired(event) => event.encode_to_vec(),
            Self::RefreshFailed(event) => event.encode_to_vec(),
        }
    }

    /// Reads an event back.
    ///
    /// # Errors
    ///
    /// When the body is not what the name says, or the name is unknown.
    pub fn decode(message_name: &str, body: &[u8]) -> Result<Self, prost::DecodeError> {
        match message_name {
            "bankrefresh.v1.TransactionsUpdated" => TransactionsUpdated::decode(body).map(Self::TransactionsUpdated),
            "bankrefresh.v1.UserActionRequired" => UserActionRequired::decode(body).map(Self::UserActionRequired),
            "bankrefresh.v1.RefreshFailed" => RefreshFailed::decode(body).map(Self::RefreshFailed),
            #[expect(deprecated, reason = "prost has no other way to make one")]
            other => Err(prost::DecodeError::new(format!("{other:?} is no event"))),
        }
    }
}

pub(super) fn user_action_required(
    refresh: &Refresh,
    now: Timestamp,
    form: &WebFormLink,
    expires_at: Timestamp,
    reason: UserActionReason,
) -> Event {
    Event::UserActionRequired(UserActionRequired {
        refresh: Some(context(refresh, now, &format!("web-form/{}", form.id))),
        web_form_url: form.url.expose_secret().to_owned(),
        web_form_id: form.id.clone(),
        expires_at: Some(from_timestamp(expires_at)),
        reason: reason.into(),
    })
}

/// finAPI's batch update needs the user; `trigger_event` is what finAPI calls the reason.
#[must_use]
pub fn user_action_by_batch(refresh: &Refresh, now: Timestamp, trigger_event: &str) -> Event {
    Event::UserActionRequired(UserActionRequired {
        refresh: Some(context(refresh, now, &format!("batch/{trigger_event}"))),
        reason: UserActionReason::BatchUpdate.into(),
        ..UserActionRequired::default()
    })
}

pub(super) fn failed(refresh: &Refresh, now: Timestamp, fail: &Fail) -> Event {
    let part = match &refresh.phase {
        Phase::Settling { update } | Phase::Collecting { update, .. } => update.next_part,
        _ => 1,
    };
    Event::RefreshFailed(RefreshFailed {
        refresh: Some(context(refresh, now, &outcome(part))),
        reason: fail.reason.into(),
        finapi_code: fail.code.clone(),
        message: fail.message.clone(),
        bank_message: fail.bank_message.clone(),
        retryable: fail.retryable,
        finapi_request_id: fail.request_id.clone(),
    })
}

/// A part of the outcome.
pub(super) struct Told {
    /// The event.
    pub(super) event: Event,
    /// The last transaction in it, if others follow in a next part.
    pub(super) more_after: Option<i64>,
}

/// The next part of the outcome. It goes on after the last transaction that was told, for what finAPI adds to transactions
/// meanwhile (categories) would move any other boundary.
pub(super) fn transactions_updated(
    refresh: &Refresh,
    now: Timestamp,
    update: &Update,
    connection: &Connection,
    collected: &Collected,
    settings: &Transactions,
) -> Told {
    let part = update.next_part;
    let mut event = TransactionsUpdated {
        refresh: Some(context(refresh, now, &outcome(part))),
        origin: update.origin.into(),
        bank: Some(Bank {
            id: connection.bank_id,
            name: connection.bank_name.clone(),
        }),
        part,
        new_transactions: count(collected.transactions.len()),
        ..TransactionsUpdated::default()
    };
    let room = settings.size_max.saturating_sub(longest(&event));
    if part == 1 {
        event.accounts = accounts(collected);
        event.interfaces = interfaces(connection, now, settings.consent_warning);
    }
    let accounts_and_more = event.accounts.len() * ACCOUNT_BYTES + event.interfaces.len() * INTERFACE_BYTES;
    let room_here =
        room.saturating_sub(accounts_and_more.max((longest(&event) + room).saturating_sub(settings.size_max)));
    let left: Vec<proto::Transaction> = match settings.transactions {
        Detail::Inline => {
            let left = collected.transactions.iter().filter(|t| t.id > update.told_up_to);
            left.map(transaction).collect()
        }
        Detail::Summary => Vec::new(),
    };
    let mut parts = split(left, room_here, room).into_iter();
    event.parts = part - 1 + count(parts.len());
    event.transactions = parts.next().unwrap_or_default();
    let last = event.transactions.last().map(|transaction| transaction.id);
    let more = parts.len() > 0;
    Told {
        event: Event::TransactionsUpdated(event),
        more_after: more.then_some(last.unwrap_or(update.told_up_to)),
    }
}

/// The most bytes a part that begins like this can have without its transactions, whatever its number and moment are, and
/// whether or not a task is known: so all copies of a refresh cut the same parts as long as finAPI says the same.
fn longest(begun: &TransactionsUpdated) -> usize {
    let mut longest = TransactionsUpdated {
        origin: crate::proto::UpdateOrigin::Silent.into(),
        part: u32::MAX,
        parts: u32::MAX,
        new_transactions: u32::MAX,
        ..begun.clone()
    };
    if let Some(refresh) = &mut longest.refresh {
        refresh.occurred_at = Some(from_timestamp(Timestamp::MAX));
        let known = refresh.task_id.len().max(uuid::fmt::Hyphenated::LENGTH);
        refresh.task_id = "x".repeat(known);
    }
    for interface in &mut longest.interfaces {
        interface.consent_expires_soon = true;
    }
    longest.encoded_len()
}

/// The most bytes a transaction takes, whatever finAPI adds to it later.
fn size_at_most(transaction: &mut proto::Transaction) -> usize {
    const TAGS_AND_LENGTHS: usize = 8;
    let category = std::mem::take(&mut transaction.category);
    let duplicate = std::mem::replace(&mut transaction.is_potential_duplicate, true);
    let adjusting = std::mem::replace(&mut transaction.is_adjusting_entry, true);
    let size = transaction.encoded_len() + CATEGORY_CHARACTERS_MAX * 4 + TAGS_AND_LENGTHS;
    transaction.category = category;
    transaction.is_potential_duplicate = duplicate;
    transaction.is_adjusting_entry = adjusting;
    size
}

/// Fills parts in order, at least one; the first has a room of its own. A transaction that fits no room is alone in its part.
fn split(transactions: Vec<proto::Transaction>, room_first: usize, room: usize) -> Vec<Vec<proto::Transaction>> {
    let mut parts = vec![Vec::new()];
    let mut left = room_first;
    for mut transaction in transactions {
        let size = size_at_most(&mut transaction);
        let is_full = size > left && parts.last().is_some_and(|part| !part.is_empty());
        if is_full {
            parts.push(Vec::new());
            left = room;
        }
        left = left.saturating_sub(size);
        if let Some(part) = parts.last_mut() {
            part.push(transaction);
        }
    }
    parts
}

fn context(refresh: &Refresh, now: Timestamp, what: &str) -> RefreshContext {
    let command = &refresh.command;
    RefreshContext {
        command_id: command.command_id.clone(),
        user_id: command.user_id.clone(),
        bank_connection_id: command.bank_connection_id,
        task_id: refresh.task().map(|task| task.id.clone()).unwrap_or_default(),
        event_id: event_id(&command.command_id, what).to_string(),
        occurred_at: Some(from_timestamp(now)),
        labels: command.labels.clone(),
    }
}

/// The name of the outcome's part. Success and failure share it: the outcome of a command has one id.
fn outcome(part: u32) -> String {
    format!("outcome/{part}")
}

fn event_id(command_id: &str, what: &str) -> Uuid {
    let namespace = Uuid::parse_str(command_id).unwrap_or(Uuid::nil());
    Uuid::new_v5(&namespace, what.as_bytes())
}

fn accounts(collected: &Collected) -> Vec<proto::Account> {
    let mut news: BTreeMap<i64, (u32, Option<Date>)> = BTreeMap::new();
    for transaction in &collected.transactions {
        let (count, oldest) = news.entry(transaction.account_id).or_default();
        *count += 1;
        let date = transaction.bank_booking_date.or(transaction.finapi_booking_date);
        *oldest = match (*oldest, date) {
            (Some(oldest), Some(date)) => Some(oldest.min(date)),
            (oldest, date) => oldest.or(date),
        };
    }
    let account = |account: &answer::Account| {
        let (new_transactions, oldest) = news.get(&account.id).copied().unwrap_or_default();
        proto::Account {
            id: account.id,
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

fn account_interface(interface: &answer::AccountInterface) -> AccountInterfaceStatus {
    AccountInterfaceStatus {
        interface: banking_interface(&interface.name).into(),
        status: interface.status.clone(),
        last_successful_update: interface.last_success_at.map(from_timestamp),
    }
}

fn interfaces(connection: &Connection, now: Timestamp, warning: Duration) -> Vec<InterfaceStatus> {
    let soon = super::later(now, warning);
    let interface = |interface: &answer::Interface| InterfaceStatus {
        interface: banking_interface(&interface.name).into(),
        user_action_required: interface.user_action_required,
        consent_expires_at: interface.consent_expires_at.map(from_timestamp),
        consent_expires_soon: interface.consent_expires_at.is_some_and(|at| at <= soon),
    };
    connection.interfaces.iter().map(interface).collect()
}

fn transaction(transaction: &answer::Transaction) -> proto::Transaction {
    let purpose = match transaction.purpose.char_indices().nth(PURPOSE_CHARACTERS_MAX) {
        Some((end, _)) => transaction.purpose[..end].to_owned(),
        None => transaction.purpose.clone(),
    };
    proto::Transaction {
        id: transaction.id,
        account_id: transaction.account_id,
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

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
