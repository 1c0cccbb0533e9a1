//! How a request gets to finAPI: over HTTP, or, for simulation and the demo, by a call into the sandbox in this process.

use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use reqwest::Request;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::body_budget::Room;
pub use super::connections::Connections;
use super::connections::Ways;
use crate::sandbox::ConnectionDropped;

/// Carries requests to finAPI. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Over HTTP, with a pool of connections.
    Http(Connections),
    /// Into a router in this process.
    InProcess(Router),
}

/// A response whose head has come.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Body,
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
    /// The responses that are in memory leave no room for it.
    #[error("no room for the response")]
    NoRoom,
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
            Self::NoRoom => "no_room",
        }
    }
}

impl Transport {
    /// Kept connections over HTTP, with these settings. With `use_proxy` they go through the proxies that the environment names.
    ///
    /// # Errors
    ///
    /// When no TLS set-up can be made.
    pub fn http(connect_timeout: Duration, http2: bool, use_proxy: bool) -> Result<Self, reqwest::Error> {
        Ok(Self::Http(Connections::new(Ways {
            connect_timeout,
            http2,
            use_proxy,
        })?))
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; whether finAPI got the request is not known then, except for [`TransportError::Connect`].
    pub async fn begin(&self, request: Request, deadline: Instant) -> Result<ResponseHead, TransportError> {
        match self {
            Self::Http(connections) => connections.begin(request, deadline).await,
            Self::InProcess(router) => {
                let response = Box::pin(call_router(router.clone(), request));
                in_time(deadline, response).await
            }
        }
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    ///
    /// As [`Self::begin`] and `ResponseHead::read`.
    pub async fn send(
        &self,
        request: Request,
        timeout: Duration,
        body_max: usize,
    ) -> Result<HttpResponse, TransportError> {
        let deadline = Instant::now() + timeout;
        self.begin(request, deadline)
            .await?
            .read(body_max, None, deadline)
            .await
    }

    /// Calls that begin from now on are made on new connections.
    pub fn distrust_kept_connections(&self) {
        match self {
            Self::Http(connections) => connections.renew(Instant::now()),
            Self::InProcess(_) => {}
        }
    }
}

impl ResponseHead {
    /// Reads the body to its end, as long as there is room for it.
    ///
    /// # Errors
    ///
    /// It did not end in time, broke off, is too long, or there is no room for it.
    pub(super) async fn read(
        self,
        body_max: usize,
        room: Option<&Room>,
        deadline: Instant,
    ) -> Result<HttpResponse, TransportError> {
        let Self { status, headers, body } = self;
        let body = in_time(deadline, read(body, body_max, room)).await?;
        Ok(HttpResponse { status, headers, body })
    }

    pub(super) fn of<B>(response: http::Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: Body::new(body),
        }
    }
}

async fn read(mut body: Body, body_max: usize, room: Option<&Room>) -> Result<Bytes, TransportError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| TransportError::Lost)?;
        let Ok(data) = frame.into_data() else { continue };
        let length = read.len() + data.len();
        if length > body_max {
            return Err(TransportError::TooLong);
        }
        if let Some(room) = room {
            room.grow(read.len(), length)?;
        }
        read.extend_from_slice(&data);
    }
    Ok(read.into())
}

pub(super) async fn in_time<T>(
    deadline: Instant,
    doing: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let done = tokio::time::timeout_at(deadline, doing).await;
    done.unwrap_or(Err(TransportError::TimedOut))
}

async fn call_router(router: Router, request: Request) -> Result<ResponseHead, TransportError> {
    let request = http::Request::<reqwest::Body>::try_from(request).map_err(|_| TransportError::Lost)?;
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    match response.extensions().get::<ConnectionDropped>() {
        Some(_) => Err(TransportError::Lost),
        None => Ok(ResponseHead::of(response)),
    }
}
