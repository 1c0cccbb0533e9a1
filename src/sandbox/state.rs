//! All that the sandbox knows, and a call's way to its endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use fastrand::Rng;
use jiff::Timestamp;
use uuid::{Builder, Uuid};

use super::asked::Counters;
use super::call::{Call, Reply};
use super::callbacks::Due;
use super::clock::{Clock, earlier, later};
use super::config::{SandboxConfig, ScriptedConnection, ScriptedUser};
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::fault::{Effect, Fault, FaultKind, Passing, meet};
use super::forms::Form;
use super::notifications::Notifications;
use super::oauth::Grant;
use super::refusal::{Refusal, usual_code};
use super::script::Script;
use super::table::{Pick, pick};
use super::tasks::Task;
use crate::random::Streams;

/// The state. Maps are ordered, so that nothing depends on a hash.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: SandboxConfig,
    pub(super) clock: Clock,
    /// The moment of this turn.
    pub(super) now: Timestamp,
    pub(super) random: Streams,
    pub(super) down: Option<(FaultKind, Vec<Endpoint>)>,
    pub(super) users: BTreeMap<Arc<str>, User>,
    pub(super) grants: BTreeMap<String, Grant>,
    pub(super) refresh_tokens: BTreeMap<String, Arc<str>>,
    pub(super) client_token: Option<String>,
    pub(super) connections: BTreeMap<i64, Connection>,
    pub(super) tasks: BTreeMap<Uuid, Task>,
    pub(super) forms: BTreeMap<Uuid, Form>,
    pub(super) form_secrets: BTreeMap<String, Uuid>,
    pub(super) callbacks: BTreeMap<(Timestamp, u64), Due>,
    pub(super) callbacks_ever: u64,
    pub(super) notifications: Notifications,
    pub(super) next_transaction: i64,
    pub(super) counters: Counters,
    /// Shared by all connections without a script of their own.
    default_script: Arc<Script>,
    /// For each of the config's faults, the calls that came by it.
    faults_met: Vec<u32>,
}

/// Above it there is no room for the ids of accounts.
const CONNECTION_ID_MAX: i64 = i64::MAX / 1000 - 1;

/// A user.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) scripted: Option<ScriptedUser>,
    pub(super) wrong_passwords: u32,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    /// Oldest first.
    pub(super) tasks: Vec<Uuid>,
    pub(super) connections: BTreeSet<i64>,
    pub(super) token_responses: u64,
    pub(super) tokens_made: u64,
}

impl State {
    pub(super) fn new(mut config: SandboxConfig) -> Self {
        let clock = Clock::new(config.start.unwrap_or_else(Timestamp::now));
        let users = std::mem::take(&mut config.users);
        let connections = std::mem::take(&mut config.connections);
        let mut state = Self {
            now: clock.now(),
            clock,
            random: Streams::new(config.seed),
            down: None,
            users: BTreeMap::new(),
            grants: BTreeMap::new(),
            refresh_tokens: BTreeMap::new(),
            client_token: None,
            connections: BTreeMap::new(),
            tasks: BTreeMap::new(),
            forms: BTreeMap::new(),
            form_secrets: BTreeMap::new(),
            callbacks: BTreeMap::new(),
            callbacks_ever: 0,
            notifications: Notifications::default(),
            next_transaction: 1,
            counters: Counters::default(),
            default_script: Arc::new(config.default_script.clone()),
            faults_met: Vec::new(),
            config,
        };
        for user in users {
            state.script_user(user);
        }
        for connection in connections {
            state.script(connection);
        }
        state
    }

    pub(super) fn script(&mut self, scripted: ScriptedConnection) {
        let id = scripted.connection_id;
        let owner = scripted.user_id.map(Arc::<str>::from);
        let before = self.connections.get(&id).and_then(|before| before.owner.clone());
        if let Some(user) = before.and_then(|before| self.users.get_mut(&before)) {
            user.connections.remove(&id);
        }
        if let Some(owner) = &owner {
            self.user(owner).connections.insert(id);
        }
        self.connections
            .insert(id, Connection::new(id, owner, Arc::new(scripted.script)));
    }

    pub(super) fn script_user(&mut self, scripted: ScriptedUser) {
        let user = self.user(&Arc::from(scripted.user_id.as_str()));
        user.wrong_passwords = 0;
        user.scripted = Some(scripted);
    }

    pub(super) fn revoke_token(&mut self, user_id: &str) {
        let user = self.users.get_mut(user_id);
        if let Some(token) = user.and_then(|user| user.access_token.take()) {
            self.grants.remove(&token);
        }
    }

    pub(super) fn user(&mut self, id: &Arc<str>) -> &mut User {
        self.users.entry(Arc::clone(id)).or_default()
    }

    pub(super) fn answer(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        self.counters.call(call.endpoint);
        if let Some((kind, endpoints)) = self.down.clone()
            && endpoints.contains(&call.endpoint)
        {
            self.suffer(call, &kind, None)?;
        }
        if call.endpoint.has_versions() && call.version != self.config.api_version {
            return Err(Refusal::forbidden("API Version mismatch"));
        }
        call.check_request_id()?;
        match call.endpoint {
            Endpoint::Token => self.token(call),
            Endpoint::ClientConfiguration => self.show_client(call),
            Endpoint::StartUpdate => self.start_update(call),
            Endpoint::Tasks => self.list_tasks(call),
            Endpoint::Task => self.show_task(call),
            Endpoint::WebForm => self.show_form(call),
            Endpoint::CancelWebForm => self.cancel_form(call),
            Endpoint::BankConnection => self.show_connection(call),
            Endpoint::Accounts => self.list_accounts(call),
            Endpoint::Transactions => self.list_transactions(call),
            Endpoint::ChangeClient => self.change_client(call),
            Endpoint::NotificationRules => self.add_rule(call),
        }
    }

    pub(super) fn count_answer(&mut self, call: &Call, reply: Option<&Reply>) {
        self.counters
            .answer(call.endpoint, reply.map(|reply| reply.status.as_u16()));
    }

    /// Meets a fault, if there is one for this call: once per call, when it is known which connection it is about.
    pub(super) fn faults(&mut self, call: &mut Call, connection: Option<i64>) -> Result<(), Refusal> {
        let user = self.user_of(call);
        let passing = Passing {
            endpoint: call.endpoint,
            user: user.as_deref(),
            connection,
        };
        let scripted = connection.and_then(|id| self.connections.get_mut(&id));
        let of_script = scripted.and_then(|connection| {
            let script = Arc::clone(&connection.script);
            meet(&script.faults, &mut connection.faults_met, &passing).cloned()
        });
        let fault = of_script
            .or_else(|| meet(&self.config.faults, &mut self.faults_met, &passing).cloned())
            .or_else(|| self.random_fault(call, connection));
        match fault {
            Some(fault) => self.suffer(call, &fault, connection),
            None => Ok(()),
        }
    }

    pub(super) fn add_fault(&mut self, fault: Fault) {
        self.config.faults.push(fault);
    }

    /// Takes one back, with what it has counted.
    pub(super) fn remove_fault(&mut self, fault: &Fault) {
        if let Some(number) = self.config.faults.iter().position(|other| other == fault) {
            self.config.faults.remove(number);
            if number < self.faults_met.len() {
                self.faults_met.remove(number);
            }
        }
    }

    pub(super) fn remove_faults(&mut self) {
        self.config.faults.clear();
        self.faults_met.clear();
    }

    /// The user whose token a call carries, or for whom it asks for one.
    fn user_of(&self, call: &Call) -> Option<Arc<str>> {
        let of_token = call.bearer.as_ref().and_then(|token| self.grants.get(token));
        of_token.and_then(Grant::user).or_else(|| self.asks_for_token(call))
    }

    /// Whose stream decides what this call meets: the connection's, else the user's, else the client's.
    fn caller(&self, call: &Call, connection: Option<i64>) -> String {
        match (connection, self.user_of(call)) {
            (Some(id), _) => format!("connection/{id}"),
            (None, Some(user)) => format!("user/{user}"),
            (None, None) => "client".to_owned(),
        }
    }

    fn random_fault(&mut self, call: &Call, connection: Option<i64>) -> Option<FaultKind> {
        if self.config.fault_rate <= 0.0 {
            return None;
        }
        let who = self.caller(call, connection);
        let mut rng = self.random.next(&format!("fault/{:?}/{who}", call.endpoint));
        if rng.f64() >= self.config.fault_rate {
            return None;
        }
        rng.choice(&self.config.random_faults).cloned()
    }

    fn suffer(&mut self, call: &mut Call, fault: &FaultKind, connection: Option<i64>) -> Result<(), Refusal> {
        self.counters.faults += 1;
        call.met = Some(fault.clone());
        let who = self.caller(call, connection);
        let mut rng = self.random.next(&format!("suffered/{:?}/{who}", call.endpoint));
        match fault.effect(&mut rng) {
            Effect::Drop => Err(Refusal::Drop),
            Effect::Replace(gateway) => Err(Refusal::Gateway(gateway)),
            Effect::Before(by) if call.endpoint.method() == Method::GET => {
                self.now = earlier(self.now, by);
                Ok(())
            }
            Effect::Before(_) => Ok(()),
            Effect::KillToken { after_work } => {
                if let Some(user) = self.user_of(call) {
                    self.revoke_token(&user);
                }
                if after_work || call.endpoint == Endpoint::Token {
                    return Ok(());
                }
                Err(Refusal::DeadToken)
            }
            Effect::After(then) => {
                call.then = Some(then);
                Ok(())
            }
            Effect::Refuse {
                status,
                code,
                retry_after,
            } => Err(Refusal::Error {
                status,
                code: code.unwrap_or_else(|| usual_code(status).to_owned()),
                message: "The sandbox was set to answer this.".to_owned(),
                retry_after,
            }),
        }
    }

    /// Brings a connection up to now. False when it does not exist for this user.
    pub(super) fn reach(&mut self, user: &Arc<str>, id: i64) -> bool {
        if !(1..=CONNECTION_ID_MAX).contains(&id) || !self.claim(user, id) {
            return false;
        }
        self.begin(id);
        self.advance(id);
        true
    }

    /// Whoever asks first owns a connection.
    fn claim(&mut self, user: &Arc<str>, id: i64) -> bool {
        if !self.connections.contains_key(&id) {
            let script = match pick(&self.config, id) {
                Pick::Unknown => return false,
                Pick::Default => Arc::clone(&self.default_script),
                Pick::Script(script) => Arc::from(script),
            };
            self.connections.insert(id, Connection::new(id, None, script));
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        match &connection.owner {
            Some(owner) => owner == user,
            None => {
                connection.owner = Some(Arc::clone(user));
                self.user(user).connections.insert(id);
                true
            }
        }
    }

    pub(super) fn start_batch_update(&mut self, id: i64, takes: Duration) -> bool {
        self.begin(id);
        self.advance(id);
        let ends = later(self.now, takes);
        let locked = self.locked(id);
        match self.connections.get_mut(&id) {
            Some(connection) if !locked => {
                connection.batch_update_ends = Some(ends);
                self.notify_of_batch_update(id, ends);
                true
            }
            _ => false,
        }
    }
}

/// An id, as finAPI makes them.
pub(super) fn uuid(rng: &mut Rng) -> Uuid {
    Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid()
}

/// Text that nobody can guess who does not know the seed.
pub(super) fn secret(rng: &mut Rng) -> String {
    format!("{:032x}{:032x}", rng.u128(..), rng.u128(..))
}
