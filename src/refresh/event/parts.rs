//! Cutting an outcome into parts, the same cut in every duplicate of a refresh.

use jiff::Timestamp;
use prost::Message as _;

use super::content::{accounts, cut, interfaces, transaction};
use super::{Detail, Event, EventKind, Transactions, context, outcome};
use crate::id::TransactionId;
use crate::limits::CATEGORY_CHARACTERS_MAX;
use crate::proto::{self, Bank, RefreshContext, RefreshTimes, TransactionsUpdated, from_timestamp};
use crate::refresh::model::{Collected, Connection};
use crate::refresh::{Refresh, Update};

/// The room that the first part leaves for an account and for an interface, for the same reason.
const ACCOUNT_BYTES: usize = 1024;
const INTERFACE_BYTES: usize = 64;

/// A part of the outcome.
pub(in crate::refresh) struct Part {
    /// The event.
    pub(in crate::refresh) event: Event,
    /// The last transaction in it, if others follow in a next part.
    pub(in crate::refresh) resume_after: Option<TransactionId>,
}

/// The next part of the outcome. It resumes after the last transaction that was published, because what finAPI adds to transactions
/// meanwhile (categories) would move any other boundary.
pub(in crate::refresh) fn transactions_updated(
    refresh: &Refresh,
    now: Timestamp,
    update: &Update,
    connection: &Connection,
    collected: &Collected,
    settings: &Transactions,
) -> Part {
    let part = update.next_part;
    let context = context(refresh, now, &outcome(part));
    let mut event = TransactionsUpdated {
        origin: update.origin.into(),
        bank: Some(Bank {
            id: connection.bank_id.get(),
            name: cut(&connection.bank_name),
            bic: cut(&connection.bank_bic),
            bank_code: cut(&connection.bank_code),
        }),
        part,
        new_transactions: count(collected.transactions.len()),
        ..TransactionsUpdated::default()
    };
    let room = settings.size_max.saturating_sub(longest(&context, &event));
    if part == 1 {
        event.accounts = accounts(collected);
        event.interfaces = interfaces(connection, now, settings.consent_warning);
    }
    let accounts_and_more = event.accounts.len() * ACCOUNT_BYTES + event.interfaces.len() * INTERFACE_BYTES;
    let room_here = room
        .saturating_sub(accounts_and_more.max((longest(&context, &event) + room).saturating_sub(settings.size_max)));
    let left: Vec<proto::Transaction> = match settings.transactions {
        Detail::Inline => {
            let left = collected.transactions.iter().filter(|t| t.id > update.published_up_to);
            left.map(transaction).collect()
        }
        Detail::Summary => Vec::new(),
    };
    let mut parts = split(left, room_here, room).into_iter();
    event.parts = (part - 1).saturating_add(count(parts.len()));
    event.transactions = parts.next().unwrap_or_default();
    let last = event.transactions.last().map(|transaction| transaction.id.into());
    let more = parts.len() > 0;
    Part {
        event: Event::new(context, EventKind::TransactionsUpdated(event)),
        resume_after: more.then_some(last.unwrap_or(update.published_up_to)),
    }
}

/// The most bytes a part that begins like this can have without its transactions, whatever its number and moment are, and
/// whether or not a task is known: so all duplicates of a refresh cut the same parts as long as finAPI says the same.
fn longest(context: &RefreshContext, begun: &TransactionsUpdated) -> usize {
    let known = context.task_id.len().max(uuid::fmt::Hyphenated::LENGTH);
    let last = Some(from_timestamp(Timestamp::MAX));
    let context = RefreshContext {
        occurred_at: last,
        times: Some(RefreshTimes {
            requested_at: last,
            first_run_at: last,
            task_created_at: last,
            user_asked_at: last,
            web_form_ended_at: last,
            data_stored_at: last,
        }),
        task_id: "x".repeat(known),
        ..context.clone()
    };
    let mut longest = TransactionsUpdated {
        refresh: Some(context),
        origin: crate::proto::UpdateOrigin::Silent.into(),
        part: u32::MAX,
        parts: u32::MAX,
        new_transactions: u32::MAX,
        ..begun.clone()
    };
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

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
