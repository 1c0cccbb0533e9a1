//! The simulator's own process: finAPI on one port, what it was asked on another one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::middleware::map_request;
use axum::routing::get;
use axum::{Json, Router};
use bankrefresh::sandbox::{Sandbox, SandboxConfig};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Spoken;
use crate::authority;
use crate::options::SimulatorPlan;
use crate::protocol::Protocol;

/// Requests by protocol, counted as they come.
#[derive(Default)]
struct Counts([AtomicUsize; 3]);

/// Serves until it is killed.
pub async fn run(plan: &SimulatorPlan) {
    let script = std::fs::read_to_string(&plan.script).expect("the script");
    let sandbox = Sandbox::new(SandboxConfig::from_toml(&script).expect("a script"));
    let (listener, address) = listener().await;
    let (control, control_address) = self::listener().await;
    let scheme = if plan.protocol.is_tls() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    sandbox.set_web_form_url(&url);
    tokio::spawn(Arc::clone(&sandbox).run_callbacks(reqwest::Client::new()));

    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    let spoken = get(move || async move { Json(counted.spoken()) });
    let controls = sandbox.router().route("/spoken", spoken);
    tokio::spawn(async move { axum::serve(control, controls).await });

    println!("finAPI is at {url} and says what it was asked at http://{control_address}");
    let tls = plan
        .protocol
        .is_tls()
        .then(|| TlsAcceptor::from(authority::server_config(&plan.certificates)));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let router = counts.clone().layered(sandbox.router(), tls.is_some());
        tokio::spawn(connection(stream, tls.clone(), router));
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    stream.set_nodelay(true).expect("an option of TCP");
    match tls {
        None => serve(stream, router).await,
        // A client that does not trust us says so itself.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, router).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // The client may end a connection whenever it likes.
    drop(served.await);
}

impl Counts {
    /// Counts each request on its way in.
    fn layered(self: Arc<Self>, router: Router, tls: bool) -> Router {
        router.layer(map_request(move |request: Request| {
            let protocol = Protocol::of(tls, request.version());
            self.0[protocol as usize].fetch_add(1, Ordering::Relaxed);
            async move { request }
        }))
    }

    fn spoken(&self) -> Spoken {
        let all = [Protocol::Plain, Protocol::Http1, Protocol::Http2];
        let count = |protocol: Protocol| self.0[protocol as usize].load(Ordering::Relaxed);
        all.map(|protocol| (protocol, count(protocol))).into()
    }
}
