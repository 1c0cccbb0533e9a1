//! The way of a request to finAPI: a token, a turn, the breaker, the transport, and what is counted of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::breaker::{Admitted, Host};
use super::client::{Asked, Control, FinApi, Interrupt};
use super::credentials::Secret;
use super::error::{self, Surface};
use super::probe::Failed;
use super::tokens::{Grant, Granted, Source};
use super::transport::{NoAnswer, Response};
use super::wire::{self, parse};
use crate::refresh::failure::{Failure, FailureKind};
use crate::telemetry::metrics::TokenFrom;
use crate::telemetry::{Ended, traces};

pub(super) const TOKEN_ENDPOINT: &str = "POST /oauth/token";
pub(super) const TASKS_ENDPOINT: &str = "GET /api/tasks";

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// One request of a user.
pub(super) struct UserCall<'a> {
    pub(super) endpoint: &'static str,
    pub(super) host: Host,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Bytes,
    pub(super) user_id: &'a str,
    pub(super) control: &'a Control,
    /// The command's own token, if it has one.
    pub(super) access_token: Option<SecretString>,
}

impl FinApi {
    /// Sends a request with the user's token.
    pub(super) async fn user_call(&self, call: UserCall<'_>) -> Result<Response, Interrupt> {
        if let Some(token) = &call.access_token {
            self.metrics.token(TokenFrom::Command);
            return self.send_wanted(&call, token).await;
        }
        let token = self.tokens.get(call.user_id).ok_or(Interrupt::NeedsToken)?;
        let response = self.send_wanted(&call, &token).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            self.tokens.on_accepted(call.user_id, &token);
        } else if self.tokens.on_refused(call.user_id, &token, call.control.renewals) {
            return Err(Interrupt::NeedsToken);
        }
        Ok(response)
    }

    /// Sends a request that its worker still wants when its turn has come.
    async fn send_wanted(&self, call: &UserCall<'_>, token: &SecretString) -> Result<Response, Interrupt> {
        self.turn(call.host).await?;
        let is_safe = call.method == Method::GET || call.control.lease.is_valid();
        if call.control.stop.is_cancelled() || !is_safe {
            return Err(Interrupt::Stopped);
        }
        Ok(self.send(call.host, call.request(token)?, call.endpoint).await?)
    }

    /// Waits until a request may be sent. None that will not be takes a turn.
    pub(super) async fn turn(&self, host: Host) -> Result<(), Failure> {
        match self.breaker.closed_for(host, Instant::now()) {
            Some(wait) if !wait.is_zero() => Err(down(wait)),
            _ => {
                if let Some(rate) = &self.rate {
                    rate.admit().await;
                }
                Ok(())
            }
        }
    }

    /// Sends one request, unless its host is down. A probe that fails says what was known already, so it is nobody's failure.
    pub(super) async fn send(&self, host: Host, request: Request, endpoint: &'static str) -> Result<Response, Failure> {
        let admitted = self.breaker.admit(host, Instant::now()).map_err(down)?;
        let span = traces::Request::begin(endpoint, request.url());
        let server = request.url().host_str().unwrap_or_default().to_owned();
        let sent_id = request.headers().get(X_REQUEST_ID).cloned();
        let url = request.url().clone();
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let started = Instant::now();
        let answer = self
            .transport
            .send(request, self.settings.timeout, self.settings.body_max)
            .await;
        let ended = ended(&answer);
        span.end(&ended);
        self.metrics.requested(endpoint, server, &ended, started.elapsed());
        match &answer {
            Ok(response) if !is_strained(response.status) => self.concurrency.on_success(),
            _ => self.concurrency.on_overload(),
        }
        let is_up = answer.as_ref().is_ok_and(|response| !response.status.is_server_error());
        match (is_up, admitted) {
            (true, _) => self.breaker.succeeded(host),
            (false, Admitted::Call) => {
                if let Some(authorization) = authorization {
                    let failed = Failed {
                        endpoint,
                        url,
                        authorization,
                    };
                    self.failed()[host as usize] = Some(failed);
                }
                self.breaker.failed(host, Instant::now());
            }
            (false, Admitted::Probe(wait)) => return Err(down(wait)),
        }
        answer.map_err(|no_answer| error::no_answer(endpoint, no_answer, sent_id.as_ref()))
    }

    /// A path below a host, without a query.
    pub(super) fn at(&self, host: Host, path: &str) -> Url {
        let base: &Url = match host {
            Host::Access => &self.settings.access_url,
            Host::WebForm => &self.settings.web_form_url,
        };
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        url
    }

    pub(super) fn token_request(&self, own: &[(&str, &str)]) -> Request {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(own)
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("client_secret", self.settings.client_secret.expose())
            .finish();
        let mut request = Request::new(Method::POST, self.at(Host::Access, "oauth/token"));
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(X_REQUEST_ID, request_id());
        *request.body_mut() = Some(form.into());
        request
    }
}

impl Source for FinApi {
    async fn secret(&self, user_id: &str) -> Result<Secret, Failure> {
        self.credentials.secret(user_id, &self.transport).await
    }

    async fn grant(&self, user_id: &str, grant: Grant) -> Result<Granted, Failure> {
        let endpoint = TOKEN_ENDPOINT;
        let request = match &grant {
            Grant::Password(password) => self.token_request(&[
                ("grant_type", "password"),
                ("username", user_id),
                ("password", password.expose_secret()),
            ]),
            Grant::RefreshToken(token) => self.token_request(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose_secret()),
            ]),
        };
        let _permit = self.concurrency.acquire().await;
        self.turn(Host::Access).await?;
        let response = self.send(Host::Access, request, endpoint).await?;
        if !response.status.is_success() {
            return Err(error::classify(endpoint, Surface::OAuth, &response));
        }
        let token: wire::Token = parse(endpoint, &response)?;
        Ok(token.into())
    }
}

impl<'a> UserCall<'a> {
    pub(super) fn get(asked: Asked<'a>, endpoint: &'static str, host: Host, url: Url) -> Self {
        let Asked { refresh, control } = asked;
        let token = &refresh.command.access_token;
        Self {
            endpoint,
            host,
            method: Method::GET,
            url,
            body: Bytes::new(),
            user_id: &refresh.command.user_id,
            control,
            access_token: (!token.is_empty()).then(|| SecretString::from(token.as_str())),
        }
    }

    fn request(&self, token: &SecretString) -> Result<Request, Failure> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Failure::new(FailureKind::UserUnauthorized, "the access token is no header value"))?;
        bearer.set_sensitive(true);
        let mut request = Request::new(self.method.clone(), self.url.clone());
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(X_REQUEST_ID, request_id());
        if self.method == Method::POST {
            headers.insert(header::CONTENT_TYPE, JSON);
            *request.body_mut() = Some(self.body.clone().into());
        }
        Ok(request)
    }
}

fn down(wait: Duration) -> Failure {
    Failure::new(FailureKind::NotAsked(wait), "finAPI is down")
}

/// What traces and metrics say of it.
fn ended(answer: &Result<Response, NoAnswer>) -> Ended<'_> {
    match answer {
        Ok(response) => Ended::Answered {
            status: response.status,
            request_id: response.request_id(),
        },
        Err(no_answer) => Ended::NoAnswer {
            error: no_answer.name(),
            message: no_answer.to_string(),
        },
    }
}

fn is_strained(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

pub(super) fn request_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("bankrefresh"))
}
