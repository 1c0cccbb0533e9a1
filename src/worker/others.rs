//! What this worker says to all others about users' passwords, by way of the exchange for wake-ups.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::context::Context;
use crate::broker::{Message, Outgoing, Properties};
use crate::finapi::passwords::ToOthers;

/// The `type` of such a message.
pub(super) const PASSWORD_NAME: &str = "bankrefresh.password";

/// The most that is published at once.
const AT_ONCE_MAX: usize = 256;

impl Context {
    /// Publishes what is to be said, as long as the worker lives.
    pub(super) async fn say(self: Arc<Self>, mut to_others: mpsc::Receiver<ToOthers>) {
        let mut taken = Vec::new();
        while to_others.recv_many(&mut taken, AT_ONCE_MAX).await > 0 {
            // Without a queue of its own it would hear no objection.
            let hears = self.broker.consumes(&self.topology.wake());
            let said = taken.iter().flat_map(|to_others| &to_others.bodies);
            let messages = said.map(|body| Outgoing {
                exchange: self.topology.wake(),
                routing_key: String::new(),
                message: Message {
                    body: body.clone(),
                    properties: Properties {
                        kind: Some(PASSWORD_NAME.to_owned()),
                        ..Properties::default()
                    },
                },
            });
            let published = self.broker.publish(messages.collect()).await;
            if let Err(error) = &published {
                tracing::debug!(%error, "could not publish what this worker says of a password, so others may try it, too");
            }
            for to_others in taken.drain(..) {
                if let Some(done) = to_others.done {
                    // Whoever waits for this may have given up.
                    let _ = done.send(hears && published.is_ok());
                }
            }
        }
    }
}
