//! `GET /api/v1/bankConnections/{id}` and `GET /api/v1/accounts`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::batch::{Cents, balance};
use super::call::{Call, Reply};
use super::clock::{access_time, later};
use super::connection::{Connection, Held, LastUpdate};
use super::params::Params;
use super::refusal::Refusal;
use super::script::{AccountType, Interface};
use super::state::State;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionBody<'a> {
    id: i64,
    bank: Bank<'a>,
    name: Option<&'a str>,
    update_status: &'static str,
    categorization_status: &'static str,
    account_ids: Vec<i64>,
    interfaces: Vec<InterfaceBody<'a>>,
}

#[derive(Serialize)]
struct Bank<'a> {
    id: i64,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceBody<'a> {
    interface: &'a str,
    user_action_required: bool,
    ais_consent: Option<Consent<'a>>,
    last_manual_update: Option<UpdateResult>,
    last_auto_update: Option<UpdateResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Consent<'a> {
    status: &'a str,
    expires_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateResult {
    result: &'static str,
    error_message: Option<String>,
    error_type: Option<&'static str>,
    timestamp: String,
}

#[derive(Serialize)]
struct AccountList<'a> {
    accounts: Vec<AccountBody<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountBody<'a> {
    id: i64,
    bank_connection_id: i64,
    account_name: Option<&'a str>,
    iban: Option<String>,
    account_number: String,
    account_type: &'static str,
    account_currency: &'static str,
    balance: Cents,
    available_funds: Option<Cents>,
    is_new: bool,
    interfaces: Vec<AccountInterface<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountInterface<'a> {
    interface: &'a str,
    status: &'a str,
    last_successful_update: Option<String>,
    last_update_attempt: Option<String>,
}

impl State {
    pub(super) fn show_connection(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        let wrong = || Refusal::not_found("The bank connection");
        let id: i64 = call.id.parse().map_err(|_| wrong())?;
        let known = self.reach(&user, id);
        self.faults(call, Some(id))?;
        let connection = self.connections.get(&id).filter(|_| known).ok_or_else(wrong)?;
        Ok(Reply::ok(&self.connection_body(connection)))
    }

    pub(super) fn list_accounts(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        let mut params = Params::read(call.query.as_bytes(), &["bankConnectionIds"]);
        let ids = params.ids("bankConnectionIds");
        params.done()?;
        let ids = ids.unwrap_or_else(|| self.connections_of(&user));
        let reached: Vec<i64> = ids.iter().copied().filter(|id| self.reach(&user, *id)).collect();
        self.faults(call, ids.first().copied())?;
        let connections = reached.iter().filter_map(|id| self.connections.get(id));
        let accounts = connections.flat_map(|connection| self.account_bodies(connection));
        Ok(Reply::ok(&AccountList {
            accounts: accounts.collect(),
        }))
    }

    pub(super) fn connections_of(&self, user: &Arc<str>) -> Vec<i64> {
        self.users
            .get(user)
            .map(|user| user.connections.iter().copied().collect())
            .unwrap_or_default()
    }

    fn access_time(&self, at: Timestamp) -> String {
        access_time(at)
    }

    fn connection_body<'a>(&self, connection: &'a Connection) -> ConnectionBody<'a> {
        let began = connection.last_began.is_some_and(|at| at <= self.now);
        let settling = began && connection.settled.is_some_and(|at| self.now < at);
        let busy = settling || self.locked(connection.id);
        let categorization = match connection.categorized {
            Some(at) if began && self.now < at => {
                if settling {
                    "PENDING"
                } else {
                    "IN_PROGRESS"
                }
            }
            _ => "READY",
        };
        let numbers = 0..connection.accounts.len();
        let interfaces = connection.script.interfaces.iter();
        ConnectionBody {
            id: connection.id,
            bank: Bank {
                id: bank_id(&connection.script.bank_name),
                name: &connection.script.bank_name,
            },
            name: None,
            update_status: if busy { "IN_PROGRESS" } else { "READY" },
            categorization_status: categorization,
            account_ids: numbers.map(|number| connection.account_id(number)).collect(),
            interfaces: interfaces
                .map(|interface| self.interface_body(connection, interface))
                .collect(),
        }
    }

    fn interface_body<'a>(&self, connection: &Connection, interface: &'a Interface) -> InterfaceBody<'a> {
        let since = connection.acted.or(connection.began).unwrap_or(self.now);
        let consent = interface.consent_days.map(|days| Consent {
            status: &interface.consent_status,
            expires_at: self.access_time(later(since, Duration::from_secs(u64::from(days) * 24 * 3600))),
        });
        InterfaceBody {
            interface: &interface.interface,
            user_action_required: interface.user_action_required && connection.acted.is_none(),
            ais_consent: consent,
            last_manual_update: connection
                .last_manual(self.now)
                .map(|update| self.update_result(update)),
            last_auto_update: connection.last_auto.as_ref().map(|update| self.update_result(update)),
        }
    }

    fn update_result(&self, update: &LastUpdate) -> UpdateResult {
        let (result, error_message, error_type) = match &update.error {
            None => ("OK", None, None),
            Some((code, message)) if code == "BANK_SERVER_REJECTION" => {
                ("BANK_SERVER_REJECTION", message.clone(), Some("BUSINESS"))
            }
            Some((_, message)) => ("INTERNAL_SERVER_ERROR", message.clone(), Some("TECHNICAL")),
        };
        UpdateResult {
            result,
            error_message,
            error_type,
            timestamp: self.access_time(update.at),
        }
    }

    fn account_bodies<'a>(&self, connection: &'a Connection) -> Vec<AccountBody<'a>> {
        let accounts = connection.accounts.iter().enumerate();
        accounts
            .map(|(number, held)| self.account_body(connection, number, held))
            .collect()
    }

    fn account_body<'a>(&self, connection: &'a Connection, number: usize, held: &'a Held) -> AccountBody<'a> {
        let id = connection.account_id(number);
        let kind = held.account.kind;
        let account_number = format!("{:010}", id.unsigned_abs() % 10_000_000_000);
        let cash = matches!(kind, AccountType::Checking | AccountType::Savings);
        let balance = balance(id, connection.batches.len());
        let succeeded = connection.settled.filter(|at| *at <= self.now);
        let attempt = connection.last_manual(self.now).map(|update| update.at);
        let interfaces = connection.script.interfaces.iter();
        AccountBody {
            id,
            bank_connection_id: connection.id,
            account_name: held.account.name.as_deref(),
            iban: cash.then(|| iban(&account_number)),
            account_number,
            account_type: kind.access_name(),
            account_currency: "EUR",
            balance,
            available_funds: (kind == AccountType::Checking).then_some(Cents(balance.0 + 50_000)),
            is_new: held.new,
            interfaces: interfaces
                .map(|interface| AccountInterface {
                    interface: &interface.interface,
                    status: &held.account.status,
                    last_successful_update: succeeded.map(|at| self.access_time(at)),
                    last_update_attempt: attempt.map(|at| self.access_time(at)),
                })
                .collect(),
        }
    }
}

/// A German IBAN with a right check sum.
fn iban(account_number: &str) -> String {
    const BANK_CODE: &str = "50010517";
    // 1314 is "DE" in digits; the check digits make the whole 1 modulo 97.
    let digits = format!("{BANK_CODE}{account_number}131400");
    let rest = digits
        .bytes()
        .fold(0_u64, |rest, digit| (rest * 10 + u64::from(digit - b'0')) % 97);
    format!("DE{:02}{BANK_CODE}{account_number}", 98 - rest)
}

/// Banks of one name are one bank.
fn bank_id(name: &str) -> i64 {
    280_001
        + name
            .bytes()
            .fold(0, |hash: i64, byte| (hash * 31 + i64::from(byte)) % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ibans_have_their_check_sum() {
        assert_eq!(iban("0648489890"), "DE12500105170648489890");
    }
}
