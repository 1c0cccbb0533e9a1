//! How a request gets to finAPI: over HTTP, or, for simulation and the demo, by a call into the sandbox in this process.

use std::fmt;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use reqwest::Request;
use tower::ServiceExt as _;

use crate::sandbox::ConnectionDropped;

/// Carries requests to finAPI. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Over HTTP, with a pool of connections.
    Http(reqwest::Client),
    /// Into a router in this process.
    InProcess(Router),
}

/// A response, read to its end.
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl HttpResponse {
    /// finAPI's name for the request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        let id = self.headers.get("x-request-id")?.to_str().ok()?;
        (id.len() <= 255).then_some(id)
    }
}

/// Without the headers and the body, which may hold a token.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no response. Says nothing of what was sent, which may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made.
    #[error("could not connect")]
    Connect,
    /// The connection was lost, or what came is not HTTP.
    #[error("the connection was lost")]
    Lost,
    /// It took too long.
    #[error("no response in time")]
    TimedOut,
    /// The body is longer than allowed.
    #[error("the response is too long")]
    TooLong,
}

impl TransportError {
    /// Its name in traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Lost => "lost",
            Self::TimedOut => "timeout",
            Self::TooLong => "too_long",
        }
    }
}

impl Transport {
    /// A pool of HTTP connections. It keeps all that were ever made at once: a call that ends frees its connection a little after the
    /// next call asked for one, so there are some more connections than calls, and closing those only to make them again would cost
    /// more than the calls. With `http2` the server chooses HTTP/2 or HTTP/1.1 (ALPN); without, it gets HTTP/1.1. With `use_proxy` it takes
    /// the proxies that the environment names.
    ///
    /// # Errors
    ///
    /// When no TLS set-up can be made.
    pub fn http(connect_timeout: Duration, http2: bool, use_proxy: bool) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        let client = if http2 { client } else { client.http1_only() };
        let client = if use_proxy { client } else { client.no_proxy() };
        Ok(Self::Http(client.build()?))
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; whether finAPI got the request is not known then, except for [`TransportError::Connect`].
    pub async fn send(
        &self,
        request: Request,
        timeout: Duration,
        body_max: usize,
    ) -> Result<HttpResponse, TransportError> {
        let response = async {
            match self {
                Self::Http(client) => send_http(client, request, body_max).await,
                Self::InProcess(router) => Box::pin(call_router(router.clone(), request, body_max)).await,
            }
        };
        tokio::time::timeout(timeout, response)
            .await
            .unwrap_or(Err(TransportError::TimedOut))
    }
}

async fn send_http(
    client: &reqwest::Client,
    request: Request,
    body_max: usize,
) -> Result<HttpResponse, TransportError> {
    let response = client.execute(request).await.map_err(|error| {
        if error.is_connect() {
            TransportError::Connect
        } else {
            TransportError::Lost
        }
    })?;
    let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    read(parts, body, body_max).await
}

async fn call_router(router: Router, request: Request, body_max: usize) -> Result<HttpResponse, TransportError> {
    let request = http::Request::<reqwest::Body>::try_from(request).map_err(|_| TransportError::Lost)?;
    let Ok(response) = router.oneshot(request.map(axum::body::Body::new)).await;
    let (parts, body) = response.into_parts();
    if parts.extensions.get::<ConnectionDropped>().is_some() {
        return Err(TransportError::Lost);
    }
    read(parts, body, body_max).await
}

async fn read<B>(parts: http::response::Parts, body: B, body_max: usize) -> Result<HttpResponse, TransportError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(body, body_max).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            TransportError::TooLong
        } else {
            TransportError::Lost
        }
    })?;
    Ok(HttpResponse {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes(),
    })
}
