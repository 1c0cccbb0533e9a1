//! The listener that finAPI calls: whether a call may come in, and who it is for.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

use super::notification::follows;
use super::{Settings, wake_up};
use crate::broker::Broker;
use crate::broker::topology::Topology;
use crate::clock::Clock;
use crate::finapi::callback_url::Signer;
use crate::http_server::{self, PerAddress};
use crate::limits::NOTIFICATION_BYTES_MAX;
use crate::rate_limit::RateLimiter;
use crate::secret::Secret;

/// The listener's surroundings.
#[derive(Debug)]
struct Listener {
    broker: Broker,
    topology: Topology,
    clock: Clock,
    signer: Option<Signer>,
    notification_secret: Option<Secret>,
    rate: RateLimiter,
}

/// Serves callbacks and notifications until the process ends.
pub async fn serve(
    settings: &Settings,
    listener: TcpListener,
    broker: Broker,
    topology: Topology,
    clock: Clock,
) -> Infallible {
    let per_address = match &settings.trusted_proxies {
        Some(proxies) => PerAddress::AllBut(proxies.clone()),
        None => PerAddress::Nobody,
    };
    http_server::serve(listener, router(settings, broker, topology, clock), per_address).await
}

/// The routes that [`serve`] serves.
pub fn router(settings: &Settings, broker: Broker, topology: Topology, clock: Clock) -> Router {
    let listener = Listener {
        broker,
        topology,
        clock,
        signer: settings.signer(),
        notification_secret: settings.notification_secret.clone(),
        rate: RateLimiter::bursting(settings.calls_per_second),
    };
    Router::new()
        .route("/callbacks/{command_id}/{tag}", post(callback))
        .route("/notifications/{secret}", post(notification))
        .with_state(Arc::new(listener))
}

/// The body is not read: finAPI itself is asked.
async fn callback(
    State(listener): State<Arc<Listener>>,
    Path((command_id, tag)): Path<(String, String)>,
) -> StatusCode {
    let known = listener
        .signer
        .as_ref()
        .is_some_and(|signer| signer.recognises(&command_id, &tag));
    if !known {
        return StatusCode::NOT_FOUND;
    }
    if !listener.rate.try_admit() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    // A lost wake-up costs nothing but time, so finAPI is answered at once.
    tokio::spawn(async move {
        let wake_up = wake_up(&listener.topology, &command_id);
        if let Err(error) = listener.broker.publish(vec![wake_up]).await {
            tracing::debug!(%error, command_id, "could not publish the wake-up of a callback, so the refresh polls at its usual time");
        }
    });
    StatusCode::NO_CONTENT
}

/// finAPI repeats nothing, so the answer waits until the broker has what follows from it. Whoever does not know the secret costs neither a
/// body nor a call of the rate.
async fn notification(
    State(listener): State<Arc<Listener>>,
    Path(secret): Path<String>,
    request: Request,
) -> StatusCode {
    let known = listener
        .notification_secret
        .as_ref()
        // After a rotation finAPI's rule has the old secret until somebody changes it, too.
        .is_some_and(|expected| expected.is_known(secret.as_bytes()));
    if !known {
        return StatusCode::NOT_FOUND;
    }
    if !listener.rate.try_admit() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    let Ok(body) = to_bytes(request.into_body(), NOTIFICATION_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let now = listener.clock.now();
    match follows(&listener.topology, &body, now) {
        Ok(None) => StatusCode::NO_CONTENT,
        Ok(Some(message)) => match listener.broker.publish(vec![message]).await {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(error) => {
                tracing::warn!(%error, "could not publish what follows from a notification of finAPI");
                StatusCode::SERVICE_UNAVAILABLE
            }
        },
        Err(reason) => {
            tracing::warn!(reason, "a notification can't be understood");
            StatusCode::BAD_REQUEST
        }
    }
}
