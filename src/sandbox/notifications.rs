//! Notifications of the batch update: the client's URL for them, the users' rules, and what is sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, Reply};
use super::callbacks::{Callback, Due};
use super::refusal::{FieldError, Refusal};
use super::state::State;

/// The longest URL and `callbackHandle`, in characters.
const TEXT_LENGTH_MAX: usize = 512;

const NEW_TRANSACTIONS: &str = "NEW_TRANSACTIONS";

const EVENTS: [&str; 8] = [
    NEW_TRANSACTIONS,
    "NEW_ACCOUNT_BALANCE",
    "BANK_LOGIN_ERROR",
    "NEW_TERMS_AND_CONDITIONS",
    "FOREIGN_MONEY_TRANSFER",
    "LOW_ACCOUNT_BALANCE",
    "HIGH_TRANSACTION_AMOUNT",
    "CATEGORY_CASH_FLOW",
];

/// The client's URL and all rules.
#[derive(Debug, Default)]
pub(super) struct Notifications {
    url: Option<String>,
    rules: Vec<Rule>,
    /// What is to be sent now.
    due: VecDeque<Callback>,
}

/// What a user's platform wants to hear of.
#[derive(Debug)]
struct Rule {
    id: usize,
    user: Arc<str>,
    body: RuleBody,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleBody {
    trigger_event: String,
    #[serde(default)]
    params: Option<BTreeMap<String, String>>,
    #[serde(default)]
    callback_handle: Option<String>,
    #[serde(default)]
    include_details: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientChange {
    user_notification_callback_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleReply<'a> {
    id: usize,
    #[serde(flatten)]
    body: &'a RuleBody,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewTransactions<'a> {
    account_id: i64,
    account_name: Option<&'a str>,
    account_number: Option<&'a str>,
    account_iban: Option<&'a str>,
    bank_name: &'a str,
    bank_connection_name: Option<&'a str>,
    new_transactions_count: usize,
    details: Option<&'a str>,
}

impl Notifications {
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Where notifications go, from the body of a change of the client.
    pub(super) fn set_url(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let change: ClientChange = read(body)?;
        let url = change.user_notification_callback_url;
        // The sandbox has no live system, so it takes http as well.
        let is_url = url.starts_with("https://") || url.starts_with("http://");
        if !url.is_empty() && !is_url || url.chars().count() > TEXT_LENGTH_MAX {
            return Err(wrong(
                "userNotificationCallbackUrl",
                "must be a URL of at most 512 characters",
            ));
        }
        self.url = Some(url).filter(|url| !url.is_empty());
        Ok(())
    }

    pub(super) fn next(&mut self) -> Option<Callback> {
        self.due.pop_front()
    }
}

impl RuleBody {
    fn check(&self) -> Result<(), Refusal> {
        if !EVENTS.contains(&self.trigger_event.as_str()) {
            return Err(wrong("triggerEvent", "is unknown"));
        }
        let handle = self.callback_handle.as_deref().unwrap_or_default();
        if handle.chars().count() > TEXT_LENGTH_MAX {
            return Err(wrong("callbackHandle", "must be at most 512 characters"));
        }
        let known: &[&str] = match self.trigger_event.as_str() {
            NEW_TRANSACTIONS => &["accountIds", "maxTransactionsCount"],
            "BANK_LOGIN_ERROR" => &["bankConnectionIds"],
            _ => return Ok(()),
        };
        for (name, value) in self.params.iter().flatten() {
            if !known.contains(&name.as_str()) || !value.split(',').all(|number| number.parse::<i64>().is_ok()) {
                return Err(wrong("params", &format!("{name} is unknown, or no list of numbers")));
            }
        }
        Ok(())
    }

    /// Without parameters a rule is about all of the user's accounts.
    fn is_about(&self, account: i64) -> bool {
        let ids = self.params.as_ref().and_then(|params| params.get("accountIds"));
        ids.is_none_or(|ids| ids.split(',').any(|id| id == account.to_string()))
    }
}

impl State {
    /// `POST /api/v2/notificationRules`.
    pub(super) fn add_rule(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        call.check_content_type("application/json")?;
        let body: RuleBody = read(&call.body)?;
        body.check()?;
        let rules = &mut self.notifications.rules;
        if rules.iter().any(|rule| rule.user == user && rule.body == body) {
            return Err(Refusal::new(422, "ENTITY_EXISTS", "There is such a rule."));
        }
        let id = rules.len() + 1;
        let reply = Reply::json(axum::http::StatusCode::CREATED, &RuleReply { id, body: &body });
        rules.push(Rule { id, user, body });
        Ok(reply)
    }

    pub(super) fn notify_of_batch_update(&mut self, connection: i64, ends: Timestamp) {
        self.call_back(ends, Due::BatchUpdate(connection));
    }

    /// The batch update of a connection is over: each rule that is about it makes a notification.
    pub(super) fn notify(&mut self, id: i64) {
        self.advance(id);
        let (Some(url), Some(connection)) = (&self.notifications.url, self.connections.get(&id)) else {
            return;
        };
        let Some(batch) = connection
            .batches
            .iter()
            .rev()
            .find(|batch| batch.task.is_none() && batch.imported <= self.now)
        else {
            return;
        };
        let mut new: BTreeMap<i64, usize> = BTreeMap::new();
        for (_, number) in batch.shown(self.now) {
            *new.entry(connection.account_id(number)).or_default() += 1;
        }
        for rule in &self.notifications.rules {
            let is_its_owner = connection.owner.as_ref() == Some(&rule.user);
            let new: Vec<NewTransactions<'_>> = new
                .iter()
                .filter(|(account, _)| rule.body.is_about(**account))
                .map(|(account, count)| NewTransactions {
                    account_id: *account,
                    account_name: None,
                    account_number: None,
                    account_iban: None,
                    bank_name: &connection.script.bank_name,
                    bank_connection_name: None,
                    new_transactions_count: *count,
                    details: None,
                })
                .collect();
            if !is_its_owner || rule.body.trigger_event != NEW_TRANSACTIONS || new.is_empty() {
                continue;
            }
            let body = json!({
                "notificationRuleId": rule.id,
                "triggerEvent": NEW_TRANSACTIONS,
                "callbackHandle": rule.body.callback_handle,
                "newTransactions": new,
            });
            self.notifications.due.push_back(Callback {
                url: url.clone(),
                body: body.to_string(),
            });
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| wrong("body", &error.to_string()))
}

fn wrong(field: &str, message: &str) -> Refusal {
    Refusal::Invalid(vec![FieldError::new(field, message)])
}
