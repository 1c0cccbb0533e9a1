//! The listener that finAPI calls: whether a call may come in, and who it is for.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use hmac::Mac as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::notification::follows;
use super::{Settings, hint};
use crate::broker::Broker;
use crate::broker::topology::Topology;
use crate::clock::Clock;
use crate::finapi::callback_url::{Signer, mac};

/// The most bytes of a call. What finAPI sends is far smaller.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The listener's surroundings.
#[derive(Debug)]
struct Listener {
    broker: Broker,
    topology: Topology,
    clock: Clock,
    signer: Option<Signer>,
    notification_secret: Option<SecretString>,
    calls: Mutex<Allowance>,
}

/// So many calls a second, and no more than a second's worth at once.
#[derive(Debug)]
struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.per_second);
        self.at = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

/// Serves callbacks and notifications until the process ends.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    settings: &Settings,
    listener: TcpListener,
    broker: Broker,
    topology: Topology,
    clock: Clock,
) -> std::io::Result<()> {
    axum::serve(listener, router(settings, broker, topology, clock)).await
}

/// The routes that [`serve`] serves.
pub fn router(settings: &Settings, broker: Broker, topology: Topology, clock: Clock) -> Router {
    let per_second = f64::from(settings.calls_per_second);
    let listener = Listener {
        broker,
        topology,
        clock,
        signer: settings.signer(),
        notification_secret: settings.notification_secret.clone(),
        calls: Mutex::new(Allowance {
            per_second,
            left: per_second,
            at: Instant::now(),
        }),
    };
    Router::new()
        .route("/callbacks/{command_id}/{tag}", post(callback))
        .route("/notifications/{secret}", post(notification))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(listener))
}

/// The body is not looked at: finAPI itself is asked.
async fn callback(
    State(listener): State<Arc<Listener>>,
    Path((command_id, tag)): Path<(String, String)>,
) -> StatusCode {
    if !listener.allows() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    let known = listener
        .signer
        .as_ref()
        .is_some_and(|signer| signer.recognises(&command_id, &tag));
    if !known {
        return StatusCode::NOT_FOUND;
    }
    // A hint that gets lost costs nothing but time, so finAPI is answered at once.
    tokio::spawn(async move {
        let hint = hint(&listener.topology, &command_id);
        if let Err(error) = listener.broker.publish(vec![hint]).await {
            tracing::debug!(%error, command_id, "a callback's hint got lost");
        }
    });
    StatusCode::NO_CONTENT
}

/// finAPI repeats nothing, so the answer waits until the broker has what follows from it.
async fn notification(State(listener): State<Arc<Listener>>, Path(secret): Path<String>, body: Bytes) -> StatusCode {
    if !listener.allows() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    let known = listener
        .notification_secret
        .as_ref()
        .is_some_and(|expected| same(expected.expose_secret(), &secret));
    if !known {
        return StatusCode::NOT_FOUND;
    }
    let now = listener.clock.now();
    match follows(&listener.topology, &body, now) {
        Ok(None) => StatusCode::NO_CONTENT,
        Ok(Some(message)) => match listener.broker.publish(vec![message]).await {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(error) => {
                tracing::warn!(%error, "a notification could not be passed on");
                StatusCode::SERVICE_UNAVAILABLE
            }
        },
        Err(reason) => {
            tracing::warn!(reason, "a notification can't be understood");
            StatusCode::BAD_REQUEST
        }
    }
}

impl Listener {
    fn allows(&self) -> bool {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.take(Instant::now())
    }
}

/// Compares in a time that does not depend on where two texts differ.
fn same(one: &str, other: &str) -> bool {
    let key = SecretString::from(one);
    let tag = mac(&key, one).finalize().into_bytes();
    mac(&key, other).verify_slice(&tag).is_ok()
}
