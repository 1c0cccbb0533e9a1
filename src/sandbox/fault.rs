//! What goes wrong between finAPI and its caller.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use fastrand::Rng;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::script::After;

/// In the extensions of a response in process that never arrives over HTTP. Its body fails at the first read, which
/// makes a server close the connection before it has sent a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDropped;

/// A fault, and where and how often it is met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// At which endpoint; at all of them when not given.
    #[serde(default)]
    pub at: Option<Endpoint>,
    /// Whose calls meet it; everybody's when not given.
    #[serde(default)]
    pub user: Option<String>,
    /// Calls about which connection meet it; about any, or none, when not given.
    #[serde(default)]
    pub connection: Option<i64>,
    /// How many calls go by unharmed before it.
    #[serde(default)]
    pub skip: u32,
    /// How many calls meet it; every one when not given.
    #[serde(default)]
    pub first: Option<u32>,
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
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u32>,
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
}

/// What a call is, as far as faults ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) user: Option<&'a str>,
    pub(super) connection: Option<i64>,
}

impl Fault {
    /// A fault that every call meets.
    #[must_use]
    pub const fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            at: None,
            user: None,
            connection: None,
            skip: 0,
            first: None,
        }
    }

    fn is_for(&self, call: Met<'_>) -> bool {
        self.at.is_none_or(|at| at == call.endpoint)
            && (self.user.is_none() || self.user.as_deref() == call.user)
            && (self.connection.is_none() || self.connection == call.connection)
    }
}

/// What is done to an answer after the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Slow(Duration),
    Cut,
    Drop,
}

/// What a fault means for a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing is done.
    Refuse {
        status: u16,
        code: Option<String>,
        retry_after: Option<u32>,
    },
    /// Nothing is done and nothing is said.
    Drop,
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
                retry_after: *retry_after,
            },
            Self::Slow { by } => Effect::After(Then::Slow(by.draw(rng))),
            Self::Dropped => Effect::Drop,
            Self::Malformed => Effect::After(Then::Cut),
            Self::ResponseLost => Effect::After(Then::Drop),
        }
    }

    /// One of each, for random faults.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let status = |status, retry_after| Self::Status {
            status,
            code: None,
            retry_after,
        };
        vec![
            status(500, None),
            status(503, None),
            status(429, Some(2)),
            Self::Slow { by: After::secs(2) },
            Self::Dropped,
            Self::Malformed,
            Self::ResponseLost,
        ]
    }
}

/// Finds the first fault that this call meets. `met` counts, for each fault, the calls that it is for.
pub(super) fn meet<'a>(faults: &'a [Fault], met: &mut Vec<u32>, call: Met<'_>) -> Option<&'a FaultKind> {
    met.resize(faults.len(), 0);
    let mut found = None;
    for (fault, met) in faults.iter().zip(met) {
        if found.is_some() || !fault.is_for(call) {
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
