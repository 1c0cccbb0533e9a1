//! What finAPI is asked, and how it responds.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

use super::Maker;
use crate::telemetry::Ended;

/// What a client of finAPI counts.
#[derive(Clone, Debug)]
pub struct FinApiMetrics {
    queries: Histogram<f64>,
    requests: Histogram<f64>,
    tokens: Counter<u64>,
    odd_codes: Counter<u64>,
    unreadable: Counter<u64>,
    users_left_out: Counter<u64>,
    passwords_kept: Counter<u64>,
    api_version: Gauge<u64>,
    names: Gauge<u64>,
}

/// Where a token came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TokenFrom {
    /// The command.
    Command,
    /// This worker's memory.
    Memory,
    /// The operator's credential service.
    Service,
    /// finAPI, for a refresh token.
    RefreshToken,
    /// finAPI, for a password.
    Password,
}

impl Default for FinApiMetrics {
    fn default() -> Self {
        Self::new(&Maker::of(&super::meter()))
    }
}

impl FinApiMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            queries: make.seconds(
                "bankrefresh.finapi.query.duration",
                "Queries to finAPI and their wait at the limit, by query and class of the response",
            ),
            requests: make.seconds(
                "http.client.request.duration",
                "HTTP requests to finAPI, tokens included",
            ),
            tokens: make.counter(
                "bankrefresh.finapi.tokens",
                "{token}",
                "Users' access tokens that were needed, by where they came from",
            ),
            odd_codes: make.counter(
                "bankrefresh.finapi.odd_codes",
                "{response}",
                "Responses with an error code that is not a word, so that it was left out, by query",
            ),
            unreadable: make.counter(
                "bankrefresh.finapi.unreadable",
                "{member}",
                "Members of finAPI's responses that could not be read, so that they were left out, by query and finAPI's name",
            ),
            users_left_out: make.counter(
                "bankrefresh.finapi.users_left_out",
                "{update}",
                "Updates without the user's device, because finAPI takes no address that is not IPv4",
            ),
            passwords_kept: make.counter(
                "bankrefresh.finapi.passwords_kept",
                "{password}",
                "Passwords that were not sent to finAPI, because it is known to have refused them",
            ),
            api_version: make.gauge(
                "bankrefresh.finapi.api_version",
                "{version}",
                "1 for the version of Access that is proven; as long as none is, no update is started",
            ),
            names: make.gauge(
                "bankrefresh.finapi.names",
                "{set}",
                "1 for the set of names that updates are started by, once finAPI has started one",
            ),
        }
    }

    pub(crate) fn queried(&self, query: &'static str, class: &'static str, took: Duration) {
        let labels = [KeyValue::new("query", query), KeyValue::new("class", class)];
        self.queries.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn odd_code(&self, query: &'static str) {
        self.odd_codes.add(1, &[KeyValue::new("query", query)]);
    }

    /// A member that could not be read. Only names of members that are read come here, so there are few of them.
    pub(crate) fn unreadable(&self, query: &'static str, name: &str) {
        let labels = [KeyValue::new("query", query), KeyValue::new("member", name.to_owned())];
        self.unreadable.add(1, &labels);
    }

    pub(crate) fn user_left_out(&self) {
        self.users_left_out.add(1, &[]);
    }

    pub(crate) fn password_kept(&self) {
        self.passwords_kept.add(1, &[]);
    }

    /// The version that is spoken, if one is.
    pub(crate) fn api_version(&self, versions: [&'static str; 2], spoken: Option<&'static str>) {
        one_of(&self.api_version, "version", versions, spoken);
    }

    /// The names that are spoken, if some are.
    pub(crate) fn names(&self, sets: [&'static str; 2], spoken: Option<&'static str>) {
        one_of(&self.names, "names", sets, spoken);
    }

    pub(crate) fn token(&self, from: TokenFrom) {
        let from = match from {
            TokenFrom::Command => "command",
            TokenFrom::Memory => "memory",
            TokenFrom::Service => "service",
            TokenFrom::RefreshToken => "refresh_token",
            TokenFrom::Password => "password",
        };
        self.tokens.add(1, &[KeyValue::new("from", from)]);
    }

    /// One HTTP request to finAPI.
    pub(crate) fn requested(&self, endpoint: &'static str, server: String, ended: &Ended<'_>, took: Duration) {
        let (method, template) = endpoint.split_once(' ').unwrap_or((endpoint, ""));
        let mut labels = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.template", template),
            KeyValue::new("server.address", server),
        ];
        match ended {
            Ended::Response { status, .. } => {
                labels.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
                if status.is_client_error() || status.is_server_error() {
                    labels.push(KeyValue::new("error.type", status.as_str().to_owned()));
                }
            }
            Ended::TransportError { error, .. } => labels.push(KeyValue::new("error.type", *error)),
        }
        self.requests.record(took.as_secs_f64(), &labels);
    }
}

fn one_of(gauge: &Gauge<u64>, label: &'static str, of: [&'static str; 2], chosen: Option<&'static str>) {
    for name in of {
        gauge.record(u64::from(chosen == Some(name)), &[KeyValue::new(label, name)]);
    }
}
