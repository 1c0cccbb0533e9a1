//! What a notification of finAPI's batch update says, and what follows from it.

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::broker::Outgoing;
use crate::broker::topology::Topology;
use crate::message;
use crate::proto::{RefreshConnection, UpdateOrigin};
use crate::refresh::{Command, Envelope, Phase, Refresh, Update, event};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    trigger_event: String,
    callback_handle: Option<String>,
}

/// What a notification leads to: a refresh that only has to be collected, or an event.
pub(super) fn follows(topology: &Topology, body: &[u8], now: Timestamp) -> Result<Option<Outgoing>, &'static str> {
    let notification: Notification = serde_json::from_slice(body).map_err(|_| "no notification")?;
    let refresh = batch_refresh(&notification, body, now)?;
    match notification.trigger_event.as_str() {
        "NEW_TRANSACTIONS" => Ok(Some(message::checkpoint(topology, &refresh, now))),
        "BANK_LOGIN_ERROR" | "NEW_TERMS_AND_CONDITIONS" => {
            let event = event::user_action_by_batch(&refresh, now, &notification.trigger_event);
            Ok(Some(message::event(topology, &event, &refresh.envelope, now)))
        }
        other => {
            tracing::debug!(
                trigger_event = other,
                "ignored a notification of finAPI that concerns no refresh"
            );
            Ok(None)
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
    let command = Command::parse(command).map_err(|_| "callbackHandle must be user_id/bank_connection_id")?;
    let mut refresh = Refresh::new(command, now, Envelope::default(), now);
    refresh.phase = Phase::Settling {
        update: Update {
            task: None,
            origin: UpdateOrigin::Batch,
        },
    };
    Ok(refresh)
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
            refresh.command.id()
        };
        assert_eq!(id("2026-03-10T09:05:00Z"), id("2026-03-10T09:06:00Z"));
        assert_ne!(id("2026-03-10T09:05:00Z"), id("2026-03-11T09:05:00Z"));
    }
}
