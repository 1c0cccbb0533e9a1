//! A password that finAPI refuses is tried once by all workers together, because finAPI locks a user after some failures. Workers remember
//! what finAPI said of passwords, and say it to each other (`message`). Which worker sends a new one is in `protocol`.

mod hash;
mod memory;
mod message;
mod protocol;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::id::UserId;
use crate::secret::Secret;
use hash::{Hashed, Keys};
pub(super) use memory::Refused;
pub(super) use message::Judgement;
use message::Message;
pub(super) use protocol::SendEnd;
use protocol::{Advice, Protocol};

/// The most messages that wait to be published.
const MESSAGES_MAX: usize = 10_000;

/// A broker that takes longer to take an announcement does not hold up whoever announces.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(1);

/// After this it is no longer waited for another worker's judgement: finAPI's own answer takes less.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a worker says to all others, to be published.
#[derive(Debug)]
pub struct ToOthers {
    /// A body for each message.
    pub bodies: Vec<Bytes>,
    /// Takes whether the messages are published, and whether this worker hears what is answered.
    pub done: Option<oneshot::Sender<bool>>,
}

/// What this worker knows of passwords, and its way to the others.
#[derive(Debug)]
pub(super) struct Passwords {
    keys: RwLock<Arc<Keys>>,
    protocol: Mutex<Protocol>,
    to_others: Mutex<Option<mpsc::Sender<ToOthers>>>,
    /// A message came.
    heard: Notify,
}

#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;

/// The right to send a password to finAPI now. Whoever drops it without a word has learned nothing.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    passwords: &'a Passwords,
    password: Hashed,
    ended: bool,
}

/// Why a password is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    Refused(Refused),
    /// Another worker is sending it, for a long time.
    Busy,
}

impl Passwords {
    /// What is said is known by these secrets: that of the client, and during a rotation the one before. `moment`: how long a worker waits for
    /// objections.
    pub(super) fn new(client_secret: &Secret, previous: Option<&Secret>, moment: Duration) -> Self {
        Self {
            keys: RwLock::new(Arc::new(Keys::new(client_secret, previous))),
            protocol: Mutex::new(Protocol::new(moment)),
            to_others: Mutex::new(None),
            heard: Notify::new(),
        }
    }

    /// The client has another secret. What was said by the one before it still counts.
    pub(super) fn rotate(&self, client_secret: &Secret) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = Arc::new(keys.rotated(client_secret));
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on there are other workers, to whom this one has this number.
    pub(super) fn join(&self, worker: u64) -> mpsc::Receiver<ToOthers> {
        self.protocol().set_number(worker);
        let (to_others, messages) = mpsc::channel(MESSAGES_MAX);
        *self.to_others.lock().unwrap_or_else(PoisonError::into_inner) = Some(to_others);
        messages
    }

    /// What another worker published. What is not one of ours is ignored.
    pub(super) fn on_message(&self, body: &[u8]) {
        let Some(message) = Message::read(&self.keys(), body) else {
            return;
        };
        let replies = self.protocol().on_message(message, Instant::now());
        self.heard.notify_waiters();
        self.say(&replies, None);
    }

    /// Waits until this worker may send a password. `is_doubted`: finAPI took back what it gave for it.
    pub(super) async fn turn(
        &self,
        user_id: &UserId,
        password: &SecretString,
        is_doubted: bool,
    ) -> Result<Turn<'_>, NoTurn> {
        let password = self.keys().hash(user_id, password);
        if is_doubted {
            self.protocol().on_doubt(&password);
        }
        let turn = Turn {
            passwords: self,
            password,
            ended: false,
        };
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let heard = self.heard.notified();
            let now = Instant::now();
            let advice = self.protocol().advise(&turn.password, now);
            match advice {
                Advice::Send => return Ok(turn),
                Advice::Refused(refused) => return Err(NoTurn::Refused(refused)),
                _ if now >= deadline => return Err(NoTurn::Busy),
                Advice::Announce(messages) => {
                    let is_heard = self.announce(&messages).await;
                    self.protocol().on_announced(&turn.password, is_heard, Instant::now());
                }
                Advice::Wait(until) => {
                    tokio::select! {
                        () = heard => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// Whether the others have it, and can object.
    async fn announce(&self, messages: &[Message]) -> bool {
        let (done, published) = oneshot::channel();
        self.say(messages, Some(done));
        matches!(timeout(PUBLISH_TIME_MAX, published).await, Ok(Ok(true)))
    }

    fn say(&self, messages: &[Message], done: Option<oneshot::Sender<bool>>) {
        let to_others = self.to_others.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(to_others), false) = (&*to_others, messages.is_empty()) {
            let bodies = messages
                .iter()
                .map(|message| message.write(&self.keys()).into())
                .collect();
            // When so many wait, the broker takes none, and this worker is alone.
            drop(to_others.try_send(ToOthers { bodies, done }));
        }
    }

    fn protocol(&self) -> MutexGuard<'_, Protocol> {
        self.protocol.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, password: &Hashed, end: SendEnd) {
        let messages = self.protocol().on_end(password, end, Instant::now());
        self.say(&messages, None);
    }
}

impl Turn<'_> {
    pub(super) fn end(mut self, end: SendEnd) {
        self.ended = true;
        self.passwords.end(&self.password, end);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.passwords.end(&self.password, SendEnd::Nothing);
        }
    }
}
