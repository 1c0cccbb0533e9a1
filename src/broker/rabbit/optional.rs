//! Starting to consume a subscription, again and again where the connection is of use without it: a virtual host at its limit of queues
//! has no room for an ephemeral one.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::time::{MissedTickBehavior, interval};

use super::consume::{ConsumerChannels, ConsumerCommand, Consuming, Mailbox};
use super::error;
use super::link::Shared;
use crate::broker::Subscription;

/// How often what the broker refused is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// A subscription that does not consume yet.
pub(super) struct Starting {
    pub(super) connection: Arc<Connection>,
    pub(super) subscription: Subscription,
    /// The generation, and which of the subscriptions it is.
    pub(super) ids: (u64, u32),
    pub(super) channels: ConsumerChannels,
}

impl Starting {
    /// What is consumed, for people.
    pub(super) fn what(&self) -> String {
        format!("{:?}", self.subscription.name())
    }

    pub(super) async fn start(&self) -> lapin::Result<Consuming> {
        Consuming::start(&self.connection, &self.subscription, self.ids, self.channels.clone()).await
    }

    /// Whether the broker refused something that is optional. Any other error is the connection's.
    pub(super) fn can_wait(&self, error: &lapin::Error) -> bool {
        let is_optional = matches!(self.subscription, Subscription::Ephemeral { optional: true, .. });
        is_optional && error::refusal(error).is_some()
    }

    /// Consumes once the broker allows it. Ends as [`Consuming::run`] does.
    pub(super) async fn keep_trying(self, mut mailbox: Mailbox, shared: Arc<Shared>) -> Result<(), String> {
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = mailbox.recv() => match command {
                    // Nothing was delivered. Whoever waits for the end of it sees that the sender is gone.
                    Some(ConsumerCommand::Cancel(_) | ConsumerCommand::Acknowledge(_)) => {}
                    Some(ConsumerCommand::Finish) | None => return Ok(()),
                },
                _ = again.tick() => match self.start().await {
                    Ok(consuming) => {
                        tracing::info!("{} is consumed now", self.what());
                        shared.set_complete(true);
                        return consuming.run(mailbox).await;
                    }
                    Err(error) if self.can_wait(&error) => {}
                    Err(error) => return Err(format!("consuming {}: {error}", self.what())),
                },
            }
        }
    }
}
