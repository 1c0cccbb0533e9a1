//! Transactions, as Access has them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Paging;
use super::amount::Amount;
use super::time::{GermanDate, GermanTime};
use crate::id::{AccountId, TransactionId};
use crate::refresh::model;

#[derive(Deserialize)]
pub(in crate::finapi) struct Transactions {
    transactions: Vec<Transaction>,
    #[serde(default)]
    pub(in crate::finapi) paging: Paging,
    income: Option<Box<RawValue>>,
    spending: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: TransactionId,
    account_id: AccountId,
    amount: Amount,
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

impl Transactions {
    /// How many there are on the page.
    pub(in crate::finapi) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether each id is at least as high as the one before.
    pub(in crate::finapi) fn is_in_order(&self) -> bool {
        self.transactions.is_sorted_by_key(|transaction| transaction.id)
    }

    /// The page, with those that were imported since then. One without an import date is of unknown age and published rather than lost.
    pub(in crate::finapi) fn page(self, since: Timestamp, is_last: bool) -> model::Page {
        let is_in = |transaction: &Transaction| transaction.import_date.is_none_or(|date| date.is_since(since));
        // What cannot be read counts as missing, and costs nothing.
        let amount = |raw: &Option<Box<RawValue>>| {
            let amount = serde_json::from_str::<Amount>(raw.as_ref()?.get());
            amount.ok().map(|amount| amount.0)
        };
        model::Page {
            ids: self.ids(),
            is_last,
            totals: model::Totals {
                count: self
                    .paging
                    .total_count
                    .as_ref()
                    .and_then(|count| count.get().parse().ok()),
                income: amount(&self.income),
                spending: amount(&self.spending),
            },
            transactions: self.transactions.into_iter().filter(is_in).map(Into::into).collect(),
        }
    }

    fn ids(&self) -> Option<model::PageIds> {
        let ids = || self.transactions.iter().map(|transaction| transaction.id);
        let (first, last) = (ids().min()?, ids().max()?);
        let have_last = self.transactions.iter().filter(|transaction| transaction.id == last);
        Some(model::PageIds {
            first,
            last,
            last_accounts: have_last.map(|transaction| transaction.account_id).collect(),
        })
    }
}

impl From<Transaction> for model::Transaction {
    fn from(transaction: Transaction) -> Self {
        let date = |date: Option<GermanDate>| date.map(|date| date.0);
        Self {
            id: transaction.id,
            account_id: transaction.account_id,
            amount: transaction.amount.0,
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
            original_amount: transaction.original_amount.map(|amount| amount.0),
            fee_amount: transaction.fee_amount.map(|amount| amount.0),
            compensation_amount: transaction.compensation_amount.map(|amount| amount.0),
            imported_at: transaction.import_date.map(|date| date.earliest),
        }
    }
}
