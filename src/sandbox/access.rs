//! Bank connections and accounts, as each version of Access writes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::batch::{Cents, balance};
use super::call::{Call, Reply};
use super::clock::{access_time, later};
use super::config::ApiVersion;
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
    owners: Option<[(); 0]>,
    interfaces: Vec<InterfaceBody<'a>>,
    #[serde(flatten)]
    only_v1: Option<ConnectionOfV1>,
}

/// What V1 alone has, and has as deprecated.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionOfV1 {
    bank_id: i64,
    banking_user_id: Option<&'static str>,
    banking_customer_id: Option<&'static str>,
    banking_pin: Option<&'static str>,
    #[serde(rename = "type")]
    kind: &'static str,
    last_manual_update: Option<UpdateResult>,
    last_auto_update: Option<UpdateResult>,
    default_two_step_procedure_id: Option<&'static str>,
    two_step_procedures: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bank<'a> {
    id: i64,
    name: &'a str,
    bic: Option<&'static str>,
    blz: &'static str,
    location: Option<&'static str>,
    city: Option<&'static str>,
    is_test_bank: bool,
    popularity: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceBody<'a> {
    #[serde(flatten)]
    name: InterfaceName<'a>,
    login_credentials: [(); 0],
    default_two_step_procedure_id: Option<&'static str>,
    two_step_procedures: [(); 0],
    ais_consent: Option<Consent<'a>>,
    last_manual_update: Option<UpdateResult>,
    last_auto_update: Option<UpdateResult>,
    user_action_required: bool,
    max_days_for_download: u32,
}

/// The two versions have two names for it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum InterfaceName<'a> {
    Interface(&'a str),
    BankingInterface(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Consent<'a> {
    status: &'a str,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    supports_import_new_accounts: Option<bool>,
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
    sub_account_number: Option<&'static str>,
    account_holder_name: Option<&'static str>,
    account_holder_id: Option<&'static str>,
    account_currency: &'static str,
    account_type: &'static str,
    balance: Cents,
    overdraft: Option<Cents>,
    overdraft_limit: Option<Cents>,
    available_funds: Option<Cents>,
    is_new: bool,
    is_seized: bool,
    interfaces: Vec<AccountInterface<'a>>,
    #[serde(flatten)]
    only_v1: Option<AccountOfV1<'a>>,
}

/// What V1 alone has, and has as deprecated.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountOfV1<'a> {
    account_type_id: u32,
    account_type_name: &'static str,
    status: &'a str,
    last_successful_update: Option<String>,
    last_update_attempt: Option<String>,
    supported_orders: [(); 0],
    clearing_accounts: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountInterface<'a> {
    #[serde(flatten)]
    name: InterfaceName<'a>,
    status: &'a str,
    capabilities: [&'static str; 1],
    payment_capabilities: BTreeMap<(), ()>,
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

    fn is_v1(&self) -> bool {
        self.config.api_version == ApiVersion::V1
    }

    fn access_time(&self, at: Timestamp) -> String {
        access_time(at, self.config.api_version)
    }

    fn interface_name<'a>(&self, interface: &'a Interface) -> InterfaceName<'a> {
        if self.is_v1() {
            InterfaceName::Interface(&interface.interface)
        } else {
            InterfaceName::BankingInterface(&interface.interface)
        }
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
        let bank_id = bank_id(&connection.script.bank_name);
        let only_v1 = self.is_v1().then(|| ConnectionOfV1 {
            bank_id,
            banking_user_id: None,
            banking_customer_id: None,
            banking_pin: None,
            kind: "ONLINE",
            last_manual_update: self.last_manual(connection),
            last_auto_update: self.last_auto(connection),
            default_two_step_procedure_id: None,
            two_step_procedures: [],
        });
        let interfaces = connection.script.interfaces.iter();
        ConnectionBody {
            id: connection.id,
            bank: Bank {
                id: bank_id,
                name: &connection.script.bank_name,
                bic: None,
                blz: "50010517",
                location: None,
                city: None,
                is_test_bank: true,
                popularity: 95,
            },
            name: None,
            update_status: if busy { "IN_PROGRESS" } else { "READY" },
            categorization_status: categorization,
            account_ids: numbers.map(|number| connection.account_id(number)).collect(),
            owners: None,
            interfaces: interfaces
                .map(|interface| self.interface_body(connection, interface))
                .collect(),
            only_v1,
        }
    }

    fn interface_body<'a>(&self, connection: &Connection, interface: &'a Interface) -> InterfaceBody<'a> {
        let since = connection.acted.or(connection.began).unwrap_or(self.now);
        let consent = interface.consent_days.map(|days| Consent {
            status: &interface.consent_status,
            expires_at: self.access_time(later(since, Duration::from_secs(u64::from(days) * 24 * 3600))),
            supports_import_new_accounts: (!self.is_v1()).then_some(false),
        });
        InterfaceBody {
            name: self.interface_name(interface),
            login_credentials: [],
            default_two_step_procedure_id: None,
            two_step_procedures: [],
            user_action_required: interface.user_action_required && connection.acted.is_none(),
            max_days_for_download: 0,
            ais_consent: consent,
            last_manual_update: self.last_manual(connection),
            last_auto_update: self.last_auto(connection),
        }
    }

    fn last_manual(&self, connection: &Connection) -> Option<UpdateResult> {
        connection
            .last_manual(self.now)
            .map(|update| self.update_result(update))
    }

    fn last_auto(&self, connection: &Connection) -> Option<UpdateResult> {
        connection.last_auto.as_ref().map(|update| self.update_result(update))
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
        let succeeded = || succeeded.map(|at| self.access_time(at));
        let attempt = || attempt.map(|at| self.access_time(at));
        let checking = kind == AccountType::Checking;
        let only_v1 = self.is_v1().then(|| AccountOfV1 {
            account_type_id: 1,
            account_type_name: kind.access_name(),
            status: &held.account.status,
            last_successful_update: succeeded(),
            last_update_attempt: attempt(),
            supported_orders: [],
            clearing_accounts: [],
        });
        AccountBody {
            id,
            bank_connection_id: connection.id,
            account_name: held.account.name.as_deref(),
            iban: cash.then(|| iban(&account_number)),
            account_number,
            sub_account_number: None,
            account_holder_name: cash.then_some("Žofie Nováková"),
            account_holder_id: None,
            account_currency: "EUR",
            account_type: kind.access_name(),
            balance,
            overdraft: checking.then_some(Cents(0)),
            overdraft_limit: checking.then_some(Cents(50_000)),
            available_funds: checking.then_some(Cents(balance.0 + 50_000)),
            is_new: held.new,
            is_seized: held.account.seized,
            interfaces: interfaces
                .map(|interface| AccountInterface {
                    name: self.interface_name(interface),
                    status: &held.account.status,
                    capabilities: ["DATA_DOWNLOAD"],
                    payment_capabilities: BTreeMap::new(),
                    last_successful_update: succeeded(),
                    last_update_attempt: attempt(),
                })
                .collect(),
            only_v1,
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

/// finAPI's id of a bank. Banks of one name are one bank.
#[must_use]
pub fn bank_id(name: &str) -> i64 {
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
