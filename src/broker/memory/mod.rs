//! A broker in this process, which keeps RabbitMQ's promises as far as this crate leans on them: for the demo, and for
//! simulation in virtual time. Nothing in it is random but the times that a simulation asks for ([`Server::slow_down`]), and
//! nothing is kept when it is dropped.
//!
//! What differs from RabbitMQ: a message is confirmed at once unless a simulation wants something else
//! ([`Server::fail_next_publish`]), an exchange that is missing is an unroutable message
//! and no lost connection, a dead letter that finds no queue is dropped, no acknowledgement gets lost when a client closes, and
//! nobody loses patience with what is not acknowledged.

mod clients;
mod faults;
mod queue;
mod routing;
mod session;
mod state;
mod stream;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

pub use self::faults::{CONFIRM_TIMEOUT, PublishFault};
pub use self::watch::{Latency, Seen, What};

use self::state::State;
use super::outgoing::prepare;
use super::topology::Topology;
use super::{BrokerEvents, Message, Outgoing, PublishError, Subscription, Tag};

/// A broker. Cheap to clone; every clone is the same broker.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// A connection to it. Cheap to clone; when the last clone is dropped, the connection is lost.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the clock because a message expires sooner than it knows.
    sooner: Arc<Notify>,
    /// Wakes who waits for a confirm because a client has lost its connection.
    lost: Notify,
}

struct Handle {
    id: u64,
    shared: Arc<Shared>,
    /// Acknowledgements on their way to the broker.
    acks: Mutex<JoinSet<()>>,
    /// Messages that the broker takes after their confirm was given up.
    late: Mutex<JoinSet<()>>,
}

impl Server {
    /// A broker with this topology and nothing in it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, whose clock its messages expire by.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(topology)),
            sooner: Arc::default(),
            lost: Notify::new(),
        });
        let sooner = Arc::clone(&shared.sooner);
        tokio::spawn(keep_time(Arc::downgrade(&shared), sooner));
        Self { shared }
    }

    /// Connects. The first broker event is [`BrokerEvent::Connected`](super::BrokerEvent::Connected), at once or, in an outage, when that ends.
    #[must_use]
    pub fn connect(&self, subscriptions: Vec<Subscription>) -> (Client, BrokerEvents) {
        // It takes no room before it is used, and the prefetches bound what is in it.
        let (broker_events, receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
        let id = self.shared.state().connect(subscriptions, broker_events);
        let shared = Arc::clone(&self.shared);
        let handle = Arc::new(Handle {
            id,
            shared,
            acks: Mutex::default(),
            late: Mutex::default(),
        });
        (Client { handle }, receiver)
    }

    /// Begins or ends an outage. While it lasts, every client is down and publishes fail; messages expire all the same.
    /// Then every client comes back with a new generation.
    pub fn outage(&self, out: bool) {
        self.shared.change(|state| state.set_outage(out));
    }

    /// Takes the messages of the next publish but loses its confirm: it fails with [`PublishError::Down`], and its client
    /// is disconnected and comes back.
    pub fn lose_next_confirm(&self) {
        self.shared.state().lose_next_confirm();
    }

    /// The next publish of any client meets this; asked for several times, the next ones do, one each.
    pub fn fail_next_publish(&self, fault: PublishFault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Takes back what [`Self::fail_next_publish`] and [`Self::lose_next_confirm`] asked for and no publish has met yet.
    pub fn fail_no_more(&self) {
        self.shared.state().fail_no_more();
    }

    /// Lets the consumers of a queue die silently: their connections live, but bring nothing of it until they are made again.
    pub fn kill_consumers(&self, queue: &str) {
        self.shared.state().kill_consumers(queue);
    }

    /// Reports all that happens from now on, in its order.
    #[must_use]
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Seen> {
        self.shared.state().watch.begin()
    }

    /// From now on publishes, confirms and acknowledgements take a while, drawn from a seed.
    pub fn slow_down(&self, latency: Latency, seed: u64) {
        self.shared.state().watch.slow_down(latency, seed);
    }

    /// The number of ready and of unacknowledged messages of every queue, without ephemeral ones.
    #[must_use]
    pub fn depths(&self) -> BTreeMap<String, (usize, usize)> {
        self.shared.state().depths()
    }

    /// Every message of a queue, the unacknowledged included, in its order. None when there is no such queue.
    #[must_use]
    pub fn peek(&self, queue: &str) -> Vec<Message> {
        self.shared.state().peek(queue)
    }
}

impl Client {
    /// As [`super::Broker::publish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let generation = self.handle.shared.state().generation(self.handle.id);
        self.publish_within(generation, messages).await
    }

    /// As [`super::Broker::publish_for`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn publish_for(&self, tag: Tag, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        self.publish_within(Some(tag.generation), messages).await
    }

    /// Over one generation of this client's connection.
    async fn publish_within(&self, generation: Option<u64>, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let Handle { id, shared, .. } = &*self.handle;
        let sending = shared.change(|state| state.sending(*id, &messages));
        let messages: Vec<_> = messages.into_iter().map(prepare).collect::<Result<_, _>>()?;
        self.send(generation, sending, messages).await
    }

    /// As [`super::Broker::ack`].
    pub fn ack(&self, tag: Tag) {
        let Handle { id, shared, acks, .. } = &*self.handle;
        let takes = shared.state().ack_takes(*id, tag);
        if takes.is_zero() {
            return shared.change(|state| state.ack(*id, tag));
        }
        let (id, shared) = (*id, Arc::clone(shared));
        let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
        while acks.try_join_next().is_some() {}
        acks.spawn(async move {
            sleep(takes).await;
            shared.change(|state| state.ack(id, tag));
        });
    }

    /// As [`super::Broker::pause`]. For an ephemeral subscription, the name is its exchange's.
    pub fn pause(&self, queue: &str, paused: bool) {
        let Handle { id, shared, .. } = &*self.handle;
        shared.change(|state| state.pause(*id, queue, paused));
    }

    /// As [`super::Broker::set_prefetch`].
    pub fn set_prefetch(&self, queue: &str, prefetch: u16) {
        let Handle { id, shared, .. } = &*self.handle;
        shared.change(|state| state.set_prefetch(*id, queue, prefetch));
    }

    /// As [`super::Broker::cancel`].
    pub fn cancel(&self) {
        let Handle { id, shared, .. } = &*self.handle;
        shared.change(|state| state.cancel(*id));
    }

    /// As [`super::Broker::ready`].
    #[must_use]
    pub fn ready(&self, queue: &str) -> Option<u32> {
        let Handle { id, shared, .. } = &*self.handle;
        shared.state().ready(*id, queue)
    }

    /// As [`super::Broker::reconnect`].
    pub fn reconnect(&self, reason: &str) {
        let Handle { id, shared, .. } = &*self.handle;
        shared.change(|state| state.reconnect(*id, reason));
    }

    /// As [`super::Broker::close`].
    pub async fn close(&self) {
        let acks = std::mem::take(&mut *self.handle.acks.lock().unwrap_or_else(PoisonError::into_inner));
        acks.join_all().await;
        self.kill();
    }

    /// Loses the connection for good, as by a crash: its broker events end, and what it had not acknowledged goes back.
    pub fn kill(&self) {
        let Handle { id, shared, .. } = &*self.handle;
        shared.change(|state| state.kill(*id));
    }
}

impl Handle {
    fn late(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.change(|state| state.kill(self.id));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and has the clock check again if a message now expires sooner.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let outcome = change(&mut state);
        if state.expires_sooner() {
            self.sooner.notify_one();
        }
        if state.take_lost() {
            self.lost.notify_waiters();
        }
        outcome
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sooner.notify_one();
    }
}

/// Lets messages expire, until the broker is dropped.
async fn keep_time(shared: Weak<Shared>, sooner: Arc<Notify>) {
    loop {
        let Some(next) = shared.upgrade().map(|shared| shared.state().expire(Instant::now())) else {
            return;
        };
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = sooner.notified() => {}
            },
            None => sooner.notified().await,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.handle.id;
        f.debug_struct("Client").field("id", &id).finish_non_exhaustive()
    }
}
