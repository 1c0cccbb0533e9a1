//! What goes wrong between finAPI and its caller.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use fastrand::Rng;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::body::BodyFault;
use super::endpoint::Endpoint;
use super::gateway::{Gateway, RetryAfter};
use super::odd::Odd;
use super::script::After;

/// In the extensions of a response in process that never arrives over HTTP. Its body fails at the first read, which
/// makes a server close the connection before it has sent a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDropped;

/// In the extensions of a response in process: the fault that its call met.
#[derive(Clone, Debug, PartialEq)]
pub struct Met(pub FaultKind);

/// A fault, and where and how often it is met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// At which endpoint; at all of them when not given.
    #[serde(default)]
    pub at: Option<Endpoint>,
    /// The calls of which user; of all of them when not given.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The calls about which connection; all of them when not given.
    #[serde(default)]
    pub connection_id: Option<i64>,
    /// How many calls go by unharmed before it.
    #[serde(default)]
    pub skip: u32,
    /// How many calls meet it; every one when not given.
    #[serde(default)]
    pub first: Option<u32>,
}

impl Fault {
    /// One that every call meets.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            at: None,
            user_id: None,
            connection_id: None,
            skip: 0,
            first: None,
        }
    }

    /// One that every call of an endpoint meets.
    #[must_use]
    pub fn at(endpoint: Endpoint, kind: FaultKind) -> Self {
        Self {
            at: Some(endpoint),
            ..Self::new(kind)
        }
    }

    /// One that only the first calls meet that could.
    #[must_use]
    pub fn first(self, calls: u32) -> Self {
        Self {
            first: Some(calls),
            ..self
        }
    }

    fn is_for(&self, passing: &Passing<'_>) -> bool {
        self.at.is_none_or(|at| at == passing.endpoint)
            && self.user_id.as_deref().is_none_or(|user| passing.user == Some(user))
            && self.connection_id.is_none_or(|id| passing.connection == Some(id))
    }
}

/// A call that comes by a fault: where, whose it is, and what it is about.
pub(super) struct Passing<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) user: Option<&'a str>,
    pub(super) connection: Option<i64>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// An error in place of the answer; no work is done.
    Status {
        /// The HTTP status.
        status: u16,
        /// The error's code; one that goes with the status when not given.
        #[serde(default)]
        code: Option<String>,
        /// `Retry-After`.
        #[serde(default)]
        retry_after: Option<RetryAfter>,
    },
    /// The work is done at once and the answer takes a while: whoever gives up waiting has started something.
    Slow {
        /// How long.
        by: After,
    },
    /// The connection drops; no work is done.
    Dropped,
    /// The work is done and the answer's body is cut in half.
    Malformed,
    /// The work is done and the connection drops.
    ResponseLost,
    /// Something else answers in finAPI's place.
    Gateway(Gateway),
    /// The work is done and this happens to the answer's body.
    Body(BodyFault),
    /// The work is done and the answer has data that no one should send.
    Odd(Vec<Odd>),
    /// The answer to a read is as old as this: it does not show what was written since, and knows nothing that was made since.
    Stale {
        /// How old.
        by: After,
    },
    /// The caller's access token dies: before the work, which is refused then, or after it.
    TokenDies {
        /// The work is done.
        #[serde(default)]
        after_work: bool,
    },
}

/// What is done to an answer after the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Slow(Duration),
    Cut,
    Drop,
    Replace(Gateway),
    Body(BodyFault),
    Odd(Vec<Odd>),
}

/// What a fault means for a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing is done.
    Refuse {
        status: u16,
        code: Option<String>,
        retry_after: Option<RetryAfter>,
    },
    /// Nothing is done, and this is said in finAPI's place.
    Replace(Gateway),
    /// Nothing is done and nothing is said.
    Drop,
    /// Done as so long ago.
    Before(Duration),
    /// The token dies.
    KillToken { after_work: bool },
    /// Done, and then this.
    After(Then),
}

impl FaultKind {
    pub(super) fn effect(&self, rng: &mut Rng) -> Effect {
        match self {
            Self::Status {
                status,
                code,
                retry_after,
            } => Effect::Refuse {
                status: *status,
                code: code.clone(),
                retry_after: retry_after.clone(),
            },
            Self::Slow { by } => Effect::After(Then::Slow(by.draw(rng))),
            Self::Dropped => Effect::Drop,
            Self::Malformed => Effect::After(Then::Cut),
            Self::ResponseLost => Effect::After(Then::Drop),
            Self::Gateway(gateway) if gateway.after_work => Effect::After(Then::Replace(gateway.clone())),
            Self::Gateway(gateway) => Effect::Replace(gateway.clone()),
            Self::Body(fault) => Effect::After(Then::Body(fault.clone())),
            Self::Odd(odd) => Effect::After(Then::Odd(odd.clone())),
            Self::Stale { by } => Effect::Before(by.draw(rng)),
            Self::TokenDies { after_work } => Effect::KillToken {
                after_work: *after_work,
            },
        }
    }

    /// An error of finAPI's own.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            code: None,
            retry_after: None,
        }
    }

    /// The same, that says how many seconds to wait.
    #[must_use]
    pub fn retry_after(status: u16, seconds: u32) -> Self {
        Self::Status {
            status,
            code: None,
            retry_after: Some(seconds.into()),
        }
    }

    /// One of each that finAPI itself may have, for random faults.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::status(500),
            Self::status(503),
            Self::retry_after(429, 2),
            Self::Slow { by: After::secs(2) },
            Self::Dropped,
            Self::Malformed,
            Self::ResponseLost,
        ]
    }
}

/// Finds the first fault that this call meets. `met` counts, for each fault, the calls that came by and that it is for.
pub(super) fn meet<'a>(faults: &'a [Fault], met: &mut Vec<u32>, passing: &Passing<'_>) -> Option<&'a FaultKind> {
    met.resize(faults.len(), 0);
    let mut found = None;
    for (fault, met) in faults.iter().zip(met) {
        if found.is_some() || !fault.is_for(passing) {
            continue;
        }
        let after_skip = met.checked_sub(fault.skip);
        *met = met.saturating_add(1);
        if after_skip.is_some_and(|number| fault.first.is_none_or(|first| number < first)) {
            found = Some(&fault.kind);
        }
    }
    found
}

/// A response that ends its connection in place of arriving.
pub(super) fn dropped() -> Response {
    let broken = io::Error::new(io::ErrorKind::ConnectionReset, "the sandbox drops this connection");
    let body = Body::from_stream(stream::once(async { Err::<bytes::Bytes, _>(broken) }));
    let mut response = Response::new(body);
    response.extensions_mut().insert(ConnectionDropped);
    response
}
