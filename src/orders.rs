//! Gives an order to all workers, over a connection of its own: whoever may not must lose nothing else by trying.

use std::time::Duration;

use tokio::time::timeout;

use crate::broker::topology::Topology;
use crate::broker::{BrokerEvent, BrokerEvents, NotConnected, Outgoing, PublishError, connected, rabbit};

/// How long the reason may take after a connection was lost.
const REASON_MAX: Duration = Duration::from_secs(1);

/// Why an order was not given. After [`NotGiven::Lost`] and [`NotGiven::Publish`] it may have been all the same: the confirm can be lost.
#[derive(Debug, thiserror::Error)]
pub enum NotGiven {
    /// The settings of the broker are not valid.
    #[error(transparent)]
    Settings(#[from] rabbit::Error),
    /// The broker can't be reached.
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    /// No queue takes orders.
    #[error("{0}: `bankrefresh topology apply` declares the stream of orders")]
    NoStream(PublishError),
    /// The connection was lost before the confirm, and why. So it is if the RabbitMQ user may not give orders.
    #[error("the connection to the broker was lost: {0}")]
    Lost(String),
    /// It was not taken for another reason.
    #[error(transparent)]
    Publish(PublishError),
}

/// Gives an order (`message::pause` and the like), and waits until the broker has it.
///
/// # Errors
///
/// [`NotGiven`].
pub async fn give(settings: rabbit::Settings, topology: Topology, order: Outgoing) -> Result<(), NotGiven> {
    let connect_timeout = settings.connect_timeout;
    let (rabbit, mut broker_events) = rabbit::connect(settings, topology, Vec::new())?;
    connected(&mut broker_events, connect_timeout).await?;
    let published = rabbit.publish(vec![order]).await;
    let given = match published {
        Ok(()) => Ok(()),
        Err(error @ PublishError::Unroutable { .. }) => Err(NotGiven::NoStream(error)),
        Err(PublishError::Down) => Err(NotGiven::Lost(reason(&mut broker_events).await)),
        Err(error) => Err(NotGiven::Publish(error)),
    };
    rabbit.close().await;
    given
}

/// Why the connection was lost.
async fn reason(broker_events: &mut BrokerEvents) -> String {
    let lost = async {
        while let Some(broker_event) = broker_events.recv().await {
            if let BrokerEvent::Disconnected { reason, .. } = broker_event {
                return Some(reason);
            }
        }
        None
    };
    let reason = timeout(REASON_MAX, lost).await;
    reason.ok().flatten().unwrap_or_else(|| "no reason is known".to_owned())
}
