//! finAPI's JSON, and the facts in it. Only what is needed is read; what is unknown, null or missing is normal.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::AmbiguousOffset;
use jiff::{Timestamp, fmt::strtime};
use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;

use super::tokens::Granted;
use crate::clock::GERMANY;
use crate::refresh::answer::{self, Span};

/// A list of a finAPI page: how many pages there are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    #[serde(default)]
    pub(super) page_count: u32,
}

#[derive(Deserialize)]
pub(super) struct Token {
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    expires_in: Option<u64>,
}

/// A page of a user's tasks, the newest first. Most are of other connections, and each refresh reads some: they are only skipped over.
#[derive(Deserialize)]
pub(super) struct Tasks<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    #[serde(default)]
    pub(super) paging: Paging,
}

/// What tells whose a task is.
#[derive(Deserialize)]
struct TaskOwner {
    payload: Option<TaskOwnerPayload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskOwnerPayload {
    bank_connection_id: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskAge {
    created_at: TaskTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    id: Id,
    created_at: TaskTime,
    status: String,
    payload: Option<TaskPayload>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskPayload {
    bank_connection_id: Option<i64>,
    web_form: Option<WebFormLink>,
    error_code: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct WebFormLink {
    id: Id,
    url: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebForm {
    status: String,
    expires_at: Option<TaskTime>,
    payload: Option<WebFormPayload>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebFormPayload {
    error_code: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    bank: Option<Bank>,
    update_status: String,
    categorization_status: Option<String>,
    account_ids: Option<Vec<i64>>,
    interfaces: Option<Vec<Interface>>,
}

#[derive(Default, Deserialize)]
struct Bank {
    id: Option<i64>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    interface: Option<String>,
    user_action_required: Option<bool>,
    ais_consent: Option<Consent>,
    last_manual_update: Option<UpdateResult>,
    last_auto_update: Option<UpdateResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consent {
    expires_at: Option<GermanTime>,
}

#[derive(Deserialize)]
struct UpdateResult {
    result: Option<String>,
    timestamp: Option<GermanTime>,
}

#[derive(Deserialize)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    id: i64,
    account_name: Option<String>,
    iban: Option<String>,
    account_type: Option<String>,
    account_currency: Option<String>,
    balance: Option<Amount>,
    is_new: Option<bool>,
    interfaces: Option<Vec<AccountInterface>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountInterface {
    interface: Option<String>,
    status: Option<String>,
    last_successful_update: Option<GermanTime>,
}

#[derive(Deserialize)]
pub(super) struct Transactions {
    transactions: Vec<Transaction>,
    #[serde(default)]
    pub(super) paging: Paging,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: i64,
    account_id: i64,
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
}

#[derive(Deserialize)]
struct Category {
    name: Option<String>,
}

/// An id that goes into paths: 1 to 64 letters, digits, `-` and `_`.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if plain && (1..=64).contains(&id.len()) {
            Ok(Self(id))
        } else {
            Err(D::Error::custom("an id of other characters or length than finAPI's"))
        }
    }
}

/// A decimal, read digit by digit and never as binary floating point.
#[derive(Clone, Copy)]
struct Amount(Decimal);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        Decimal::from_str_exact(raw)
            .or_else(|_| Decimal::from_scientific(raw))
            .map(Self)
            .map_err(|_| D::Error::custom("an amount that is no decimal"))
    }
}

/// Reads text where it stands in the answer, without a copy of it.
fn read_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<F>(&'static str, F);

    impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::custom(format_args!("not {}", self.0)))
        }
    }

    deserializer.deserialize_str(Text(expected, parse))
}

/// A time as Web Form 2.0 writes it: `2021-03-09T08:36:15.000+0000`.
#[derive(Clone, Copy)]
struct TaskTime(Timestamp);

impl<'de> Deserialize<'de> for TaskTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, "a time as finAPI writes it", |text| {
            let strict = strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).and_then(|time| time.to_timestamp());
            strict.or_else(|_| text.parse::<Timestamp>()).ok().map(Self)
        })
    }
}

/// A time as Access writes it: `2021-03-09 08:36:15.000`, German local time. In the hour that comes twice a year it names two
/// moments.
#[derive(Clone, Copy, Debug, PartialEq)]
struct GermanTime {
    earliest: Timestamp,
    latest: Timestamp,
}

impl GermanTime {
    fn parse(text: &str) -> Result<Self, jiff::Error> {
        let local: DateTime = text.parse()?;
        let ambiguous = GERMANY.to_ambiguous_timestamp(local);
        let (earliest, latest) = match ambiguous.offset() {
            AmbiguousOffset::Fold { .. } => (ambiguous.earlier()?, ambiguous.later()?),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => {
                let moment = ambiguous.compatible()?;
                (moment, moment)
            }
        };
        Ok(Self { earliest, latest })
    }

    fn is_in(&self, span: Span) -> bool {
        [self.earliest, self.latest]
            .iter()
            .any(|moment| (span.since..=span.until).contains(moment))
    }
}

impl<'de> Deserialize<'de> for GermanTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, "a time as finAPI writes it", |text| {
            Self::parse(text).ok()
        })
    }
}

/// A date, with or without a time after it.
struct GermanDate(Date);

impl<'de> Deserialize<'de> for GermanDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, "a date as finAPI writes it", |text| {
            text.get(..10).unwrap_or(text).parse().ok().map(Self)
        })
    }
}

/// The day a moment falls on in Germany, as finAPI's import dates count.
pub(super) fn german_day(moment: Timestamp) -> Date {
    GERMANY.to_datetime(moment).date()
}

impl From<Token> for Granted {
    fn from(token: Token) -> Self {
        Self {
            access_token: token.access_token,
            refresh_token: token.refresh_token,
            expires_in: token
                .expires_in
                .filter(|seconds| *seconds > 0)
                .map(|seconds| Duration::from_secs(seconds.min(365 * 24 * 3600))),
        }
    }
}

impl Tasks<'_> {
    /// The tasks of one connection.
    pub(super) fn of(&self, bank_connection_id: i64) -> serde_json::Result<Vec<answer::Task>> {
        let mut tasks = Vec::new();
        for item in &self.items {
            let owner: TaskOwner = serde_json::from_str(item.get())?;
            if owner.payload.and_then(|payload| payload.bank_connection_id) == Some(bank_connection_id) {
                let task: Task = serde_json::from_str(item.get())?;
                tasks.push(task.into());
            }
        }
        Ok(tasks)
    }

    /// When the oldest of them began.
    pub(super) fn oldest(&self) -> serde_json::Result<Option<Timestamp>> {
        let Some(oldest) = self.items.last() else {
            return Ok(None);
        };
        let TaskAge { created_at } = serde_json::from_str(oldest.get())?;
        Ok(Some(created_at.0))
    }
}

impl From<Task> for answer::Task {
    fn from(task: Task) -> Self {
        let payload = task.payload.unwrap_or_default();
        Self {
            id: task.id.0,
            created_at: task.created_at.0,
            status: match task.status.as_str() {
                "WEB_FORM_REQUIRED" => answer::TaskStatus::WebFormRequired,
                "COMPLETED" => answer::TaskStatus::Completed,
                "COMPLETED_WITH_ERROR" => answer::TaskStatus::Failed,
                "NOT_YET_STARTED" | "IN_PROGRESS" => answer::TaskStatus::Running,
                unknown => {
                    log_unknown("task", unknown);
                    answer::TaskStatus::Running
                }
            },
            bank_connection_id: payload.bank_connection_id,
            web_form: payload.web_form.map(|form| answer::WebFormLink {
                id: form.id.0,
                url: form.url,
            }),
            error: bank_error(payload.error_code, payload.error_message),
        }
    }
}

impl From<WebForm> for answer::WebForm {
    fn from(form: WebForm) -> Self {
        let payload = form.payload.unwrap_or_default();
        Self {
            status: match form.status.as_str() {
                "COMPLETED" => answer::WebFormStatus::Completed,
                "COMPLETED_WITH_ERROR" => answer::WebFormStatus::Failed,
                "EXPIRED" => answer::WebFormStatus::Expired,
                "ABORTED" => answer::WebFormStatus::Aborted,
                "NOT_YET_OPENED" | "IN_PROGRESS" => answer::WebFormStatus::Open,
                unknown => {
                    log_unknown("web form", unknown);
                    answer::WebFormStatus::Open
                }
            },
            expires_at: form.expires_at.map(|at| at.0),
            error: bank_error(payload.error_code, payload.error_message),
        }
    }
}

fn bank_error(code: Option<String>, message: Option<String>) -> Option<answer::BankError> {
    code.map(|code| answer::BankError { code, message })
}

/// Once for each status, and for no more of them than fit a small memory.
fn log_unknown(what: &str, status: &str) {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let status: String = status
        .chars()
        .filter(|c| c.is_ascii_uppercase() || *c == '_')
        .take(64)
        .collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() < 100 && seen.insert(format!("{what} {status}")) {
        tracing::warn!(
            what,
            status,
            "finAPI has a status that is new; taking it for still running"
        );
    }
}

impl From<Connection> for answer::Connection {
    fn from(connection: Connection) -> Self {
        let bank = connection.bank.unwrap_or_default();
        Self {
            bank_id: bank.id.unwrap_or_default(),
            bank_name: bank.name.unwrap_or_default(),
            ready: connection.update_status == "READY",
            categorized: connection.categorization_status.is_none_or(|status| status == "READY"),
            account_ids: connection.account_ids.unwrap_or_default(),
            interfaces: connection
                .interfaces
                .unwrap_or_default()
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }
}

impl From<Interface> for answer::Interface {
    fn from(interface: Interface) -> Self {
        let updates = [interface.last_manual_update, interface.last_auto_update];
        let successes = updates
            .into_iter()
            .flatten()
            .filter(|update| update.result.as_deref() == Some("OK"));
        Self {
            name: interface.interface.unwrap_or_default(),
            user_action_required: interface.user_action_required.unwrap_or_default(),
            consent_expires_at: interface
                .ais_consent
                .and_then(|consent| consent.expires_at)
                .map(|at| at.earliest),
            last_success_at: successes
                .filter_map(|update| update.timestamp)
                .map(|at| at.earliest)
                .max(),
        }
    }
}

impl From<Accounts> for Vec<answer::Account> {
    fn from(accounts: Accounts) -> Self {
        accounts.accounts.into_iter().map(Into::into).collect()
    }
}

impl From<Account> for answer::Account {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            name: account.account_name.unwrap_or_default(),
            iban: account.iban.unwrap_or_default(),
            kind: account.account_type.unwrap_or_default(),
            currency: account.account_currency.unwrap_or_default(),
            balance: account.balance.map(|amount| amount.0),
            is_new: account.is_new.unwrap_or_default(),
            interfaces: account
                .interfaces
                .unwrap_or_default()
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }
}

impl From<AccountInterface> for answer::AccountInterface {
    fn from(interface: AccountInterface) -> Self {
        Self {
            name: interface.interface.unwrap_or_default(),
            status: interface.status.unwrap_or_default(),
            last_success_at: interface.last_successful_update.map(|at| at.earliest),
        }
    }
}

impl Transactions {
    /// Those that were imported in the span. One without an import date is of unknown age and told rather than lost.
    pub(super) fn imported_in(self, span: Span) -> impl Iterator<Item = answer::Transaction> {
        self.transactions
            .into_iter()
            .filter(move |transaction| transaction.import_date.is_none_or(|date| date.is_in(span)))
            .map(Into::into)
    }
}

impl From<Transaction> for answer::Transaction {
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
            imported_at: transaction.import_date.map(|date| date.earliest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn german(text: &str) -> GermanTime {
        GermanTime::parse(text).expect("a German time")
    }

    #[test]
    fn times_are_read_as_either_surface_writes_them() {
        let task: Task = serde_json::from_str(
            r#"{"id":"a-1","createdAt":"2021-03-09T08:36:15.250+0000","type":"X","status":"IN_PROGRESS","payload":null}"#,
        )
        .expect("a task");
        assert_eq!(task.created_at.0, at("2021-03-09T08:36:15.25Z"));
        assert_eq!(german("2021-03-09 08:36:15.000").earliest, at("2021-03-09T07:36:15Z"));
        assert_eq!(german("2021-07-09 08:36:15.000").earliest, at("2021-07-09T06:36:15Z"));
    }

    #[test]
    fn the_hour_that_comes_twice_counts_in_either_meaning() {
        let span = |since, until| Span {
            since: at(since),
            until: at(until),
        };
        let twice = german("2026-10-25 02:30:00.000");
        assert!(twice.is_in(span("2026-10-25T00:29:00Z", "2026-10-25T00:31:00Z")));
        assert!(twice.is_in(span("2026-10-25T01:29:00Z", "2026-10-25T01:31:00Z")));
        assert!(!twice.is_in(span("2026-10-25T00:31:00Z", "2026-10-25T01:29:00Z")));
        let never = german("2026-03-29 02:30:00.000");
        assert_eq!(never.earliest, never.latest);
    }

    #[test]
    fn the_german_day_begins_before_that_of_utc() {
        assert_eq!(german_day(at("2026-07-01T22:30:00Z")).to_string(), "2026-07-02");
        assert_eq!(german_day(at("2026-01-01T22:30:00Z")).to_string(), "2026-01-01");
    }

    #[test]
    fn amounts_keep_every_digit() {
        for (json, text) in [
            ("-0.10", "-0.10"),
            ("12345678901234.56", "12345678901234.56"),
            ("1e2", "100"),
        ] {
            let amount: Amount = serde_json::from_str(json).expect("an amount");
            assert_eq!(amount.0.to_string(), text);
        }
        assert!(serde_json::from_str::<Amount>("\"x\"").is_err());
    }

    #[test]
    fn nulls_unknown_fields_and_unknown_statuses_are_normal() {
        let form: WebForm =
            serde_json::from_str(r#"{"id":"f","status":"FROZEN","new":1,"expiresAt":null}"#).expect("a form");
        assert_eq!(answer::WebForm::from(form).status, answer::WebFormStatus::Open);
        let connection: Connection =
            serde_json::from_str(r#"{"id":1,"updateStatus":"READY","bank":null,"interfaces":[{"interface":null}]}"#)
                .expect("a connection");
        let connection = answer::Connection::from(connection);
        assert!(connection.ready && connection.categorized);
        assert_eq!(connection.last_success_at(), None);
    }

    #[test]
    fn an_id_that_would_change_the_path_is_refused() {
        assert!(serde_json::from_str::<Id>("\"a/../b\"").is_err());
        assert!(serde_json::from_str::<Id>("\"\"").is_err());
    }
}
