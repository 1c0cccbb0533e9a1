//! A finAPI simulator: Access in both of its versions and Web Form 2.0 at one host, with banks and users that follow a script.
//!
//! It is as strict as finAPI could be: it refuses unknown fields and parameters, missing ones and wrong types. Nothing runs in the
//! background: what a task, a web form or a connection is by now is computed when it is asked for, from `tokio::time`, so that the
//! sandbox lives in virtual time as well as in real time. All randomness comes from one seed, and each user and each connection draws from
//! [streams of its own](crate::random). [`router`](Sandbox::router) may be called in
//! process; there a connection that drops is a response with [`ConnectionDropped`] among its extensions, and any response to a call that
//! met a fault has [`Met`].
//!
//! What it can be made to do, by connection ids, scripts, faults and control endpoints, is on one page: `docs/sandbox.md`.

mod access;
mod asked;
mod batch;
mod body;
mod call;
mod callbacks;
mod clock;
mod config;
mod connection;
mod control;
mod endpoint;
mod fault;
mod forms;
mod gateway;
mod http;
mod notifications;
mod oauth;
mod odd;
mod page;
mod params;
mod refusal;
mod script;
mod state;
mod table;
mod tasks;
#[cfg(test)]
mod tests;
mod transactions;
mod update_request;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::sync::Notify;
use uuid::Uuid;

pub use access::bank_id;
pub use asked::{Asked, AskedOfConnection, AskedOfTask, AskedOfUser, Imported};
pub use body::BodyFault;
pub use callbacks::Callback;
pub use config::{ApiVersion, Dialect, RedirectUrl, SandboxConfig, ScriptedConnection, ScriptedUser};
pub use endpoint::Endpoint;
pub use fault::{ConnectionDropped, Fault, FaultKind, Met};
pub use forms::ByHand;
pub use gateway::{Gateway, GatewayBody, RetryAfter};
pub use http::serve;
pub use odd::Odd;
pub use script::{
    ACCOUNTS_MAX, Account, AccountType, After, Behaviour, Interface, Late, Script, Transactions, UserDoes,
};

use state::State;

/// The simulator.
#[derive(Debug)]
pub struct Sandbox {
    state: Mutex<State>,
    /// Notified when a callback may have become due earlier than it was.
    sooner: Notify,
}

impl Sandbox {
    /// A sandbox whose time starts now. Where tokio's clock is to be paused, pause it first, and call this inside the runtime.
    #[must_use]
    pub fn new(config: SandboxConfig) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(config)),
            sooner: Notify::new(),
        })
    }

    /// All of finAPI at one host, and the sandbox's own pages. To be called over HTTP by [`serve`], or in process.
    pub fn router(self: &Arc<Self>) -> Router {
        http::router(Arc::clone(self))
    }

    /// Scripts a connection, which starts from the beginning: whatever it was and owned is forgotten; its tasks stay as they are.
    pub fn script(&self, user_id: &str, connection_id: i64, script: Script) {
        self.script_connection(ScriptedConnection {
            user_id: Some(user_id.to_owned()),
            connection_id,
            script,
        });
    }

    /// The same, also for a connection that belongs to whoever asks for it first.
    pub fn script_connection(&self, connection: ScriptedConnection) {
        self.turn(|state| state.script(connection));
    }

    /// Scripts a user. Tokens it has stay valid.
    pub fn script_user(&self, user: ScriptedUser) {
        self.turn(|state| state.script_user(user));
    }

    /// Starts finAPI's batch update on a connection that someone has used or scripted: locked for this long, and updated then.
    /// False when there is no such connection, or it is locked already.
    pub fn batch_update(&self, connection_id: i64, takes: Duration) -> bool {
        let started = self.turn(|state| state.start_batch_update(connection_id, takes));
        self.sooner.notify_one();
        started
    }

    /// Makes a user's access token invalid, as finAPI does when the user changes: the next request gets 401.
    pub fn revoke_token(&self, user_id: &str) {
        self.turn(|state| state.revoke_token(user_id));
    }

    /// Binds the client to a version of Access, as its mandator may at any time. Tokens that were given out stay valid.
    pub fn switch_api_version(&self, version: ApiVersion) {
        self.turn(|state| state.config.api_version = version);
    }

    /// From now on every call of finAPI meets this.
    pub fn go_down(&self, with: FaultKind) {
        self.go_down_at(with, &Endpoint::ALL);
    }

    /// From now on every call of these endpoints meets this.
    pub fn go_down_at(&self, with: FaultKind, endpoints: &[Endpoint]) {
        self.turn(|state| state.down = Some((with, endpoints.to_vec())));
    }

    /// Ends [`Self::go_down`] and [`Self::go_down_at`].
    pub fn come_up(&self) {
        self.turn(|state| state.down = None);
    }

    /// From now on calls meet this, after the faults that they meet already.
    pub fn add_fault(&self, fault: Fault) {
        self.turn(|state| state.add_fault(fault));
    }

    /// Ends [`Self::add_fault`], and a fault of the settings.
    pub fn remove_fault(&self, fault: &Fault) {
        self.turn(|state| state.remove_fault(fault));
    }

    /// Ends all of them.
    pub fn remove_faults(&self) {
        self.turn(State::remove_faults);
    }

    /// Sets the probability, from 0 to 1, that a call meets a random fault.
    pub fn set_fault_rate(&self, rate: f64) {
        self.turn(|state| state.config.fault_rate = rate);
    }

    /// Sets what the URLs of web forms start with, from now on.
    pub fn set_web_form_url(&self, url: &str) {
        self.turn(|state| url.clone_into(&mut state.config.web_form_url));
    }

    /// Plays the user of a web form. False when there is no such form or it is final already.
    pub fn play(&self, web_form: Uuid, by_hand: ByHand) -> bool {
        let played = self.turn(|state| state.play(web_form, by_hand));
        self.sooner.notify_one();
        played
    }

    /// What finAPI was asked so far.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.turn(|state| state.asked())
    }

    /// Does something with the state, at one moment of the clock.
    fn turn<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic inside would be a bug in the sandbox; its state is plain data all the same.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.clock.now();
        f(&mut state)
    }
}
