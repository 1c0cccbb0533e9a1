//! finAPI's JSON, and the facts in it. Only what is needed is read, and of that only ids must be there: what is unknown, null or missing is
//! normal, and what can't be read is left out and counted.

mod access;
mod amount;
mod lenient;
mod task;
mod text;
mod time;
mod token;
mod transaction;

use http::header;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(super) use access::{Accounts, Connection};
pub(super) use lenient::Read;
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
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    pub(super) page: Option<u32>,
    pub(super) page_count: Option<u32>,
    total_count: Option<u64>,
}

impl Paging {
    /// Whether no page follows. Not known where finAPI says nothing.
    pub(super) fn is_last(&self, page: u32) -> bool {
        self.page_count.is_some_and(|pages| page >= pages)
    }
}

/// What a response brings.
pub(super) trait Content: DeserializeOwned {
    /// finAPI writes at least one of these members, unless it has nothing to say at all. What has others only is somebody else's.
    const MEMBERS: &'static [&'static str];
}

/// Reads a body, unless it is a refusal.
pub(super) fn understand<T: Content>(endpoint: &str, host: Host, response: &HttpResponse) -> Result<Read<T>, Failure> {
    if !response.status.is_success() {
        return Err(error::classify(endpoint, host.into(), response));
    }
    parse(endpoint, response)
}

/// Reads a body, whatever encoding it came in.
pub(super) fn parse<T: Content>(endpoint: &str, response: &HttpResponse) -> Result<Read<T>, Failure> {
    let content_type = response.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|content_type| content_type.to_str().ok());
    let text = text::decode(&response.body, content_type);
    if !is_of(T::MEMBERS, &text) {
        return Err(error::malformed(endpoint, response, "a body that is not finAPI's"));
    }
    let mut read = lenient::read(&text).map_err(|error| misunderstood(endpoint, response, &error))?;
    if !text::is_plain(&response.body, &text) {
        read.unreadable.push(lenient::TEXT.to_owned());
    }
    Ok(read)
}

/// Whether JSON has one of these members somewhere, or none at all.
fn is_of(members: &[&str], json: &str) -> bool {
    let is_empty = || json.chars().filter(|c| !c.is_whitespace()).eq("{}".chars());
    let has = |member: &&str| json.contains(&format!("\"{member}\""));
    members.iter().any(has) || is_empty()
}

/// Whether a body is a JSON object, as all of finAPI's are, at first sight.
pub(super) fn is_json_object(body: &[u8]) -> bool {
    // The mark of an encoding is no more than three bytes, and each character has at most one byte that is 0.
    let is_before = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0xEF | 0xBB | 0xBF | 0xFE | 0xFF);
    body.iter().find(|byte| !is_before(byte)) == Some(&b'{')
}

/// serde's message may quote what it read, so only its place is shown.
fn misunderstood(endpoint: &str, response: &HttpResponse, error: &serde_json::Error) -> Failure {
    let place = format!(
        "a body that can't be understood at line {} column {}",
        error.line(),
        error.column()
    );
    error::malformed(endpoint, response, &place)
}
