//! Connections to finAPI that are kept between calls, and what becomes of them when one is found dead.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Client, Request};
use tokio::time::Instant;

use super::transport::{ResponseHead, TransportError, in_time};

/// A connection is lost when what was sent is not acknowledged by the other side's network for so long. A gateway that has forgotten a
/// connection drops what is sent over it without a word.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);

/// A pool of HTTP connections that can be exchanged for an empty one. Cheap to clone.
///
/// It keeps all that were ever made at once: a call that ends frees its connection a little after the next call asked for one, so there are
/// some more connections than calls, and closing those only to make them again would cost more than the calls.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ways: Ways,
    pool: Mutex<Pool>,
}

/// How connections are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    pub(super) connect_timeout: Duration,
    /// The server chooses HTTP/2 or HTTP/1.1 (ALPN); else it gets HTTP/1.1.
    pub(super) http2: bool,
    /// They go through the proxies that the environment names.
    pub(super) use_proxy: bool,
}

#[derive(Debug)]
struct Pool {
    client: Client,
    made: Instant,
}

impl Connections {
    /// No connection yet.
    pub(super) fn new(ways: Ways) -> Result<Self, reqwest::Error> {
        let pool = Mutex::new(Pool {
            client: client(ways)?,
            made: Instant::now(),
        });
        Ok(Self(Arc::new(Shared { ways, pool })))
    }

    /// Sends a request and waits for the head of the response. When none comes, the connection may be dead, and others that are as old.
    pub(super) async fn begin(&self, request: Request, deadline: Instant) -> Result<ResponseHead, TransportError> {
        let began = Instant::now();
        let client = self.pool().client.clone();
        let sent = in_time(deadline, async { Ok(client.execute(request).await) }).await;
        let error = match sent {
            Ok(Ok(response)) => return Ok(ResponseHead::of(http::Response::from(response))),
            Ok(Err(error)) if error.is_connect() => return Err(TransportError::Connect),
            Ok(Err(error)) if !is_silent(&error) => return Err(TransportError::Lost),
            Ok(Err(_)) => TransportError::Lost,
            Err(error) => error,
        };
        self.renew(began);
        Err(error)
    }

    /// Exchanges the pool for an empty one, unless that has happened since. Calls that are under way end in the old one.
    pub(super) fn renew(&self, since: Instant) {
        let mut pool = self.pool();
        if pool.made > since {
            return;
        }
        match client(self.0.ways) {
            Ok(client) => {
                *pool = Pool {
                    client,
                    made: Instant::now(),
                };
                tracing::debug!(
                    "older connections to finAPI are not used again, because one of them no longer answers"
                );
            }
            Err(error) => tracing::warn!(%error, "could not exchange the connections to finAPI"),
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(ways: Ways) -> Result<Client, reqwest::Error> {
    let client = Client::builder()
        .connect_timeout(ways.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_user_timeout(UNACKNOWLEDGED_MAX)
        .tcp_nodelay(true);
    let client = if ways.http2 { client } else { client.http1_only() };
    let client = if ways.use_proxy { client } else { client.no_proxy() };
    client.build()
}

/// Whether the other side's network said nothing, as opposed to a connection that it closed.
fn is_silent(error: &reqwest::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}
