//! A broker in this process, which keeps RabbitMQ's promises as far as this crate leans on them: for the demo, and for
//! simulation in virtual time. Nothing in it is random, and nothing is kept when it is dropped.
//!
//! What differs from RabbitMQ: a message is confirmed at once, an exchange that is missing is an unroutable message
//! and no lost connection, and a dead letter that finds no queue is dropped.

mod queue;
mod routing;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use self::state::State;
use super::outgoing::prepare;
use super::topology::Topology;
use super::{Message, Notices, Outgoing, PublishError, Subscription, Tag};

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
    /// Tells the clock that a message expires sooner than it knows.
    sooner: Arc<Notify>,
}

struct Handle {
    id: u64,
    shared: Arc<Shared>,
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
        });
        let sooner = Arc::clone(&shared.sooner);
        tokio::spawn(keep_time(Arc::downgrade(&shared), sooner));
        Self { shared }
    }

    /// Connects. The first notice is [`Notice::Up`](super::Notice::Up), at once or, in an outage, when that ends.
    #[must_use]
    pub fn connect(&self, subscriptions: Vec<Subscription>) -> (Client, Notices) {
        // It takes no room before it is used, and the prefetches bound what is in it.
        let (notices, receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
        let id = self.shared.state().connect(subscriptions, notices);
        let shared = Arc::clone(&self.shared);
        let handle = Arc::new(Handle { id, shared });
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

    /// The number of ready and of unacknowledged messages of every queue, taps apart.
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
    #[expect(clippy::unused_async, reason = "as the other broker's")]
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let messages: Vec<_> = messages.into_iter().map(prepare).collect::<Result<_, _>>()?;
        let Handle { id, shared } = &*self.handle;
        shared.change(|state| state.publish(*id, messages))
    }

    /// As [`super::Broker::ack`].
    pub fn ack(&self, tag: Tag) {
        let Handle { id, shared } = &*self.handle;
        shared.change(|state| state.ack(*id, tag));
    }

    /// As [`super::Broker::pause`]. For a tap, the name is its exchange's.
    pub fn pause(&self, queue: &str, paused: bool) {
        let Handle { id, shared } = &*self.handle;
        shared.change(|state| state.pause(*id, queue, paused));
    }

    /// As [`super::Broker::close`].
    #[expect(clippy::unused_async, reason = "as the other broker's")]
    pub async fn close(&self) {
        self.kill();
    }

    /// Loses the connection for good, as by a crash: its notices end, and what it had not acknowledged goes back.
    pub fn kill(&self) {
        let Handle { id, shared } = &*self.handle;
        shared.change(|state| state.kill(*id));
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

    /// Changes something, and has the clock look again if a message now expires sooner.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let outcome = change(&mut state);
        if state.expires_sooner() {
            self.sooner.notify_one();
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
