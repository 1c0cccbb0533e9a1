//! Asking a host that is down whether it is back.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderValue, Method, header};
use reqwest::Request;
use tokio::time::Instant;
use url::Url;

use super::breaker::Host;
use super::client::FinApi;
use super::pipeline::{JSON, TASKS_ENDPOINT, TOKEN_ENDPOINT, X_REQUEST_ID, request_id};
use crate::refresh::failure::{Failure, FailureClass};

/// A user's request that failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) endpoint: &'static str,
    pub(super) url: Url,
    pub(super) authorization: HeaderValue,
}

impl FinApi {
    /// While finAPI is down, asks now and then whether it is back, for ever: once no refresh is in flight, nobody else does.
    pub async fn probe_while_down(&self) {
        let mut down = self.watch_outage();
        while down.wait_for(|down| *down).await.is_ok() {
            let probes = Host::ALL.map(|host| self.probe(host));
            let waits = join_all(probes).await.into_iter().flatten();
            if let Some(wait) = waits.min() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Asks a host that is down; when to ask again, if it still is.
    async fn probe(&self, host: Host) -> Option<Duration> {
        self.breaker.open_for(host, Instant::now())?;
        let (endpoint, request) = self.probe_request(host);
        match self.send(host, request, endpoint).await {
            Err(Failure {
                class: FailureClass::NotSent(wait),
                ..
            }) => Some(wait),
            _ => None,
        }
    }

    /// What failed, once more: other endpoints of a host may be well. In place of starting an update, or of polling a task more often
    /// than its refresh does, the user's tasks are read. A token that has ended meanwhile is refused, and that is an answer, too.
    fn probe_request(&self, host: Host) -> (&'static str, Request) {
        let failed = self.failed()[host as usize].clone();
        let Some(failed) = failed else {
            // Only requests for tokens are made without one.
            let request = self.token_request(&[("grant_type", "client_credentials")]);
            return (TOKEN_ENDPOINT, request);
        };
        let (endpoint, url) = match host {
            Host::Access => (failed.endpoint, failed.url),
            Host::WebForm => (TASKS_ENDPOINT, self.at(host, "api/tasks")),
        };
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, failed.authorization);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(X_REQUEST_ID, request_id());
        (endpoint, request)
    }

    pub(super) fn failed(&self) -> MutexGuard<'_, [Option<Failed>; Host::ALL.len()]> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
