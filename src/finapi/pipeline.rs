//! The way of a request to finAPI: a token, a turn, the breaker, the transport, and what is counted of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::body_budget::Room;
use super::breaker::{Admitted, CallEnd, Host, Verdict};
use super::client::{Control, FinApi, Interrupt, QueryContext};
use super::credentials::Secret;
use super::error::{self, Api};
use super::grant::NoGrant;
use super::tokens::{GrantRequest, Source, TokenResponse};
use super::transport::{HttpResponse, TransportError};
use super::version::{AccessCall, Forbidden, Version};
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::secret::Secret as ClientSecret;
use crate::telemetry::metrics::TokenFrom;
use crate::telemetry::{Ended, traces};

pub(super) const TASK_ENDPOINT: &str = "GET /api/tasks/{id}";
pub(super) const TASKS_ENDPOINT: &str = "GET /api/tasks";
pub(super) const START_ENDPOINT: &str = "POST /api/tasks/backgroundUpdate";

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// One request of a user.
pub(super) struct UserRequest<'a> {
    pub(super) endpoint: &'static str,
    pub(super) host: Host,
    /// The version of Access that it speaks; none where it has no versions.
    pub(super) version: Option<Version>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Bytes,
    pub(super) user_id: &'a UserId,
    pub(super) control: &'a Control,
    /// The command's own token, if it has one.
    pub(super) access_token: Option<&'a SecretString>,
}

/// Who calls whom.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) endpoint: &'static str,
    pub(super) host: Host,
    pub(super) user_id: &'a UserId,
    /// Nothing is sent a second time once this is cancelled.
    pub(super) stop: Option<&'a CancellationToken>,
    pub(super) room: &'a Room,
}

/// What came of a request.
struct Exchanged {
    result: Result<HttpResponse, TransportError>,
    /// None where no head came.
    verdict: Option<Verdict>,
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
        let renewals = request.control.renewals;
        match response.status {
            StatusCode::UNAUTHORIZED => {
                if self.tokens.on_refused(request.user_id, &token, renewals) {
                    return Err(Interrupt::NeedsToken);
                }
            }
            // Access may say so of a locked user, which a request for a token shows. Web Form 2.0 says it of a connection.
            StatusCode::LOCKED if request.host == Host::Access && renewals == 0 => {
                self.tokens.on_refused(request.user_id, &token, renewals);
                return Err(Interrupt::NeedsToken);
            }
            _ => self.tokens.on_accepted(request.user_id, &token),
        }
        Ok(response)
    }

    /// Sends a request that its worker still wants when its turn has come.
    async fn send_wanted(&self, request: &UserRequest<'_>, token: &SecretString) -> Result<HttpResponse, Interrupt> {
        self.turn(request.host, request.user_id).await?;
        let is_safe = request.method == Method::GET || request.control.lease.is_valid();
        if request.control.stop.is_cancelled() || !is_safe {
            return Err(Interrupt::Stopped);
        }
        let call = Call {
            endpoint: request.endpoint,
            host: request.host,
            user_id: request.user_id,
            stop: Some(&request.control.stop),
            room: &request.control.room,
        };
        let sent = Instant::now();
        let response = self.send(call, request.request(token)?).await?;
        match request.version {
            Some(version) => Ok(self.check_version(version, request.endpoint, response, sent).await?),
            None => Ok(response),
        }
    }

    /// A response of Access, unless it is the refusal of a version that the client is not bound to: then the request is to be made again.
    async fn check_version(
        &self,
        version: Version,
        endpoint: &str,
        response: HttpResponse,
        sent: Instant,
    ) -> Result<HttpResponse, Failure> {
        if response.status != StatusCode::FORBIDDEN || !error::is_of_access(&response) {
            return Ok(response);
        }
        let wait = match self.on_forbidden(version, sent).await {
            Forbidden::Stands => {
                let failure = error::classify(endpoint, Api::Access, &response);
                let message = failure.message + self.versions.hint();
                return Err(Failure { message, ..failure });
            }
            Forbidden::Changed => Duration::ZERO,
            Forbidden::Unknown(wait) => wait,
        };
        let message = format!("{endpoint} answered 403, and finAPI's version may have changed");
        Err(Failure::new(FailureClass::NotSent(wait), &message))
    }

    /// Waits until a request may be sent. None that will not be takes a turn.
    pub(super) async fn turn(&self, host: Host, user_id: &UserId) -> Result<(), Failure> {
        let checked = self.breaker.check(host, user_id, Instant::now());
        checked.map_err(|wait| down(host, wait))?;
        if let Some(rate) = &self.rate {
            rate.admit().await;
        }
        Ok(())
    }

    /// Sends one request, unless its host is down. A trial that fails says what was known already, so it is nobody's failure. But the refresh must
    /// know if the trial may have started an update. It must also know if the trial was asked for a wait. A read whose connection was lost is sent
    /// again at once, because a kept connection may have been closed just before.
    pub(super) async fn send(&self, call: Call<'_>, mut request: Request) -> Result<HttpResponse, Failure> {
        self.set_language(&mut request);
        let Call { endpoint, host, .. } = call;
        let admitted = self.breaker.admit(host, call.user_id, Instant::now());
        let admitted = admitted.map_err(|wait| down(host, wait))?;
        if let Admitted::Trial(_) = admitted {
            self.transport.distrust_kept_connections();
        }
        let deadline = Instant::now() + self.settings.timeout;
        let sent_id = request.headers().get(X_REQUEST_ID).cloned();
        let again = (request.method() == Method::GET).then(|| request.try_clone()).flatten();
        let mut exchanged = self.exchange(call, admitted, request, deadline).await;
        if let (Err(TransportError::Lost), None, Some(mut again)) = (&exchanged.result, exchanged.verdict, again) {
            if endpoint == TASK_ENDPOINT {
                // finAPI may have got the poll, and allows one a second.
                tokio::time::sleep(POLL_INTERVAL_MIN).await;
            }
            if call.stop.is_some_and(|stop| !stop.is_cancelled()) {
                again.headers_mut().insert(X_REQUEST_ID, request_id());
                exchanged = self.exchange(call, admitted, again, deadline).await;
            }
        }
        let Exchanged { result, verdict } = exchanged;
        let no_head = || match result {
            Err(TransportError::Connect) => CallEnd::NoConnection,
            _ => CallEnd::Failed,
        };
        let verdict = verdict.unwrap_or_else(|| self.on_end(call, admitted, no_head()));
        // Who is asked for a wait does not go on as soon as the host is back.
        let asks_for_wait = result.as_ref().is_ok_and(error::asks_for_wait);
        let may_have_started = endpoint == START_ENDPOINT && !matches!(result, Err(TransportError::Connect));
        match verdict.still_down {
            Some(wait) if !may_have_started && !asks_for_wait => Err(down(host, wait)),
            _ => result.map_err(|error| error::no_response(endpoint, error, sent_id.as_ref())),
        }
    }

    /// Sends a request once. The head of the response says how it is with the host, and its body, when somebody else speaks in finAPI's place; a
    /// body that does not end is trouble of that call alone.
    async fn exchange(&self, call: Call<'_>, admitted: Admitted, request: Request, deadline: Instant) -> Exchanged {
        let span = traces::HttpSpan::begin(call.endpoint, request.url());
        let server = request.url().host_str().unwrap_or_default().to_owned();
        let started = Instant::now();
        let sent = self.clocks.now();
        let (verdict, result) = match self.transport.begin(request, deadline).await {
            Ok(head) => {
                self.clocks.observe(call.host, sent, head.status, &head.headers);
                let status = head.status;
                let read = head.read(self.settings.body_max, Some(call.room), deadline).await;
                let end = CallEnd::of(status, read.as_ref().ok());
                (Some(self.on_end(call, admitted, end)), read)
            }
            Err(error) => (None, Err(error)),
        };
        let ended = ended(&result);
        span.end(&ended);
        self.metrics.requested(call.endpoint, server, &ended, started.elapsed());
        Exchanged { result, verdict }
    }

    fn on_end(&self, call: Call<'_>, admitted: Admitted, end: CallEnd) -> Verdict {
        let now = Instant::now();
        let verdict = self.breaker.on_end(call.host, call.user_id, admitted, end, now);
        match verdict.strained {
            Some(share) => self.concurrency.on_strain(share),
            None if !end.is_strain() => self.concurrency.on_success(),
            None => {}
        }
        verdict
    }

    /// What fails while few users call a host may be its outage.
    pub(super) fn judged(&self, host: Host, failure: Failure) -> Failure {
        match failure.class {
            FailureClass::Unavailable if self.breaker.callers_are_few(host, Instant::now()) => Failure {
                class: FailureClass::MaybeDown,
                ..failure
            },
            _ => failure,
        }
    }

    pub(super) fn set_language(&self, request: &mut Request) {
        if let Some(language) = self.settings.language {
            let language = HeaderValue::from_static(language.tag());
            request.headers_mut().insert(header::ACCEPT_LANGUAGE, language);
        }
    }

    pub(super) fn token_request(&self, version: Version, own: &[(&str, &str)]) -> Request {
        self.token_request_with(version, own, &self.settings.client_secret)
    }

    /// The same with a client's secret that is not in use.
    pub(super) fn token_request_with(
        &self,
        version: Version,
        own: &[(&str, &str)],
        client_secret: &ClientSecret,
    ) -> Request {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(own)
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("client_secret", &client_secret.expose())
            .finish();
        let url = self.access_url(version.endpoint(AccessCall::Token));
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(X_REQUEST_ID, request_id());
        *request.body_mut() = Some(form.into());
        request
    }
}

impl Source for FinApi {
    async fn secret(&self, user_id: &UserId) -> Result<Secret, Failure> {
        let host = Host::Credentials;
        let admitted = self.breaker.admit(host, user_id, Instant::now());
        let admitted = admitted.map_err(|wait| down(host, wait))?;
        let result = self.credentials.secret(user_id, &self.transport).await;
        let end = match &result {
            Err(failure) if failure.class == FailureClass::Unavailable => CallEnd::Failed,
            _ => CallEnd::Answered,
        };
        let verdict = self.breaker.on_end(host, user_id, admitted, end, Instant::now());
        match verdict.still_down {
            Some(wait) => Err(down(host, wait)),
            None => result.map_err(|failure| self.judged(host, failure)),
        }
    }

    async fn grant(&self, user_id: &UserId, grant: GrantRequest) -> Result<TokenResponse, NoGrant> {
        self.request_token(user_id, &grant).await
    }
}

impl<'a> UserRequest<'a> {
    pub(super) fn get(context: QueryContext<'a>, endpoint: &'static str, host: Host, url: Url) -> Self {
        let QueryContext { refresh, control } = context;
        Self {
            endpoint,
            host,
            version: None,
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

fn down(host: Host, wait: Duration) -> Failure {
    Failure::new(FailureClass::NotSent(wait), &format!("{} is down", host.name()))
}

/// What traces and metrics say of it.
pub(super) fn ended(result: &Result<HttpResponse, TransportError>) -> Ended<'_> {
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

pub(super) fn request_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("bankrefresh"))
}
