//! What goes wrong with a publish when a simulation asks for it, as RabbitMQ's client would see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::state::State;
use super::watch::What;
use super::{Client, Handle};
use crate::broker::{Outgoing, PublishError};

/// How long a client waits for a confirm: the default of the setting `amqp.confirm_timeout`.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// What one publish meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFault {
    /// The broker refuses one of the messages (`basic.nack`) and takes the others. The connection stays.
    Refused {
        /// Which one, counted round the messages of the call.
        which: usize,
    },
    /// No confirm comes in time. RabbitMQ's client holds such a connection for dead, so it makes a new one.
    Unconfirmed {
        /// Whether the broker takes the messages all the same.
        taken: bool,
    },
    /// The broker lets publishers wait. The client gives the confirm up but keeps the connection, and the broker takes the messages
    /// after that, unless the connection is lost before.
    Late {
        /// How long after that.
        by: Duration,
    },
}

/// How a publish travels.
pub(super) struct Sending {
    pub(super) there: Duration,
    pub(super) back: Duration,
    pub(super) fault: Option<PublishFault>,
}

impl Client {
    /// Publishes over one generation of this client's connection, and waits for the confirm.
    pub(super) async fn send(
        &self,
        generation: Option<u64>,
        sending: Sending,
        messages: Vec<Outgoing>,
    ) -> Result<(), PublishError> {
        let began = Instant::now();
        let sent = sending.fault.map(|_| messages.clone()).unwrap_or_default();
        self.pass(generation, sending.there).await?;
        let outcome = match sending.fault {
            None => self.take(generation, messages),
            Some(PublishFault::Refused { which }) => self.take_others(generation, messages, which),
            Some(PublishFault::Unconfirmed { taken }) => {
                if taken {
                    // Nobody hears what came of it.
                    let _ = self.take(generation, messages);
                }
                Err(PublishError::TimedOut)
            }
            Some(PublishFault::Late { by }) => {
                self.take_later(generation, messages, CONFIRM_TIMEOUT.saturating_sub(sending.there) + by);
                Err(PublishError::TimedOut)
            }
        };
        let back = match outcome {
            Err(PublishError::TimedOut) => CONFIRM_TIMEOUT.saturating_sub(began.elapsed()),
            _ => sending.back,
        };
        self.pass(generation, back).await?;
        if let Some(fault) = sending.fault {
            self.failed(fault, sent);
        }
        outcome
    }

    fn take(&self, generation: Option<u64>, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let Handle { id, shared, .. } = &*self.handle;
        shared.change(|state| state.publish_within(*id, generation, messages))
    }

    fn take_others(
        &self,
        generation: Option<u64>,
        mut messages: Vec<Outgoing>,
        which: usize,
    ) -> Result<(), PublishError> {
        if let Some(refused) = which.checked_rem(messages.len()) {
            messages.remove(refused);
        }
        self.take(generation, messages)?;
        Err(PublishError::Refused)
    }

    fn take_later(&self, generation: Option<u64>, messages: Vec<Outgoing>, after: Duration) {
        let shared = Arc::clone(&self.handle.shared);
        let id = self.handle.id;
        self.handle.late().spawn(async move {
            sleep(after).await;
            // What was not written yet is lost with the connection.
            let _ = shared.change(|state| state.publish_within(id, generation, messages));
        });
    }

    fn failed(&self, fault: PublishFault, messages: Vec<Outgoing>) {
        let Handle { id: client, shared, .. } = &*self.handle;
        let client = *client;
        shared.change(|state| {
            state.watch.see(|| What::PublishFailed {
                client,
                fault,
                messages,
            });
            if let PublishFault::Unconfirmed { .. } = fault {
                state.reconnect(client, &format!("the broker confirmed nothing for {CONFIRM_TIMEOUT:?}"));
            }
        });
    }

    /// Lets time pass, unless the connection is lost first.
    async fn pass(&self, generation: Option<u64>, time: Duration) -> Result<(), PublishError> {
        let Handle { id, shared, .. } = &*self.handle;
        let until = Instant::now() + time;
        loop {
            let lost = shared.lost.notified();
            tokio::pin!(lost);
            lost.as_mut().enable();
            if shared.state().generation(*id) != generation || generation.is_none() {
                return Err(PublishError::Down);
            }
            if Instant::now() >= until {
                return Ok(());
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = lost => {}
            }
        }
    }
}

impl State {
    /// Takes messages over one generation of a client's connection.
    fn publish_within(
        &mut self,
        client: u64,
        generation: Option<u64>,
        messages: Vec<Outgoing>,
    ) -> Result<(), PublishError> {
        if self.generation(client) != generation {
            return Err(PublishError::Down);
        }
        self.publish(client, messages)
    }
}
