//! Cutting what was read into parts, each within the limit of an event.

use std::fmt::Write as _;

use jiff::Timestamp;
use prost::Message as _;

use super::content::{account, cut, interfaces, transaction};
use super::{Detail, Event, EventKind, OUTCOME, Transactions, context};
use crate::proto::{self, Bank, RefreshFailed, TransactionsUpdated, from_timestamp};
use crate::refresh::Refresh;
use crate::refresh::model::{Account, Connection, Transaction};
use crate::refresh::reading::Collecting;

/// The most bytes that come before an element of a list: its tag and its length.
const ELEMENT_HEAD: usize = 1 + 5;

/// What an event can have any number of.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are transactions")]
enum Row {
    Transaction(proto::Transaction),
    Account(proto::Account),
}

/// The parts that what was just read leads to: none where there is nothing to publish yet, and the last one where all is read.
pub(in crate::refresh) fn transactions_updated(
    refresh: &Refresh,
    now: Timestamp,
    collecting: &Collecting,
    read: &[Transaction],
    settings: &Transactions,
) -> Vec<Event> {
    let end = match (&collecting.connection, &collecting.accounts) {
        (Some(connection), Some(accounts)) if collecting.reading.is_over() => Some((connection, accounts)),
        (None, _) | (_, None) | (Some(_), Some(_)) => None,
    };
    let head = head(collecting);
    let last = end.map(|(connection, accounts)| (last(&head, now, collecting, connection, settings), accounts));
    let transactions = match settings.transactions {
        Detail::Inline => read,
        Detail::Summary => &[],
    };
    let figures = &collecting.reading.figures;
    let of_account = |found: &Account| account(found, figures.accounts.get(&found.id).copied().unwrap_or_default());
    let accounts = last.iter().flat_map(|(_, accounts)| accounts.iter());
    let rows = transactions.iter().map(|read| Row::Transaction(transaction(read)));
    let rows = rows.chain(accounts.map(|found| Row::Account(of_account(found))));
    let room = settings
        .size_max
        .saturating_sub(longest(refresh, now, last.as_ref().map_or(&head, |(last, _)| last)));
    let mut parts = split(rows, room);
    let mut events = Vec::new();
    let ending = last.map(|(last, _)| (last, parts.pop().unwrap_or_default()));
    let mut number = collecting.reading.part;
    for rows in parts {
        let part = filled(
            TransactionsUpdated {
                part: number,
                ..head.clone()
            },
            rows,
        );
        let context = context(refresh, now, &name(&part));
        events.push(Event::new(context, EventKind::TransactionsUpdated(part)));
        number = number.saturating_add(1);
    }
    if let Some((last, rows)) = ending {
        let part = filled(TransactionsUpdated { part: number, ..last }, rows);
        events.push(Event::new(
            context(refresh, now, OUTCOME),
            EventKind::TransactionsUpdated(part),
        ));
    }
    events
}

/// What each part says.
fn head(collecting: &Collecting) -> TransactionsUpdated {
    let covered = collecting.reading.covered();
    TransactionsUpdated {
        origin: collecting.update.origin.into(),
        covered_from: covered.map(|interval| from_timestamp(interval.from)),
        covered_until: covered.map(|interval| from_timestamp(interval.until)),
        ..TransactionsUpdated::default()
    }
}

/// What the last part says.
fn last(
    head: &TransactionsUpdated,
    now: Timestamp,
    collecting: &Collecting,
    connection: &Connection,
    settings: &Transactions,
) -> TransactionsUpdated {
    let uncovered = collecting.reading.uncovered.iter();
    TransactionsUpdated {
        bank: Some(Bank {
            id: connection.bank_id.get(),
            name: cut(&connection.bank_name),
            bic: cut(&connection.bank_bic),
            bank_code: cut(&connection.bank_code),
        }),
        last: true,
        interfaces: interfaces(connection, now, settings.consent_warning),
        new_transactions: collecting.reading.new_transactions(),
        uncovered_account_ids: uncovered.map(|id| id.get()).collect(),
        skipped_transactions: collecting.reading.skipped.count,
        skipped_accounts: u32::try_from(collecting.skipped_accounts).unwrap_or(u32::MAX),
        unreadable: connection
            .unreadable
            .iter()
            .chain(&collecting.unreadable)
            .cloned()
            .collect(),
        ..head.clone()
    }
}

/// The bytes of a part that begins like this, without its rows.
fn longest(refresh: &Refresh, now: Timestamp, head: &TransactionsUpdated) -> usize {
    let context = RefreshFailed {
        refresh: Some(context(refresh, now, OUTCOME)),
        ..RefreshFailed::default()
    };
    let head = TransactionsUpdated {
        part: u32::MAX,
        ..head.clone()
    };
    context.encoded_len() + head.encoded_len()
}

/// Fills parts in order. A row that fits no room is alone in its part.
fn split(rows: impl Iterator<Item = Row>, room: usize) -> Vec<Vec<Row>> {
    let mut parts: Vec<Vec<Row>> = Vec::new();
    let mut left = 0;
    for row in rows {
        let size = ELEMENT_HEAD + row.encoded_len();
        match parts.last_mut() {
            Some(part) if size <= left => part.push(row),
            _ => {
                parts.push(vec![row]);
                left = room;
            }
        }
        left = left.saturating_sub(size);
    }
    parts
}

fn filled(mut part: TransactionsUpdated, rows: Vec<Row>) -> TransactionsUpdated {
    for row in rows {
        match row {
            Row::Transaction(transaction) => part.transactions.push(transaction),
            Row::Account(account) => part.accounts.push(account),
        }
    }
    part
}

/// The name of a part before the last: what is in it, so that one that is cut differently after an interruption is another event. Two accounts
/// may have one transaction id.
fn name(part: &TransactionsUpdated) -> String {
    let mut name = "part".to_owned();
    // Writing to a String does not fail.
    for transaction in &part.transactions {
        let _ = write!(name, "/{}.{}", transaction.account_id, transaction.id);
    }
    if part.transactions.is_empty() {
        part.accounts.iter().for_each(|account| {
            let _ = write!(name, "/{}", account.id);
        });
    }
    name
}

impl Row {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Transaction(transaction) => transaction.encoded_len(),
            Self::Account(account) => account.encoded_len(),
        }
    }
}
