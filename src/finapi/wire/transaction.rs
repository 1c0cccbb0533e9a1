//! Transactions, as Access has them.

use serde::Deserialize;

use super::amount::Amount;
use super::lenient::{self, List, Read};
use super::time::{GermanDate, GermanTime};
use super::{Content, Paging};
use crate::id::{AccountId, TransactionId};
use crate::refresh::model;
use crate::refresh::query::Span;

#[derive(Deserialize)]
pub(in crate::finapi) struct Transactions {
    transactions: Option<List<Transaction>>,
    pub(in crate::finapi) paging: Option<Paging>,
}

/// What can be read of a transaction without an id.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Skipped {
    import_date: Option<GermanTime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: TransactionId,
    account_id: Option<AccountId>,
    amount: Option<Amount>,
    currency: Option<String>,
    bank_booking_date: Option<GermanDate>,
    value_date: Option<GermanDate>,
    finapi_booking_date: Option<GermanDate>,
    purpose: Option<String>,
    counterpart_name: Option<String>,
    counterpart_iban: Option<String>,
    counterpart_bic: Option<String>,
    end_to_end_reference: Option<String>,
    counterpart_mandate_reference: Option<String>,
    r#type: Option<String>,
    category: Option<Category>,
    is_potential_duplicate: Option<bool>,
    is_adjusting_entry: Option<bool>,
    import_date: Option<GermanTime>,
}

#[derive(Deserialize)]
struct Category {
    name: Option<String>,
}

impl Content for Transactions {
    const MEMBERS: &'static [&'static str] = &["transactions", "paging"];
}

impl Transactions {
    pub(in crate::finapi) fn is_empty(&self) -> bool {
        let list = self.transactions.as_ref();
        list.is_none_or(|list| list.items.is_empty() && list.skipped.is_empty())
    }
}

impl Read<Transactions> {
    /// Those that were imported in the span. One without an import date is of unknown age and published rather than lost.
    pub(in crate::finapi) fn add_imported_in(self, span: Span, collected: &mut model::Collected) {
        // What stands in the place of the list may be any number of transactions.
        let unknown = self.is_without("transactions").then(model::Skipped::default);
        let list = self.value.transactions.unwrap_or_default();
        let is_in = |date: Option<GermanTime>| date.is_none_or(|date| date.is_in(span));
        let items = list.items.into_iter().filter(|item| is_in(item.value.import_date));
        collected.transactions.extend(items.map(Into::into));
        let skipped = list.skipped.iter().map(|raw| skipped(raw.get()));
        collected.skipped_transactions.extend(skipped.chain(unknown));
        collected.unreadable.extend(self.unreadable);
    }
}

fn skipped(json: &str) -> model::Skipped {
    let read: Option<Read<Skipped>> = lenient::read(json).ok();
    model::Skipped {
        imported_at: read.and_then(|read| read.value.import_date).map(|at| at.earliest),
    }
}

impl From<Read<Transaction>> for model::Transaction {
    fn from(read: Read<Transaction>) -> Self {
        let transaction = read.value;
        let date = |date: Option<GermanDate>| date.map(|date| date.0);
        Self {
            unreadable: read.unreadable,
            id: transaction.id,
            account_id: transaction.account_id.unwrap_or_default(),
            amount: transaction.amount.map(|amount| amount.value),
            amount_is_rounded: transaction.amount.is_some_and(|amount| amount.is_rounded),
            currency: transaction.currency.unwrap_or_default(),
            bank_booking_date: date(transaction.bank_booking_date),
            value_date: date(transaction.value_date),
            finapi_booking_date: date(transaction.finapi_booking_date),
            purpose: transaction.purpose.unwrap_or_default(),
            counterpart_name: transaction.counterpart_name.unwrap_or_default(),
            counterpart_iban: transaction.counterpart_iban.unwrap_or_default(),
            counterpart_bic: transaction.counterpart_bic.unwrap_or_default(),
            end_to_end_reference: transaction.end_to_end_reference.unwrap_or_default(),
            mandate_reference: transaction.counterpart_mandate_reference.unwrap_or_default(),
            kind: transaction.r#type.unwrap_or_default(),
            category: transaction
                .category
                .and_then(|category| category.name)
                .unwrap_or_default(),
            is_potential_duplicate: transaction.is_potential_duplicate.unwrap_or_default(),
            is_adjusting_entry: transaction.is_adjusting_entry.unwrap_or_default(),
            imported_at: transaction.import_date.map(|date| date.earliest),
        }
    }
}
