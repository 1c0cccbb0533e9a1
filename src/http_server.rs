//! Serves HTTP to whoever connects, within limits: on connections in total and from one address, and on the time for headers, for a
//! request and for a connection. The limits on bodies are the routers'.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::setting::Networks;

/// The longest that a connection may take for the headers of a request, and that it may wait for the next request.
const HEADERS_MAX: Duration = Duration::from_secs(10);

/// The longest that a request may take, body and response included.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// The longest that a connection may last before it is closed between two requests, so that one that takes no bytes ends, too.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// The most connections of a listener at once. The next ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;

/// The share of a listener's connections that one address may have.
const SHARE_OF_ADDRESS: usize = 4;

/// The share of the process's file descriptors that the connections of a listener may take.
const SHARE_OF_FILES: usize = 4;

/// How long to wait after a failure to accept: the process is out of file descriptors, for example.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Whose connections are counted by their address.
#[derive(Clone, Debug)]
pub enum PerAddress {
    /// Nobody's: a proxy whose addresses nobody knows makes all of them.
    Nobody,
    /// Everybody's but those of proxies.
    AllBut(Networks),
}

/// Who a request's connection is from, among the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves a router until the process ends.
pub async fn serve(listener: TcpListener, router: Router, per_address: PerAddress) -> Infallible {
    let router = router.layer(from_fn(in_time));
    let connections = Connections::new(connections_max(), per_address);
    loop {
        let permit = connections.permit().await;
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "could not accept a connection");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        if let Some(admitted) = connections.admit(address.ip(), permit) {
            let router = router.clone();
            tokio::spawn(async move {
                serve_one(stream, router, Peer(address.ip())).await;
                drop(admitted);
            });
        }
    }
}

async fn serve_one(stream: TcpStream, router: Router, peer: Peer) {
    let router = router.layer(Extension(peer));
    // With HTTP/2 it would wait for the first bytes, without a limit, to find out the version.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    // Whoever is cut off knows it, and nobody else needs to.
    if timeout(CONNECTION_MAX, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(REQUEST_MAX, serving).await;
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// As many as leave most of the process's file descriptors to the broker and finAPI.
fn connections_max() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    CONNECTIONS_MAX.min((files / SHARE_OF_FILES).max(1))
}

/// The connections that there are.
struct Connections {
    all: Arc<Semaphore>,
    of_address_max: usize,
    per_address: PerAddress,
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A connection that counts until it is dropped.
struct Admitted {
    address: IpAddr,
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    fn new(max: usize, per_address: PerAddress) -> Self {
        Self {
            all: Arc::new(Semaphore::new(max)),
            of_address_max: (max / SHARE_OF_ADDRESS).max(1),
            per_address,
            by_address: Arc::default(),
        }
    }

    /// Waits for room for another connection.
    async fn permit(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.all).acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("nobody closes it"),
        }
    }

    /// Admits a connection, unless its address has enough of them.
    fn admit(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Admitted> {
        let address = address.to_canonical();
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        let is_counted = match &self.per_address {
            PerAddress::Nobody => false,
            PerAddress::AllBut(proxies) => !proxies.contain(address),
        };
        if is_counted && *count >= self.of_address_max {
            return None;
        }
        *count += 1;
        Some(Admitted {
            address,
            by_address: Arc::clone(&self.by_address),
            _permit: permit,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn admitted(connections: &Connections, address: &str) -> Option<Admitted> {
        let permit = connections.permit().await;
        connections.admit(address.parse().expect("an address"), permit)
    }

    #[tokio::test]
    async fn an_address_has_a_share_of_the_connections_unless_it_is_a_proxys() {
        let proxies = "10.0.0.0/8".parse().expect("networks");
        let connections = Connections::new(16, PerAddress::AllBut(proxies));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(admitted(&connections, "192.0.2.1").await.expect("it has room"));
        }
        assert!(admitted(&connections, "192.0.2.1").await.is_none());
        assert!(
            admitted(&connections, "::ffff:192.0.2.1").await.is_none(),
            "the same address"
        );
        for _ in 0..8 {
            held.push(admitted(&connections, "10.1.2.3").await.expect("a proxy"));
        }
        held.push(admitted(&connections, "192.0.2.2").await.expect("another one"));
        held.remove(0);
        held.push(admitted(&connections, "192.0.2.1").await.expect("one is gone"));
        held.clear();
        assert!(connections.by_address.lock().expect("the map").is_empty());
        assert_eq!(connections.all.available_permits(), 16);
    }

    #[tokio::test]
    async fn where_nobody_is_counted_there_is_the_limit_on_all() {
        let connections = Connections::new(4, PerAddress::Nobody);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(admitted(&connections, "192.0.2.1").await.expect("it has room"));
        }
        assert_eq!(connections.all.available_permits(), 0);
        drop(held);
        assert_eq!(connections.all.available_permits(), 4);
    }
}
