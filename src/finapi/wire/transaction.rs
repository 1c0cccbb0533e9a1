//! Transactions, as Access has them.

use jiff::Timestamp;
use serde::Deserialize;

use super::amount::Amount;
use super::lenient::{self, List, Read};
use super::time::{GermanDate, GermanTime};
use super::{Content, Paging};
use crate::id::{AccountId, TransactionId};
use crate::refresh::model;

#[derive(Deserialize)]
pub(in crate::finapi) struct Transactions {
    transactions: Option<List<Transaction>>,
    pub(in crate::finapi) paging: Option<Paging>,
    income: Option<Amount>,
    spending: Option<Amount>,
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
    counterpart_account_number: Option<String>,
    counterpart_blz: Option<String>,
    counterpart_bank_name: Option<String>,
    counterpart_customer_reference: Option<String>,
    counterpart_creditor_id: Option<String>,
    counterpart_debitor_id: Option<String>,
    different_debitor: Option<String>,
    different_creditor: Option<String>,
    sepa_purpose_code: Option<String>,
    bank_transaction_code: Option<String>,
    bank_transaction_code_description: Option<String>,
    type_code_zka: Option<String>,
    type_code_swift: Option<String>,
    primanota: Option<String>,
    original_currency: Option<String>,
    fee_currency: Option<String>,
    original_amount: Option<Amount>,
    fee_amount: Option<Amount>,
    compensation_amount: Option<Amount>,
}

#[derive(Deserialize)]
struct Category {
    name: Option<String>,
}

impl Content for Transactions {
    const MEMBERS: &'static [&'static str] = &["transactions", "paging"];
}

impl Transactions {
    fn items(&self) -> &[Read<Transaction>] {
        self.transactions
            .as_ref()
            .map(|list| &list.items[..])
            .unwrap_or_default()
    }

    /// How many there are on the page.
    pub(in crate::finapi) fn len(&self) -> usize {
        let skipped = self.transactions.as_ref().map(|list| list.skipped.len());
        self.items().len() + skipped.unwrap_or_default()
    }

    /// Whether each id is at least as high as the one before.
    pub(in crate::finapi) fn is_in_order(&self) -> bool {
        self.items().is_sorted_by_key(|transaction| transaction.value.id)
    }

    fn ids(&self) -> Option<model::PageIds> {
        let ids = || self.items().iter().map(|transaction| transaction.value.id);
        let (first, last) = (ids().min()?, ids().max()?);
        let have_last = self.items().iter().filter(|transaction| transaction.value.id == last);
        let account = |transaction: &Read<Transaction>| transaction.value.account_id.unwrap_or_default();
        Some(model::PageIds {
            first,
            last,
            last_accounts: have_last.map(account).collect(),
        })
    }
}

impl Read<Transactions> {
    /// The page, with those that were imported since then. One without an import date is of unknown age and published rather than lost.
    pub(in crate::finapi) fn page(self, since: Timestamp, is_last: bool) -> model::Page {
        // What stands in the place of the list may be any number of transactions.
        let unknown = self.is_without("transactions").then(model::Skipped::default);
        let (ids, value) = (self.value.ids(), self.value);
        let list = value.transactions.unwrap_or_default();
        let is_in = |date: Option<GermanTime>| date.is_none_or(|date| date.is_since(since));
        let items = list.items.into_iter().filter(|item| is_in(item.value.import_date));
        let skipped = list.skipped.iter().map(|raw| skipped(raw.get()));
        let skipped = skipped.filter(|skipped| skipped.imported_at.is_none_or(|at| at >= since));
        model::Page {
            ids,
            is_last,
            totals: model::Totals {
                count: value.paging.and_then(|paging| paging.total_count),
                income: value.income.map(|amount| amount.value),
                spending: value.spending.map(|amount| amount.value),
            },
            transactions: items.map(Into::into).collect(),
            skipped: skipped.chain(unknown).collect(),
            unreadable: self.unreadable,
        }
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
            counterpart_account_number: transaction.counterpart_account_number.unwrap_or_default(),
            counterpart_bank_code: transaction.counterpart_blz.unwrap_or_default(),
            counterpart_bank_name: transaction.counterpart_bank_name.unwrap_or_default(),
            customer_reference: transaction.counterpart_customer_reference.unwrap_or_default(),
            creditor_id: transaction.counterpart_creditor_id.unwrap_or_default(),
            debtor_id: transaction.counterpart_debitor_id.unwrap_or_default(),
            ultimate_debtor: transaction.different_debitor.unwrap_or_default(),
            ultimate_creditor: transaction.different_creditor.unwrap_or_default(),
            sepa_purpose_code: transaction.sepa_purpose_code.unwrap_or_default(),
            bank_transaction_code: transaction.bank_transaction_code.unwrap_or_default(),
            bank_transaction_code_description: transaction.bank_transaction_code_description.unwrap_or_default(),
            zka_code: transaction.type_code_zka.unwrap_or_default(),
            swift_code: transaction.type_code_swift.unwrap_or_default(),
            primanota: transaction.primanota.unwrap_or_default(),
            original_currency: transaction.original_currency.unwrap_or_default(),
            fee_currency: transaction.fee_currency.unwrap_or_default(),
            original_amount: transaction.original_amount.map(|amount| amount.value),
            fee_amount: transaction.fee_amount.map(|amount| amount.value),
            compensation_amount: transaction.compensation_amount.map(|amount| amount.value),
            imported_at: transaction.import_date.map(|date| date.earliest),
        }
    }
}
