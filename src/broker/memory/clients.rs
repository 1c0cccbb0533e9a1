//! Clients that come and go.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::queue::Messages;
use super::session::{Consuming, Session};
use super::state::State;
use super::watch::What;
use crate::broker::{BrokerEvent, Subscription};

impl State {
    pub(super) fn connect(&mut self, subscriptions: Vec<Subscription>, events: mpsc::Sender<BrokerEvent>) -> u64 {
        let id = self.next_client;
        self.next_client += 1;
        let consuming = (0..).zip(subscriptions).map(|(index, s)| Consuming::new(id, index, s));
        let session = Session {
            broker_events: events,
            generation: 0,
            up: false,
            subscriptions: consuming.collect(),
        };
        self.clients.insert(id, session);
        self.bring_up(id);
        id
    }

    pub(super) fn reconnect(&mut self, client: u64, reason: &str) {
        self.take_down(client, reason);
        self.bring_up(client);
    }

    pub(super) fn kill(&mut self, client: u64) {
        // Gone first, so that it is not notified.
        if let Some(session) = self.clients.remove(&client) {
            self.lost = true;
            self.release(client, session.subscriptions);
        }
    }

    pub(super) fn set_outage(&mut self, outage: bool) {
        self.outage = outage;
        let clients: Vec<_> = self.clients.keys().copied().collect();
        for client in clients {
            if outage {
                self.take_down(client, "the broker is away");
            } else {
                self.bring_up(client);
            }
        }
    }

    fn bring_up(&mut self, client: u64) {
        let Some(session) = self.clients.get_mut(&client) else {
            return;
        };
        if self.outage || session.up {
            return;
        }
        session.up = true;
        session.generation += 1;
        let generation = session.generation;
        session.notify(BrokerEvent::Connected { generation });
        self.watch.see(|| What::Connected { client });
        let mut queues = Vec::new();
        for (index, consuming) in session.subscriptions.iter_mut().enumerate() {
            consuming.deliveries = 0;
            consuming.dead = false;
            if let Subscription::Ephemeral { exchange, keys, .. } = &consuming.subscription {
                let ephemeral = Messages::new(consuming.queue.clone(), None);
                self.queues.insert(consuming.queue.clone(), ephemeral);
                keys.iter()
                    .for_each(|key| self.routes.bind(exchange, key, &consuming.queue));
            }
            if let Some(messages) = self.queues.get_mut(&consuming.queue) {
                messages.consumers.push((client, index));
            }
            queues.push(consuming.queue.clone());
        }
        for queue in queues {
            self.dispatch(&queue);
        }
        self.read_streams(client);
    }

    fn take_down(&mut self, client: u64, reason: &str) {
        let Some(session) = self.clients.get_mut(&client).filter(|session| session.up) else {
            return;
        };
        self.lost = true;
        session.up = false;
        let generation = session.generation;
        let reason = reason.to_owned();
        session.notify(BrokerEvent::Disconnected { generation, reason });
        self.watch.see(|| What::Disconnected { client });
        let emptied = session.subscriptions.iter_mut().map(Consuming::take).collect();
        self.release(client, emptied);
    }

    /// Requeues what subscriptions of a lost connection had not acknowledged, and removes its ephemeral queues.
    fn release(&mut self, client: u64, subscriptions: Vec<Consuming>) {
        let mut queues = BTreeSet::new();
        let mut dead = Vec::new();
        for consuming in subscriptions {
            if let Subscription::Ephemeral { .. } = consuming.subscription {
                self.queues.remove(&consuming.queue);
                self.routes.unbind(&consuming.queue);
                continue;
            }
            let Some(messages) = self.queues.get_mut(&consuming.queue) else {
                continue;
            };
            messages.consumers.retain(|(owner, _)| *owner != client);
            messages.turn = 0;
            for place in consuming.unacked.values() {
                self.watch.see(|| What::Returned {
                    client,
                    queue: consuming.queue.clone(),
                    message: messages.unacked(*place),
                });
                dead.extend(messages.put_back(*place));
            }
            queues.insert(consuming.queue);
        }
        dead.into_iter().for_each(|dead| self.bury(dead));
        for queue in queues {
            self.dispatch(&queue);
        }
    }
}
