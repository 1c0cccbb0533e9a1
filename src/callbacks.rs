//! What finAPI calls: callbacks of updates, and notifications of its batch update.
//!
//! finAPI signs neither. A callback's URL carries an HMAC of the command's id, so it can't be guessed, and all it does is to
//! have whoever holds that refresh look now. A notification's URL carries a secret, and what it says becomes a refresh that
//! asks finAPI itself, or the event that a user is needed.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::broker::topology::Topology;
use crate::broker::{Broker, Message, Outgoing, Properties};
use crate::clock::Clock;
use crate::finapi::request;
use crate::proto::{RefreshConnection, UpdateOrigin};
use crate::rate_limit::RateLimiter;
use crate::refresh::event;
use crate::refresh::{Envelope, Phase, Refresh, Update, command};
use crate::secret::Secret;
use crate::setting::HttpUrl;
use crate::worker::message;
pub use settings::Settings;

/// The most bytes of a call. What finAPI sends is far smaller.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A batch update is over so long after it began, at most; what was imported meanwhile is told.
const BATCH_UPDATE_MAX: Duration = Duration::from_secs(3600);

/// The `type` of a hint on the wake exchange; its body is the command's id.
const HINT_NAME: &str = "bankrefresh.hint";

type HmacSha256 = Hmac<Sha256>;

/// Makes callback URLs, and recognises them.
#[derive(Clone, Debug)]
pub struct Signer {
    public_url: HttpUrl,
    key: Secret,
    previous_key: Option<Secret>,
}

impl Signer {
    /// Where finAPI calls back for a command.
    #[must_use]
    pub fn callbacks(&self, command_id: &str) -> request::Callbacks {
        let tag = hex::encode(mac(&self.key, command_id).finalize().into_bytes());
        let base = self.public_url.as_str().trim_end_matches('/');
        let url = format!("{base}/callbacks/{command_id}/{tag}");
        request::Callbacks {
            finalised: url.clone(),
            web_form_required: url,
        }
    }

    fn recognises(&self, command_id: &str, tag: &str) -> bool {
        let Ok(tag) = hex::decode(tag) else {
            return false;
        };
        let keys = std::iter::once(&self.key).chain(&self.previous_key);
        // The comparison takes the same time wherever the tag differs.
        keys.fold(false, |known, key| {
            known | mac(key, command_id).verify_slice(&tag).is_ok()
        })
    }
}

fn mac(key: &Secret, command_id: &str) -> HmacSha256 {
    let mut mac = match HmacSha256::new_from_slice(key.expose().as_bytes()) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(command_id.as_bytes());
    mac
}

/// A hint that a refresh should be looked at now.
#[must_use]
pub fn hint(topology: &Topology, command_id: &str) -> Outgoing {
    Outgoing {
        exchange: topology.wake(),
        routing_key: String::new(),
        message: Message {
            body: command_id.to_owned().into(),
            properties: Properties {
                kind: Some(HINT_NAME.to_owned()),
                ..Properties::default()
            },
        },
    }
}

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
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(listener))
}

/// The body is not looked at: finAPI itself is asked.
async fn callback(
    State(listener): State<Arc<Listener>>,
    Path((command_id, tag)): Path<(String, String)>,
) -> StatusCode {
    if !listener.rate.try_admit() {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    trigger_event: String,
    callback_handle: Option<String>,
}

/// finAPI repeats nothing, so the answer waits until the broker has what follows from it.
async fn notification(State(listener): State<Arc<Listener>>, Path(secret): Path<String>, body: Bytes) -> StatusCode {
    if !listener.rate.try_admit() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    let known = listener
        .notification_secret
        .as_ref()
        .is_some_and(|expected| same(expected.expose(), &secret));
    if !known {
        return StatusCode::NOT_FOUND;
    }
    let now = listener.clock.now();
    match listener.follows(&body, now) {
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
    /// What a notification leads to: a refresh that only has to be collected, or an event.
    fn follows(&self, body: &Bytes, now: Timestamp) -> Result<Option<Outgoing>, &'static str> {
        let notification: Notification = serde_json::from_slice(body).map_err(|_| "no notification")?;
        let refresh = batch_refresh(&notification, body, now)?;
        match notification.trigger_event.as_str() {
            "NEW_TRANSACTIONS" => Ok(Some(message::bookmark(&self.topology, &refresh, now))),
            "BANK_LOGIN_ERROR" | "NEW_TERMS_AND_CONDITIONS" => {
                let event = event::user_action_by_batch(&refresh, now, &notification.trigger_event);
                Ok(Some(message::event(&self.topology, &event, &refresh.envelope, now)))
            }
            other => {
                tracing::debug!(trigger_event = other, "a notification that says nothing to us");
                Ok(None)
            }
        }
    }
}

/// The refresh that finAPI's batch update has done already. Its command id is made from the notification and the hour, so the same one
/// twice leads to the same events; after the next batch update it may read the same and be another.
fn batch_refresh(notification: &Notification, body: &[u8], now: Timestamp) -> Result<Refresh, &'static str> {
    let handle = notification.callback_handle.as_deref().unwrap_or_default();
    let (user_id, connection) = handle
        .rsplit_once('/')
        .ok_or("callbackHandle must be user_id/bank_connection_id")?;
    let hour = now.as_second() / 3600;
    let name = [body, &hour.to_be_bytes()].concat();
    let command = RefreshConnection {
        command_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &name).to_string(),
        user_id: user_id.to_owned(),
        bank_connection_id: connection
            .parse()
            .map_err(|_| "callbackHandle must be user_id/bank_connection_id")?,
        ..RefreshConnection::default()
    };
    command::validate(&command).map_err(|_| "callbackHandle must be user_id/bank_connection_id")?;
    let mut refresh = Refresh::new(command, now, Envelope::default(), now);
    refresh.phase = Phase::Settling {
        update: Update {
            task: None,
            origin: UpdateOrigin::Batch,
            since: Some(now.saturating_sub(BATCH_UPDATE_MAX).unwrap_or(now)),
            until: None,
            next_part: 1,
            told_up_to: 0,
        },
    };
    Ok(refresh)
}

/// Compares in a time that does not depend on where two texts differ.
fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_the_same_for_an_hour_and_another_one_after_the_next_batch_update() {
        let body = br#"{"triggerEvent":"BANK_LOGIN_ERROR","callbackHandle":"anna/1"}"#;
        let notification: Notification = serde_json::from_slice(body).expect("a notification");
        let id = |time: &str| {
            let now = time.parse().expect("a time");
            let refresh = batch_refresh(&notification, body, now).expect("a refresh");
            refresh.command.command_id
        };
        assert_eq!(id("2026-03-10T09:05:00Z"), id("2026-03-10T09:06:00Z"));
        assert_ne!(id("2026-03-10T09:05:00Z"), id("2026-03-11T09:05:00Z"));
    }
    #[test]
    fn a_secret_is_compared_to_its_last_character() {
        assert!(same("sixteencharacters", "sixteencharacters"));
        for other in ["", "sixteencharacter", "sixteencharacterz", "sixteencharacterss"] {
            assert!(!same("sixteencharacters", other), "{other}");
        }
    }
}
