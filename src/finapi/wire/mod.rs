//! finAPI's JSON, and the facts in it. Only what is needed is read; what is unknown, null or missing is normal.

mod access;
mod amount;
mod task;
#[cfg(test)]
mod text;
mod time;
mod token;
mod transaction;

use serde::Deserialize;
use serde_json::value::RawValue;

pub(super) use access::{Accounts, Connection};
pub(super) use task::{Task, Tasks, WebForm};
pub(super) use time::german_day;
pub(super) use token::{Life, Token};
pub(super) use transaction::Transactions;

use super::breaker::Host;
use super::error;
use super::transport::HttpResponse;
use crate::refresh::failure::Failure;

/// A list of a finAPI page: which page it is, and how many there are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Paging {
    page: Option<Box<RawValue>>,
    pub(super) page_count: u32,
    total_count: Option<Box<RawValue>>,
}

impl Paging {
    /// Which page it is, where finAPI says so.
    pub(super) fn page(&self) -> Option<u32> {
        self.page.as_ref()?.get().parse().ok()
    }
}

pub(super) fn understand<'a, T: Deserialize<'a>>(
    endpoint: &str,
    host: Host,
    response: &'a HttpResponse,
) -> Result<T, Failure> {
    if !response.status.is_success() {
        return Err(error::classify(endpoint, host.into(), response));
    }
    parse(endpoint, response)
}

/// Looks once whether the whole body is UTF-8, which is cheaper than string by string. Where it is not, a string that nobody reads may
/// be to blame.
pub(super) fn parse<'a, T: Deserialize<'a>>(endpoint: &str, response: &'a HttpResponse) -> Result<T, Failure> {
    let parsed = match std::str::from_utf8(&response.body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(&response.body),
    };
    parsed.map_err(|error| misunderstood(endpoint, response, &error))
}

/// Whether a body is a JSON object, as all of finAPI's are, at first sight.
pub(super) fn is_json_object(body: &[u8]) -> bool {
    // The mark of an encoding is no more than three bytes, and each character has at most one byte that is 0.
    let is_before = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0xEF | 0xBB | 0xBF | 0xFE | 0xFF);
    body.iter().find(|byte| !is_before(byte)) == Some(&b'{')
}

/// serde's message may quote what it read, so only its place is shown.
pub(super) fn misunderstood(endpoint: &str, response: &HttpResponse, error: &serde_json::Error) -> Failure {
    let place = format!(
        "a body that can't be understood at line {} column {}",
        error.line(),
        error.column()
    );
    error::malformed(endpoint, response, &place)
}
