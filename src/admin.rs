//! The operators' own listener: `/livez`, `/readyz`, `/status` and `/metrics`.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::broker::{Broker, NotReady};
use crate::http_server::{self, PerAddress};
use crate::setting::{Declared, Networks, Section};
use crate::telemetry::metrics::{self, Gauges};
use crate::worker::{Handle, Status};

/// The operators' own listener (section `admin`).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub listen: Option<SocketAddr>,
}

impl Section for Settings {
    const NAME: &'static str = "admin";
    const TITLE: &'static str = "the operators' own listener";

    fn declare(&self, list: &mut Declared) {
        list.any(
            "listen",
            &self.listen,
            "Where the worker serves `/livez`, `/readyz`, `/metrics` and `/status`, without TLS or a password. Without this setting it \
             serves none of them.",
        );
    }
}

#[derive(Debug)]
struct Surroundings {
    worker: Handle,
    broker: Broker,
    registry: Registry,
    gauges: Gauges,
}

/// Serves until the process ends. No proxy is in front: it is for the platform's own machines.
pub async fn serve(listener: TcpListener, worker: Handle, broker: Broker, registry: Registry) -> Infallible {
    let surroundings = Surroundings {
        worker,
        broker,
        registry,
        gauges: Gauges::default(),
    };
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(show_metrics))
        .with_state(Arc::new(surroundings));
    http_server::serve(listener, router, PerAddress::AllBut(Networks::default())).await
}

/// Progress, not just a socket: the worker's loop answers, and no queue with messages goes unserved.
async fn livez(State(at): State<Arc<Surroundings>>) -> (StatusCode, &'static str) {
    match at.worker.status().await {
        None => (StatusCode::SERVICE_UNAVAILABLE, "the worker does not answer\n"),
        Some(status) if status.stuck => (
            StatusCode::SERVICE_UNAVAILABLE,
            "a queue has messages and delivers none\n",
        ),
        Some(_) => (StatusCode::OK, "ok\n"),
    }
}

/// Whether commands are taken now.
async fn readyz(State(at): State<Arc<Surroundings>>) -> (StatusCode, Cow<'static, str>) {
    let (status, why) = match at.worker.status().await {
        Some(Status {
            draining: false,
            finapi_unproven: Some(why),
            ..
        }) => {
            let why = format!("no command is taken, because finAPI's version is not proven: {why}\n");
            return (StatusCode::SERVICE_UNAVAILABLE, why.into());
        }
        status => readiness(&at.broker, status.as_ref()),
    };
    (status, why.into())
}

fn readiness(broker: &Broker, status: Option<&Status>) -> (StatusCode, &'static str) {
    if let Err(not_ready) = broker.is_ready() {
        let why = match not_ready {
            NotReady::Disconnected => "no connection to the broker\n",
            NotReady::Blocked => "the broker blocks publishers (a memory or disk alarm)\n",
        };
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    match status {
        None => (StatusCode::SERVICE_UNAVAILABLE, "the worker does not answer\n"),
        Some(status) if status.draining => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        Some(status) if status.orders_unknown => (
            StatusCode::OK,
            "ok, but pauses are not known: the worker can't read the stream of orders\n",
        ),
        // After the orders: without wake-ups a worker is only slower.
        Some(status) if status.wake_ups_off => (
            StatusCode::OK,
            "ok, but wake-ups are off: the broker refuses the ephemeral queue\n",
        ),
        Some(status) if status.paused.counts.everything > 0 => (StatusCode::OK, "ok, but everything is paused\n"),
        Some(_) => (StatusCode::OK, "ok\n"),
    }
}

async fn status(State(at): State<Arc<Surroundings>>) -> Result<Json<Status>, StatusCode> {
    at.worker
        .status()
        .await
        .map(Json)
        .ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

async fn show_metrics(State(at): State<Arc<Surroundings>>) -> String {
    if let Some(status) = at.worker.status().await {
        status.record(&at.gauges);
    }
    metrics::text(&at.registry)
}
