//! RabbitMQ, 3.10 or newer, over AMQP 0-9-1.
//!
//! A supervisor keeps two connections: one consumes and acknowledges, the other publishes, because a broker that is
//! short of memory or disk stops every write of a connection that publishes. Whatever fails, be it a channel, a
//! consumer or a connection, ends the *generation*: everything is torn down and built anew, topology included, after a wait
//! that grows from 0.1 s to [`Settings::reconnect_max`]. The next generation's number is one higher, and nothing of an
//! older one settles anything in it.
//!
//! ```text
//! supervisor ── session (one generation) ──┬── consume: a channel and a task per subscription ── acks
//!                                          └── publish: a channel per call
//! ```

mod acks;
mod address;
mod check;
mod connection;
mod consume;
mod convert;
mod dead_letters;
mod declare;
mod definitions;
mod publish;
mod session;
mod settings;
mod supervisor;
mod tls;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

pub use self::address::{Addresses, Error};
pub use self::check::{Difference, check};
pub use self::dead_letters::{DeadLetter, DeadLetters, Death};
pub use self::declare::declare;
pub use self::definitions::definitions;
pub use self::settings::Settings;
pub use self::tls::TlsFiles;

use self::consume::Order;
use self::publish::Publisher;
use self::supervisor::Plan;
use super::topology::Topology;
use super::{Notices, Outgoing, PublishError, Subscription, Tag};

/// How many notices wait to be read besides the deliveries that the prefetches allow.
const NOTICES_SPARE: usize = 64;

/// Where the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none yet or no more, but one is on its way.
    Connecting {
        /// Why the last attempt failed or the last connection was lost. Holds no secret.
        failure: Option<String>,
    },
    /// Everything works.
    Up {
        /// The generation.
        generation: u64,
        /// Why the broker lets publishers wait (`connection.blocked`), while it does. Queues are not consumed meanwhile.
        blocked: Option<String>,
    },
    /// It was closed.
    Closed,
}

impl Status {
    fn is_blocked(&self) -> bool {
        matches!(self, Self::Up { blocked: Some(_), .. })
    }
}

/// A connection to RabbitMQ that comes back. Cheap to clone; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct Rabbit {
    shared: Arc<Shared>,
    closer: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// What the handle and the supervisor both see.
struct Shared {
    /// The generation that works, if one does.
    link: RwLock<Option<Arc<Link>>>,
    status: watch::Sender<Status>,
    /// The name of each subscription, and whether it is paused.
    paused: Vec<(String, watch::Sender<bool>)>,
}

/// A generation, seen from the handle.
struct Link {
    generation: u64,
    publisher: Publisher,
    /// To each subscription's task.
    orders: Vec<mpsc::UnboundedSender<Order>>,
}

/// Connects and stays connected, until it is closed or the last handle is dropped. Answers at once; the first
/// [`Notice::Up`](super::Notice::Up) says that it works.
///
/// The notices must be read or dropped: a connection that is lost waits for room among them before it is built anew.
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
) -> Result<(Rabbit, Notices), Error> {
    let addresses = Addresses::of(&settings)?;
    let paused = subscriptions
        .iter()
        .map(|s| (name(s).to_owned(), watch::Sender::new(false)));
    let shared = Arc::new(Shared {
        link: RwLock::default(),
        status: watch::Sender::new(Status::Connecting { failure: None }),
        paused: paused.collect(),
    });
    let (notices, receiver) = mpsc::channel(NOTICES_SPARE + prefetch(&subscriptions));
    let (closer, closers) = mpsc::unbounded_channel();
    let plan = Plan {
        addresses,
        settings,
        topology,
        subscriptions,
        shared: Arc::clone(&shared),
        notices,
    };
    tokio::spawn(supervisor::run(plan, closers));
    Ok((Rabbit { shared, closer }, receiver))
}

/// The name in [`super::Delivery::queue`] and for [`super::Broker::pause`].
fn name(subscription: &Subscription) -> &str {
    match subscription {
        Subscription::Queue { name, .. } => name,
        Subscription::Tap { exchange, .. } => exchange,
    }
}

fn prefetch(subscriptions: &[Subscription]) -> usize {
    let each = subscriptions.iter().map(|subscription| match subscription {
        Subscription::Queue { prefetch, .. } => usize::from(*prefetch),
        Subscription::Tap { .. } => 0,
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
        if let Some(orders) = link.as_ref().and_then(|link| link.orders.get(subscription)) {
            // A task that is gone takes its generation with it: the message comes again.
            let _ = orders.send(Order::Ack(tag.number));
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
        for (_, switch) in self.shared.paused.iter().filter(|(name, _)| name == queue) {
            switch.send_if_modified(|now| std::mem::replace(now, paused) != paused);
        }
    }

    /// As [`super::Broker::close`].
    pub async fn close(&self) {
        let (closer, closed) = oneshot::channel();
        if self.closer.send(closer).is_ok() {
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

impl Shared {
    fn link(&self) -> Option<Arc<Link>> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection that brought a delivery, as long as it lasts.
    fn link_of(&self, tag: Tag) -> Option<Arc<Link>> {
        self.link().filter(|link| link.generation == tag.generation)
    }

    fn set_link(&self, link: Option<Arc<Link>>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// An attempt to connect failed. The same failure again and again is one line in the log.
    fn failed(&self, error: &Error) {
        let failure = Some(error.to_string());
        let status = Status::Connecting { failure };
        let changed = self.status.send_if_modified(|now| {
            let changed = *now != status;
            *now = status;
            changed
        });
        if changed {
            tracing::warn!(%error, "can't use RabbitMQ, and will try again");
        }
    }

    fn set_blocked(&self, generation: u64, blocked: Option<String>) {
        match &blocked {
            Some(reason) => tracing::warn!(reason, "RabbitMQ lets publishers wait"),
            None => tracing::info!("RabbitMQ lets publishers go on"),
        }
        self.status.send_replace(Status::Up { generation, blocked });
    }
}
