//! finAPI's responses as `tests/fuzz` reads them, endpoint by endpoint.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::breaker::Host;
use super::credentials::{self, Secret};
use super::error::{self, Api};
use super::passwords;
use super::request::is_about_names;
use super::tokens::TokenResponse;
use super::transport::HttpResponse;
use super::wire::{self, Read, parse, understand};
use crate::id::ConnectionId;
use crate::refresh::failure::Failure;
use crate::refresh::model::{Collected, Page};
use crate::refresh::query::Response;

/// Statuses of which each means something else.
const STATUSES: [u16; 13] = [302, 400, 401, 403, 404, 405, 408, 415, 422, 423, 429, 500, 503];

fn response(status: u16, body: &[u8]) -> HttpResponse {
    HttpResponse {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        headers: HeaderMap::new(),
        body: body.to_vec().into(),
    }
}

pub(crate) fn task(body: &[u8]) -> Result<Response, Failure> {
    let task: Read<wire::Task> = understand("GET /api/tasks/{id}", Host::WebForm, &response(200, body))?;
    Ok(Response::Task(task.created_at_or(Timestamp::UNIX_EPOCH)))
}

/// One page, as the search for a connection's tasks reads it.
pub(crate) fn tasks(body: &[u8], id: ConnectionId) -> Result<Response, Failure> {
    let (endpoint, response) = ("GET /api/tasks", response(200, body));
    let read: Read<wire::Tasks> = understand(endpoint, Host::WebForm, &response)?;
    read.value.oldest();
    Ok(Response::Tasks(read.value.of(id, Timestamp::UNIX_EPOCH).collect()))
}

pub(crate) fn web_form(body: &[u8]) -> Result<Response, Failure> {
    let form: Read<wire::WebForm> = understand("GET /api/webForms/{id}", Host::WebForm, &response(200, body))?;
    Ok(Response::WebForm(form.into()))
}

pub(crate) fn connection(body: &[u8]) -> Result<Response, Failure> {
    let connection: Read<wire::Connection> =
        understand("GET /api/v1/bankConnections/{id}", Host::Access, &response(200, body))?;
    Ok(Response::Connection(connection.into()))
}

pub(crate) fn accounts(body: &[u8]) -> Result<Collected, Failure> {
    let accounts: Read<wire::Accounts> = understand("GET /api/v1/accounts", Host::Access, &response(200, body))?;
    Ok(accounts.into())
}

pub(crate) fn transactions(body: &[u8], since: Timestamp) -> Result<Page, Failure> {
    let read: Read<wire::Transactions> = understand("GET /api/v1/transactions", Host::Access, &response(200, body))?;
    Ok(read.page(since, body.len().is_multiple_of(2)))
}

/// An error, from each API. The length of the body chooses the status, so that one input costs no more than one response.
pub(crate) fn errors(body: &[u8]) -> [Failure; 3] {
    // Decides whether an update is started with the other names.
    let _ = is_about_names(&error::invalid_fields(body));
    let response = response(STATUSES[body.len() % STATUSES.len()], body);
    [Api::Access, Api::WebForm, Api::OAuth].map(|api| error::classify("POST /x", api, &response))
}

/// A 429 with this `Retry-After`, this date and this request id.
pub(crate) fn headers(value: &[u8]) -> Option<Failure> {
    let value = HeaderValue::from_bytes(value).ok()?;
    let mut response = response(429, b"");
    response.headers.insert(header::RETRY_AFTER, value.clone());
    response.headers.insert(header::DATE, value.clone());
    response.headers.insert("x-request-id", value);
    Some(error::classify("GET /x", Api::Access, &response))
}

pub(crate) fn token(body: &[u8]) -> Result<TokenResponse, Failure> {
    let token: Read<wire::Token> = parse("POST /oauth/token", &response(200, body))?;
    Ok(token.value.into())
}

/// What the credential service answered.
pub(crate) fn credential(body: &[u8]) -> Result<Secret, Failure> {
    credentials::understand(body)
}

/// A message about a password: as it came, and once more with a signature that fits, which no mutation finds.
pub(crate) fn password(body: &[u8]) {
    passwords::fuzzing::message(body);
}
