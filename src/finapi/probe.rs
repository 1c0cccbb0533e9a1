//! The probe of [`version`](super::version): which version of Access the client is bound to. It asks with the client's own token, because
//! failed password grants lock users.

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::breaker::Host;
use super::client::FinApi;
use super::error;
use super::pipeline::{JSON, X_REQUEST_ID, ended, request_id};
use super::transport::{HttpResponse, TransportError};
use super::version::{AccessCall, PROBE_INTERVAL, Version};
use crate::refresh::ClockOffset;
use crate::secret::Secret;
use crate::telemetry::traces;

/// What finAPI says of a client has some thousand bytes.
const PROBE_BYTES_MAX: usize = 64 * 1024;

/// What a probe shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// The client is bound to this version.
    Bound(Version),
    /// finAPI refuses the client in both of them, or its credentials.
    Refused(String),
    /// Nothing.
    Unknown(String),
}

/// What operators learn of the client.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The version of Access that it is bound to, or why that can't be known.
    pub version: Result<Version, String>,
    /// How far the clock of Access is ahead, if its responses say so.
    pub offset: Option<ClockOffset>,
}

/// How many responses may be needed before a clock that is far away is believed.
const RESPONSES_FOR_CLOCK: usize = 4;

/// Whether the client itself is granted a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientGrant {
    Granted,
    Refused,
    Unknown,
}

/// What one version's answer to the probe shows.
enum Answer {
    Bound,
    Forbidden(String),
    Refused(String),
    Unknown(String),
}

#[derive(Deserialize)]
struct ClientToken {
    access_token: SecretString,
}

impl FinApi {
    /// Checks the client and finAPI's clock, with requests of the client's own.
    pub async fn diagnose(&self) -> Diagnosis {
        let version = match self.probe().await {
            Probed::Bound(version) => Ok(version),
            Probed::Refused(why) | Probed::Unknown(why) => Err(why),
        };
        if let Ok(version) = version {
            for _ in 0..RESPONSES_FOR_CLOCK {
                if self.clocks().access.is_some() {
                    break;
                }
                // What it says of the version is known.
                let _ = self.probe_version(version).await;
            }
        }
        let offset = self.clocks().access;
        Diagnosis { version, offset }
    }

    /// Asks V2, and where that answers 403, V1.
    pub(super) async fn probe(&self) -> Probed {
        let mut forbidden = Vec::new();
        for version in [Version::V2, Version::V1] {
            let answer = match self.probe_version(version).await {
                Ok(()) => Answer::Bound,
                Err(answer) => answer,
            };
            match answer {
                Answer::Bound => return Probed::Bound(version),
                Answer::Forbidden(why) => forbidden.push(why),
                Answer::Refused(why) => return Probed::Refused(why),
                Answer::Unknown(why) => return Probed::Unknown(why),
            }
        }
        Probed::Refused(forbidden.join("; "))
    }

    /// Asks for a token of the client's own. What finAPI said counts for a minute.
    pub(super) async fn client_grant(&self, version: Version) -> ClientGrant {
        let mut last = self.versions.last_client_grant.lock().await;
        if let Some((at, granted)) = *last
            && at.elapsed() < PROBE_INTERVAL
        {
            return granted;
        }
        let granted = self.grant_for(version, &self.settings.client_secret).await;
        if granted != ClientGrant::Unknown {
            *last = Some((Instant::now(), granted));
        }
        granted
    }

    /// Whether finAPI grants the client a token for this secret, which need not be the one in use.
    pub(super) async fn grant_for(&self, version: Version, secret: &Secret) -> ClientGrant {
        let request = self.token_request_with(version, &[("grant_type", "client_credentials")], secret);
        match self.ask(version.endpoint(AccessCall::Token), request).await {
            Ok(_) => ClientGrant::Granted,
            Err(Answer::Forbidden(_) | Answer::Refused(_)) => ClientGrant::Refused,
            Err(Answer::Bound | Answer::Unknown(_)) => ClientGrant::Unknown,
        }
    }

    async fn probe_version(&self, version: Version) -> Result<(), Answer> {
        let endpoint = version.endpoint(AccessCall::Token);
        let request = self.token_request(version, &[("grant_type", "client_credentials")]);
        let response = self.ask(endpoint, request).await?;
        let token: ClientToken = serde_json::from_slice(&response.body)
            .map_err(|_| Answer::Unknown(format!("{endpoint} answered 200 without a token")))?;
        let endpoint = version.endpoint(AccessCall::ClientConfiguration);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.access_token.expose_secret()))
            .map_err(|_| Answer::Unknown("the client's token is no header value".to_owned()))?;
        bearer.set_sensitive(true);
        let mut request = Request::new(Method::GET, self.access_url(endpoint));
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(X_REQUEST_ID, request_id());
        let response = self.ask(endpoint, request).await?;
        // A page that anybody on the way may have answered is no proof.
        match serde_json::from_slice::<serde_json::Map<_, _>>(&response.body) {
            Ok(_) => Ok(()),
            Err(_) => Err(Answer::Unknown(format!("{endpoint} answered 200 without an object"))),
        }
    }

    /// Sends a request of the client's own, past the breaker: as long as no version is proven, nothing else shows how the host is.
    async fn ask(&self, endpoint: &'static str, mut request: Request) -> Result<HttpResponse, Answer> {
        if let Some(rate) = &self.rate {
            rate.admit().await;
        }
        self.set_language(&mut request);
        let span = traces::HttpSpan::begin(endpoint, request.url());
        let server = request.url().host_str().unwrap_or_default().to_owned();
        let started = Instant::now();
        let sent = self.clocks.now();
        let result = self
            .transport
            .send(request, self.settings.timeout, PROBE_BYTES_MAX)
            .await;
        if let Ok(response) = &result {
            self.clocks
                .observe(Host::Access, sent, response.status, &response.headers);
        }
        let ended = ended(&result);
        span.end(&ended);
        self.metrics.requested(endpoint, server, &ended, started.elapsed());
        read(endpoint, result)
    }
}

fn read(endpoint: &str, result: Result<HttpResponse, TransportError>) -> Result<HttpResponse, Answer> {
    let response = result.map_err(|error| Answer::Unknown(format!("{endpoint}: {error}")))?;
    let answered = || format!("{endpoint} answered {}", response.status.as_u16());
    match response.status {
        StatusCode::OK => Ok(response),
        StatusCode::FORBIDDEN if error::is_of_access(&response) => Err(Answer::Forbidden(answered())),
        StatusCode::UNAUTHORIZED if error::is_of_access(&response) => {
            let why = answered() + ": finAPI refuses finapi.client_id and finapi.client_secret";
            Err(Answer::Refused(why))
        }
        _ => Err(Answer::Unknown(answered())),
    }
}
