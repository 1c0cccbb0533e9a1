//! Waiting for a connection.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{BrokerEvent, BrokerEvents};

/// Waits for the first connection.
///
/// # Errors
///
/// There is none in this time; with the last reason.
pub async fn connected(broker_events: &mut BrokerEvents, timeout: Duration) -> Result<(), NotConnected> {
    let mut last = "no answer".to_owned();
    let deadline = Instant::now() + timeout;
    loop {
        match timeout_at(deadline, broker_events.recv()).await {
            Ok(Some(BrokerEvent::Connected { .. })) => return Ok(()),
            Ok(Some(BrokerEvent::Disconnected { reason, .. })) => last = reason,
            Ok(Some(BrokerEvent::Delivery(_) | BrokerEvent::CaughtUp { .. })) => {}
            Ok(None) | Err(_) => return Err(NotConnected(last)),
        }
    }
}

/// There is no connection, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not connect to the broker (amqp.url): {0}")]
pub struct NotConnected(String);
