//! finAPI's JSON, and the facts in it. Only what is needed is read; what is unknown, null or missing is normal.

mod access;
mod amount;
mod task;
mod time;
mod token;
mod transaction;

use serde::Deserialize;

pub(super) use access::{Accounts, Connection};
pub(super) use task::{Task, Tasks, WebForm};
pub(super) use time::german_day;
pub(super) use token::{Life, Token};
pub(super) use transaction::Transactions;

use super::error::{self, Api};
use super::transport::HttpResponse;
use crate::refresh::failure::Failure;

/// A list of a finAPI page: how many pages there are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    #[serde(default)]
    pub(super) page_count: u32,
}

pub(super) fn understand<'a, T: Deserialize<'a>>(endpoint: &str, response: &'a HttpResponse) -> Result<T, Failure> {
    if !response.status.is_success() {
        return Err(error::classify(endpoint, Api::User, response));
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

/// serde's message may quote what it read, so only its place is shown.
pub(super) fn misunderstood(endpoint: &str, response: &HttpResponse, error: &serde_json::Error) -> Failure {
    let place = format!(
        "a body that can't be understood at line {} column {}",
        error.line(),
        error.column()
    );
    error::malformed(endpoint, response, &place)
}
