//! The way of a request to finAPI: a token, a turn, the breaker, the transport, and what is counted of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::breaker::{Admitted, Host};
use super::client::{Control, FinApi, Interrupt, QueryContext};
use super::credentials::Secret;
use super::error::{self, Api};
use super::probe::Failed;
use super::tokens::{GrantRequest, Source, TokenResponse};
use super::transport::{HttpResponse, TransportError};
use super::wire::{self, parse};
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};
use crate::telemetry::metrics::TokenFrom;
use crate::telemetry::{Ended, traces};

pub(super) const TOKEN_ENDPOINT: &str = "POST /oauth/token";
pub(super) const TASKS_ENDPOINT: &str = "GET /api/tasks";

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// One request of a user.
pub(super) struct UserRequest<'a> {
    pub(super) endpoint: &'static str,
    pub(super) host: Host,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Bytes,
    pub(super) user_id: &'a UserId,
    pub(super) control: &'a Control,
    /// The command's own token, if it has one.
    pub(super) access_token: Option<&'a SecretString>,
}

impl FinApi {
    /// Sends a request with the user's token.
    pub(super) async fn send_for_user(&self, request: UserRequest<'_>) -> Result<HttpResponse, Interrupt> {
        if let Some(token) = request.access_token {
            self.metrics.token(TokenFrom::Command);
            return self.send_wanted(&request, token).await;
        }
        let token = self.tokens.get(request.user_id).ok_or(Interrupt::NeedsToken)?;
        let response = self.send_wanted(&request, &token).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            self.tokens.on_accepted(request.user_id, &token);
        } else if self
            .tokens
            .on_refused(request.user_id, &token, request.control.renewals)
        {
            return Err(Interrupt::NeedsToken);
        }
        Ok(response)
    }

    /// Sends a request that its worker still wants when its turn has come.
    async fn send_wanted(&self, request: &UserRequest<'_>, token: &SecretString) -> Result<HttpResponse, Interrupt> {
        self.turn(request.host).await?;
        let is_safe = request.method == Method::GET || request.control.lease.is_valid();
        if request.control.stop.is_cancelled() || !is_safe {
            return Err(Interrupt::Stopped);
        }
        Ok(self
            .send(request.host, request.request(token)?, request.endpoint)
            .await?)
    }

    /// Waits until a request may be sent. None that will not be takes a turn.
    pub(super) async fn turn(&self, host: Host) -> Result<(), Failure> {
        match self.breaker.open_for(host, Instant::now()) {
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
    pub(super) async fn send(
        &self,
        host: Host,
        request: Request,
        endpoint: &'static str,
    ) -> Result<HttpResponse, Failure> {
        let admitted = self.breaker.admit(host, Instant::now()).map_err(down)?;
        let span = traces::HttpSpan::begin(endpoint, request.url());
        let server = request.url().host_str().unwrap_or_default().to_owned();
        let sent_id = request.headers().get(X_REQUEST_ID).cloned();
        let url = request.url().clone();
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let started = Instant::now();
        let result = self
            .transport
            .send(request, self.settings.timeout, self.settings.body_max)
            .await;
        let ended = ended(&result);
        span.end(&ended);
        self.metrics.requested(endpoint, server, &ended, started.elapsed());
        match &result {
            Ok(response) if !is_strained(response.status) => self.concurrency.on_success(),
            _ => self.concurrency.on_overload(),
        }
        let is_up = result.as_ref().is_ok_and(|response| !response.status.is_server_error());
        match (is_up, admitted) {
            (true, _) => self.breaker.on_success(host),
            (false, Admitted::Call) => {
                if let Some(authorization) = authorization {
                    let failed = Failed {
                        endpoint,
                        url,
                        authorization,
                    };
                    self.failed()[host as usize] = Some(failed);
                }
                self.breaker.on_failure(host, Instant::now());
            }
            (false, Admitted::Probe(wait)) => return Err(down(wait)),
        }
        result.map_err(|transport_error| error::no_response(endpoint, transport_error, sent_id.as_ref()))
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

    /// The same with an id as one more segment.
    pub(super) fn at_id(&self, host: Host, path: &str, id: impl fmt::Display) -> Url {
        let mut url = self.at(host, path);
        // An http URL always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(&id.to_string());
        }
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
    async fn secret(&self, user_id: &UserId) -> Result<Secret, Failure> {
        self.credentials.secret(user_id, &self.transport).await
    }

    async fn grant(&self, user_id: &UserId, grant: GrantRequest) -> Result<TokenResponse, Failure> {
        let endpoint = TOKEN_ENDPOINT;
        let request = match &grant {
            GrantRequest::Password(password) => self.token_request(&[
                ("grant_type", "password"),
                ("username", user_id.as_str()),
                ("password", password.expose_secret()),
            ]),
            GrantRequest::RefreshToken(token) => self.token_request(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose_secret()),
            ]),
        };
        let _permit = self.concurrency.acquire().await;
        self.turn(Host::Access).await?;
        let response = self.send(Host::Access, request, endpoint).await?;
        if !response.status.is_success() {
            return Err(error::classify(endpoint, Api::OAuth, &response));
        }
        let token: wire::Token = parse(endpoint, &response)?;
        Ok(token.into())
    }
}

impl<'a> UserRequest<'a> {
    pub(super) fn get(context: QueryContext<'a>, endpoint: &'static str, host: Host, url: Url) -> Self {
        let QueryContext { refresh, control } = context;
        Self {
            endpoint,
            host,
            method: Method::GET,
            url,
            body: Bytes::new(),
            user_id: refresh.command.user_id(),
            control,
            access_token: refresh.command.access_token(),
        }
    }

    fn request(&self, token: &SecretString) -> Result<Request, Failure> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Failure::new(FailureClass::UserUnauthorized, "the access token is no header value"))?;
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
    Failure::new(FailureClass::NotSent(wait), "finAPI is down")
}

/// What traces and metrics say of it.
fn ended(result: &Result<HttpResponse, TransportError>) -> Ended<'_> {
    match result {
        Ok(response) => Ended::Response {
            status: response.status,
            request_id: response.request_id(),
        },
        Err(transport_error) => Ended::TransportError {
            error: transport_error.name(),
            message: transport_error.to_string(),
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
