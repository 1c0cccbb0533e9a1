//! RabbitMQ, 3.10 or newer, over AMQP 0-9-1.
//!
//! A supervisor keeps two connections: one consumes and acknowledges, the other publishes, because a broker that is
//! short of memory or disk stops every write of a connection that publishes. Whatever fails, be it a channel, a
//! consumer or a connection, ends the *generation*: everything is torn down and built again, topology included, after a wait
//! that grows from 0.1 s to [`Settings::reconnect_max`]. The next generation's number is one higher, and nothing of an
//! older one acknowledges anything in it.
//!
//! ```text
//! supervisor ── session (one generation) ──┬── consume: a channel and a task per subscription ── acks
//!                                          └── publish: a channel per call
//! ```

mod acks;
mod address;
mod browse;
mod check;
mod connection;
mod consume;
mod content_header;
mod convert;
mod declare;
mod definitions;
mod error;
mod filtered;
mod frames;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod intake;
mod link;
mod optional;
mod outcomes;
mod publish;
mod session;
mod settings;
mod status;
mod stream;
mod supervisor;
mod tls;
mod visit;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::address::Addresses;
pub use self::browse::{DeadLetter, DeadLetters, Death};
pub use self::check::check;
pub use self::declare::declare;
pub use self::definitions::definitions;
pub use self::error::{Difference, Error};
pub use self::outcomes::{OUTCOMES_EXPIRE, declare_outcomes, delete_outcomes, has_outcomes};
pub use self::settings::Settings;
pub use self::status::Status;
pub use self::tls::{LastTls, TlsFiles};
pub use self::visit::{Visit, visit};

use self::consume::ConsumerCommand;
use self::link::Shared;
use self::session::SessionConfig;
use super::topology::Topology;
use super::{BrokerEvents, Outgoing, PublishError, Subscription, Tag};
use crate::lease::Lease;

/// How many broker events wait to be read besides the deliveries that the prefetches allow.
const EVENTS_SPARE: usize = 64;

/// A connection to RabbitMQ that comes back. Cheap to clone; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct Rabbit {
    shared: Arc<Shared>,
    close_request: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// Connects and stays connected, until it is closed or the last handle is dropped. Answers at once; the first
/// [`BrokerEvent::Connected`](super::BrokerEvent::Connected) says that it works.
///
/// The broker events must be read or dropped: a connection that is lost waits for room among them before it is built again.
///
/// # Errors
///
/// The URL or a file for TLS is not valid. Whether anything answers there is seen in [`Rabbit::status`].
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn connect(
    settings: Settings,
    topology: Topology,
    subscriptions: Vec<Subscription>,
) -> Result<(Rabbit, BrokerEvents), Error> {
    let addresses = settings.addresses()?;
    if let Some(address) = addresses.open() {
        tracing::warn!(
            address,
            "the connection to RabbitMQ has no TLS, so everybody on the way can read the password and the messages"
        );
    }
    let shared = Arc::new(Shared::new(&subscriptions));
    let (broker_events, receiver) = mpsc::channel(EVENTS_SPARE + prefetch(&subscriptions));
    let (close_request, close_requests) = mpsc::unbounded_channel();
    let config = SessionConfig {
        addresses,
        settings,
        topology,
        subscriptions,
        shared: Arc::clone(&shared),
        broker_events,
    };
    tokio::spawn(supervisor::run(config, close_requests));
    Ok((Rabbit { shared, close_request }, receiver))
}

fn prefetch(subscriptions: &[Subscription]) -> usize {
    let each = subscriptions.iter().map(|subscription| match subscription {
        Subscription::Queue { prefetch, .. } => usize::from(*prefetch),
        Subscription::Ephemeral { .. } | Subscription::Stream { .. } => 0,
    });
    each.sum()
}

impl Rabbit {
    /// Where the connection stands, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// As [`super::Broker::publish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let link = self.shared.link().ok_or(PublishError::Down)?;
        link.publisher.publish(messages).await
    }

    /// As [`super::Broker::publish_for`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn publish_for(&self, tag: Tag, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let link = self.shared.link_of(tag).ok_or(PublishError::Down)?;
        link.publisher.publish(messages).await
    }

    /// As [`super::Broker::ack`].
    pub fn ack(&self, tag: Tag) {
        let link = self.shared.link_of(tag);
        let subscription = usize::try_from(tag.subscription).unwrap_or(usize::MAX);
        if let Some(commands) = link.as_ref().and_then(|link| link.commands.get(subscription)) {
            // A task that is gone takes its generation with it: the message comes again.
            let _ = commands.send(ConsumerCommand::Acknowledge(tag.number));
        }
    }

    /// As [`super::Broker::ready`].
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        self.shared.link()?.publisher.ready(queue).await
    }

    /// As [`super::Broker::reconnect`].
    pub fn reconnect(&self, reason: &str) {
        if let Some(link) = self.shared.link() {
            link.publisher.fault(reason.to_owned());
        }
    }

    /// As [`super::Broker::pause`]. Holds for later generations, too.
    pub fn pause(&self, queue: &str, paused: bool) {
        self.shared.change_intake(queue, |intake| intake.paused = paused);
    }

    /// As [`super::Broker::set_prefetch`].
    pub fn set_prefetch(&self, queue: &str, prefetch: u16) {
        self.shared.change_intake(queue, |intake| intake.set_prefetch(prefetch));
    }

    /// As [`super::Broker::cancel`]. Holds for later generations, too.
    pub async fn cancel(&self) {
        for (index, (_, intake)) in self.shared.intakes.iter().enumerate() {
            intake.send_modify(|intake| intake.paused = true);
            let Some(link) = self.shared.link() else { continue };
            let (done, cancelled) = oneshot::channel();
            if let Some(commands) = link.commands.get(index)
                && commands.send(ConsumerCommand::Cancel(done)).is_ok()
            {
                // An error says that the connection was lost: it delivers nothing more.
                let _ = cancelled.await;
            }
        }
    }

    /// As [`super::Broker::lease`].
    #[must_use]
    pub fn lease(&self, tag: Tag) -> Lease {
        let link = self.shared.link_of(tag);
        link.map_or_else(|| Lease::new(Duration::ZERO), |link| link.lease.clone())
    }

    /// As [`super::Broker::consumes`].
    #[must_use]
    pub fn consumes(&self, name: &str) -> bool {
        self.shared.consumes(name)
    }

    /// As [`super::Broker::close`].
    pub async fn close(&self) {
        let (close_request, closed) = oneshot::channel();
        if self.close_request.send(close_request).is_ok() {
            // An error says that it was closed by somebody else.
            let _ = closed.await;
        }
    }
}

impl fmt::Debug for Rabbit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &*self.shared.status.borrow();
        f.debug_struct("Rabbit").field("status", status).finish_non_exhaustive()
    }
}
