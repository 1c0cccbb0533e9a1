//! Starting to consume a subscription, again and again where the connection is of use without it: a virtual host at its limit of queues
//! has no room for an ephemeral one, and a broker may have no streams.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::time::{MissedTickBehavior, interval};

use super::address::Addresses;
use super::connection::Purpose;
use super::consume::{ConsumerChannels, ConsumerCommand, Consuming, Mailbox};
use super::error::{self, Error};
use super::link::Shared;
use super::settings::Settings;
use super::{check, connection, declare};
use crate::broker::Subscription;
use crate::broker::topology::Topology;

/// How often what the broker refused is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Declares what a worker is of use without, if it is missing. A broker without streams ends the connection that asks for one, so that is a
/// connection of its own.
pub(super) async fn declare_missing(
    connection: &Connection,
    (addresses, settings): (&Addresses, &Settings),
    topology: &Topology,
) -> Result<(), Error> {
    if check::is_optional_there(connection, topology).await? {
        return Ok(());
    }
    let (_, [own]) = connection::open(addresses, 0, settings, [Purpose::Topology]).await?;
    let declared = declare::declare_on(&own, topology, |name| topology.is_optional(name)).await;
    if let Err(error) = declared {
        tracing::warn!(%error, "could not declare what a worker can do without; `bankrefresh topology apply` tries it again");
    }
    connection::close(&own).await;
    Ok(())
}

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
        let is_optional = matches!(
            self.subscription,
            Subscription::Ephemeral { optional: true, .. } | Subscription::Stream { .. }
        );
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
                        shared.set_refused(self.subscription.name(), false);
                        return consuming.run(mailbox).await;
                    }
                    Err(error) if self.can_wait(&error) => {}
                    Err(error) => return Err(format!("consuming {}: {error}", self.what())),
                },
            }
        }
    }
}
