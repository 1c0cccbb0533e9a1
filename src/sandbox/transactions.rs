//! `GET /api/v1/transactions`.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::batch::{Batch, Cents, amount, bits};
use super::call::{Call, Reply};
use super::clock::{access_time, german_date};
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
    counterpart_iban: Option<&'static str>,
    counterpart_bic: Option<&'static str>,
    counterpart_mandate_reference: Option<String>,
    end_to_end_reference: Option<String>,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    category: Option<Category>,
    is_potential_duplicate: bool,
    is_adjusting_entry: bool,
    is_new: bool,
    import_date: String,
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
        let day = german_date(found.imported).to_string() + " 00:00:00.000";
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
            counterpart_iban: known.then_some("DE89370400440532013000"),
            counterpart_bic: one_in(7).then_some("INGDDEFFXXX"),
            counterpart_mandate_reference: one_in(11).then(|| format!("M-{}", found.id)),
            end_to_end_reference: one_in(4).then(|| format!("E2E-{}", found.id)),
            kind: one_in(2).then_some("Überweisung"),
            category,
            is_potential_duplicate: one_in(50),
            is_adjusting_entry: one_in(97),
            is_new: found.new,
            import_date: access_time(found.imported),
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
