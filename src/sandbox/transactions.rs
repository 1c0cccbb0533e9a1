//! Transactions, as each version of Access writes them.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::batch::{Batch, Cents, amount, bits};
use super::call::{Call, Reply};
use super::clock::{access_date, access_time, german_date};
use super::config::ApiVersion;
use super::connection::Connection;
use super::params::{Order, Page, Paging, Params};
use super::refusal::Refusal;
use super::state::State;

#[derive(Serialize)]
struct TransactionList {
    transactions: Vec<Transaction>,
    paging: Paging,
    income: Cents,
    spending: Cents,
    balance: Cents,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: i64,
    parent_id: Option<i64>,
    account_id: i64,
    value_date: String,
    bank_booking_date: String,
    finapi_booking_date: String,
    amount: Cents,
    currency: Option<&'static str>,
    purpose: Option<String>,
    counterpart_name: Option<&'static str>,
    counterpart_account_number: Option<&'static str>,
    counterpart_iban: Option<&'static str>,
    counterpart_blz: Option<&'static str>,
    counterpart_bic: Option<&'static str>,
    counterpart_bank_name: Option<&'static str>,
    counterpart_mandate_reference: Option<String>,
    counterpart_customer_reference: Option<&'static str>,
    counterpart_creditor_id: Option<&'static str>,
    counterpart_debitor_id: Option<&'static str>,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    type_code_zka: Option<&'static str>,
    type_code_swift: Option<&'static str>,
    sepa_purpose_code: Option<&'static str>,
    bank_transaction_code: Option<&'static str>,
    primanota: Option<&'static str>,
    category: Option<Category>,
    labels: [(); 0],
    is_potential_duplicate: bool,
    is_adjusting_entry: bool,
    is_new: bool,
    import_date: String,
    children: Option<[i64; 0]>,
    paypal_data: Option<()>,
    end_to_end_reference: Option<String>,
    compensation_amount: Option<Cents>,
    original_amount: Option<Cents>,
    original_currency: Option<&'static str>,
    different_debitor: Option<&'static str>,
    different_creditor: Option<&'static str>,
    #[serde(flatten)]
    only_v2: Option<TransactionOfV2>,
}

/// What V2 has more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TransactionOfV2 {
    bank_transaction_code_description: Option<&'static str>,
    fee_amount: Option<Cents>,
    fee_currency: Option<&'static str>,
}

#[derive(Clone, Copy, Serialize)]
struct Category {
    id: i64,
    name: &'static str,
}

/// What is asked for.
struct Filter {
    accounts: Option<Vec<i64>>,
    imported_from: Option<Date>,
}

/// A transaction that was found, before it is written out.
#[derive(Clone, Copy)]
struct Found {
    id: i64,
    account: i64,
    imported: Timestamp,
    new: bool,
    categorized: bool,
}

const COUNTERPARTS: [(&str, &str); 4] = [
    ("Bäckerei Müller & Söhne", "Brötchen \"für\" <alle>"),
    ("ACME GmbH", "Gehalt 07/2024"),
    ("Stadtwerke", "Abschlag\nStrom"),
    ("Žofie Nováková", "Danke 🙂"),
];

impl State {
    pub(super) fn list_transactions(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        const KNOWN: [&str; 6] = ["view", "accountIds", "minImportDate", "order", "page", "perPage"];
        let user = self.authorize(call)?;
        let mut params = Params::read(call.query.as_bytes(), &KNOWN);
        let view = params.required("view");
        if !["", "bankView", "userView"].contains(&view.as_str()) {
            params.wrong("view", "must be bankView or userView");
        }
        let filter = Filter {
            accounts: params.ids("accountIds"),
            imported_from: date(&mut params, "minImportDate"),
        };
        let order = params.order("id", Order::Ascending);
        let page = params.page();
        params.done()?;
        let connections = match &filter.accounts {
            Some(accounts) => connections_with(accounts),
            None => self.connections_of(&user),
        };
        let reached: Vec<i64> = connections
            .iter()
            .copied()
            .filter(|id| self.connections.contains_key(id) && self.reach(&user, *id))
            .collect();
        self.faults(call, reached.first().copied())?;
        Ok(self.transaction_list(&reached, &filter, order, page))
    }

    fn transaction_list(&self, connections: &[i64], filter: &Filter, order: Order, page: Page) -> Reply {
        let connections = connections.iter().filter_map(|id| self.connections.get(id));
        let mut found: Vec<Found> = connections
            .flat_map(|connection| self.found(connection, filter))
            .collect();
        match order {
            Order::Ascending => found.sort_unstable_by_key(|found| found.id),
            Order::Descending => found.sort_unstable_by_key(|found| std::cmp::Reverse(found.id)),
        }
        let amounts = || found.iter().map(|found| amount(found.id).0);
        let income = amounts().filter(|cents| *cents > 0).fold(0, i64::saturating_add);
        let spending = amounts().filter(|cents| *cents < 0).fold(0, i64::saturating_add);
        let shown = found.iter().skip(page.skipped()).take(page.per_page);
        Reply::ok(&TransactionList {
            transactions: shown.map(|found| self.transaction(found)).collect(),
            paging: Paging::new(page, found.len()),
            income: Cents(income),
            spending: Cents(spending),
            balance: Cents(income.saturating_add(spending)),
        })
    }

    fn found(&self, connection: &Connection, filter: &Filter) -> Vec<Found> {
        let since = |batch: &&Batch| {
            filter
                .imported_from
                .is_none_or(|from| from <= german_date(batch.imported))
        };
        let newest = connection.batches.last().map(|batch| batch.first_id);
        let categorized_at = connection.categorized.unwrap_or(Timestamp::MIN);
        let batches = connection.batches.iter().filter(since);
        let all = batches.flat_map(|batch| {
            batch.shown(self.now).map(move |(id, number)| Found {
                id,
                account: connection.account_id(number),
                imported: batch.imported,
                new: Some(batch.first_id) == newest,
                // Those of earlier updates were categorized then.
                categorized: Some(batch.first_id) != newest || categorized_at <= self.now,
            })
        });
        let asked = |found: &Found| {
            filter
                .accounts
                .as_ref()
                .is_none_or(|accounts| accounts.contains(&found.account))
        };
        all.filter(asked).collect()
    }

    fn transaction(&self, found: &Found) -> Transaction {
        let bits = bits(found.id);
        let version = self.config.api_version;
        let day = access_date(german_date(found.imported), version);
        let one_in = |n: u64| bits.is_multiple_of(n);
        let known = !one_in(3);
        let counterpart = COUNTERPARTS.get((bits >> 16) as usize % COUNTERPARTS.len());
        let (name, purpose) = counterpart.copied().unwrap_or_default();
        let category = (found.categorized && !one_in(5)).then_some(Category {
            id: 378,
            name: "Sonstige Ausgaben",
        });
        Transaction {
            id: found.id,
            parent_id: None,
            account_id: found.account,
            value_date: day.clone(),
            bank_booking_date: day.clone(),
            finapi_booking_date: day,
            amount: amount(found.id),
            currency: known.then_some("EUR"),
            purpose: known.then(|| format!("{purpose} {}", found.id)),
            counterpart_name: known.then_some(name),
            counterpart_account_number: one_in(6).then_some("532013000"),
            counterpart_iban: known.then_some("DE89370400440532013000"),
            counterpart_blz: one_in(6).then_some("37040044"),
            counterpart_bic: one_in(7).then_some("INGDDEFFXXX"),
            counterpart_bank_name: one_in(7).then_some("ING"),
            counterpart_mandate_reference: one_in(11).then(|| format!("M-{}", found.id)),
            counterpart_customer_reference: one_in(8).then_some("K-4711"),
            counterpart_creditor_id: one_in(11).then_some("DE98ZZZ09999999999"),
            counterpart_debitor_id: None,
            kind: one_in(2).then_some("Überweisung"),
            type_code_zka: one_in(2).then_some("166"),
            type_code_swift: one_in(2).then_some("TRF"),
            sepa_purpose_code: one_in(9).then_some("SALA"),
            bank_transaction_code: one_in(2).then_some("PMNT-RCDT-ESCT"),
            primanota: one_in(2).then_some("9210"),
            category,
            labels: [],
            is_potential_duplicate: one_in(50),
            is_adjusting_entry: one_in(97),
            is_new: found.new,
            import_date: access_time(found.imported, version),
            children: None,
            paypal_data: None,
            end_to_end_reference: one_in(4).then(|| format!("E2E-{}", found.id)),
            compensation_amount: one_in(13).then_some(Cents(-35)),
            original_amount: one_in(10).then_some(Cents(amount(found.id).0 / 2)),
            original_currency: one_in(10).then_some("USD"),
            different_debitor: one_in(14).then_some("Wohngemeinschaft Süd"),
            different_creditor: one_in(15).then_some("PayPal Händler"),
            only_v2: (version == ApiVersion::V2).then(|| TransactionOfV2 {
                bank_transaction_code_description: one_in(2).then_some("SEPA Credit Transfer"),
                fee_amount: one_in(10).then_some(Cents(150)),
                fee_currency: one_in(10).then_some("EUR"),
            }),
        }
    }
}

fn date(params: &mut Params, name: &str) -> Option<Date> {
    let text = params.optional(name)?;
    // The parser takes more than this one form.
    let date = Date::strptime("%Y-%m-%d", &text).ok().filter(|_| text.len() == 10);
    if date.is_none() {
        params.wrong(name, "must be YYYY-MM-DD");
    }
    date
}

/// The connections that accounts belong to, each once.
fn connections_with(accounts: &[i64]) -> Vec<i64> {
    let mut ids: Vec<i64> = accounts.iter().map(|account| account / 1000).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
