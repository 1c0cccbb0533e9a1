//! Starting to consume a subscription, again and again where the connection is of use without it: a virtual host at its limit of queues
//! has no room for an ephemeral one, and a broker may have no streams.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::time::{MissedTickBehavior, interval, timeout};

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

/// How long the broker may take to answer about a stream. Where a cluster's nodes don't reach the one that leads the stream, they say nothing
/// until Erlang calls that node down, after a minute or more. Everything else has another leader after some seconds.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a subscription does not consume.
pub(super) enum Unstarted {
    /// The connection is of use without it.
    Waits(String),
    Failed(lapin::Error),
}

/// Declares what a worker is of use without, if it is missing. That is a stream. What takes long goes on meanwhile: half of it, a queue without its
/// binding, would take no order for good.
pub(super) async fn declare_missing(
    connection: &Connection,
    (addresses, settings): (&Addresses, &Settings),
    topology: &Topology,
) -> Result<(), Error> {
    let Ok(is_there) = timeout(STREAM_TIMEOUT, check::is_optional_there(connection, topology)).await else {
        tracing::warn!(
            "the broker did not say within {STREAM_TIMEOUT:?} whether what a worker can do without is there"
        );
        return Ok(());
    };
    if is_there? {
        return Ok(());
    }
    let declaring = tokio::spawn(declare_on_its_own(
        addresses.clone(),
        settings.clone(),
        topology.clone(),
    ));
    if timeout(STREAM_TIMEOUT, declaring).await.is_err() {
        tracing::warn!(
            "the broker has not declared what a worker can do without within {STREAM_TIMEOUT:?}; it goes on"
        );
    }
    Ok(())
}

/// A broker without streams ends the connection that asks for one, so that is a connection of its own.
async fn declare_on_its_own(addresses: Addresses, settings: Settings, topology: Topology) {
    let declared = async {
        let (_, [own]) = connection::open(&addresses, 0, &settings, [Purpose::Topology]).await?;
        let declared = declare::declare_on(&own, &topology, |name| topology.is_optional(name)).await;
        connection::close(&own).await;
        declared
    };
    if let Err(error) = declared.await {
        tracing::warn!(%error, "could not declare what a worker can do without; `bankrefresh topology apply` tries it again");
    }
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

    pub(super) async fn start(&self) -> Result<Consuming, Unstarted> {
        let starting = Consuming::start(&self.connection, &self.subscription, self.ids, self.channels.clone());
        let started = match self.subscription {
            Subscription::Stream { .. } => match timeout(STREAM_TIMEOUT, starting).await {
                Ok(started) => started,
                Err(_) => return Err(Unstarted::Waits(format!("no answer within {STREAM_TIMEOUT:?}"))),
            },
            Subscription::Queue { .. } | Subscription::Ephemeral { .. } => starting.await,
        };
        started.map_err(|error| match self.can_wait(&error) {
            true => Unstarted::Waits(error.to_string()),
            false => Unstarted::Failed(error),
        })
    }

    /// Whether the broker refused something that is optional. Any other error is the connection's.
    fn can_wait(&self, error: &lapin::Error) -> bool {
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
                    Err(Unstarted::Waits(_)) => {}
                    Err(Unstarted::Failed(error)) => return Err(format!("consuming {}: {error}", self.what())),
                },
            }
        }
    }
}
