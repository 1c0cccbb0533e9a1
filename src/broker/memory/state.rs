//! What a broker knows: queues, routes and clients. Every method leaves each ready message with whoever may have it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::faults::{PublishFault, Sending};
use super::queue::{DeadLetter, Messages};
use super::routing::Routes;
use super::session::{Consuming, EPHEMERAL, Session};
use super::watch::{Watch, What};
use crate::broker::topology::Topology;
use crate::broker::{Message, Outgoing, PublishError, Tag};

pub(super) struct State {
    pub(super) routes: Routes,
    pub(super) queues: BTreeMap<String, Messages>,
    pub(super) clients: BTreeMap<u64, Session>,
    pub(super) next_client: u64,
    pub(super) outage: bool,
    lose_confirm: bool,
    /// What the next publishes meet, one each.
    pub(super) faults: VecDeque<PublishFault>,
    /// A client has lost its connection, and nobody was notified of it yet.
    pub(super) lost: bool,
    pub(super) watch: Watch,
    /// The next message to expire that the clock knows of.
    alarm: Option<Instant>,
    /// The first one to expire since the clock checked.
    sooner: Option<Instant>,
}

impl State {
    pub(super) fn new(topology: &Topology) -> Self {
        let queues = topology.queues().into_iter();
        Self {
            routes: Routes::new(topology),
            queues: queues
                .map(|queue| (queue.name.clone(), Messages::new(queue.name, Some(queue.role))))
                .collect(),
            clients: BTreeMap::new(),
            next_client: 0,
            outage: false,
            lose_confirm: false,
            faults: VecDeque::new(),
            lost: false,
            watch: Watch::default(),
            alarm: None,
            sooner: None,
        }
    }

    /// How long messages take to the broker, how long their confirm takes back, and what they meet.
    pub(super) fn sending(&mut self, client: u64, messages: &[Outgoing]) -> Sending {
        for outgoing in messages {
            self.watch.see(|| What::Sent {
                client,
                outgoing: outgoing.clone(),
            });
        }
        let (there, back) = self.watch.publish_takes(client, messages);
        // Nothing is sent by a client that is down, so it can meet nothing.
        let fault = match self.generation(client) {
            Some(_) if !messages.is_empty() => self.faults.pop_front(),
            _ => None,
        };
        Sending { there, back, fault }
    }

    /// Which generation of its connection a client is in; none while it has none.
    pub(super) fn generation(&self, client: u64) -> Option<u64> {
        let session = self.clients.get(&client).filter(|session| session.up)?;
        Some(session.generation)
    }

    pub(super) fn publish(&mut self, client: u64, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        if !self.clients.get(&client).is_some_and(|session| session.up) {
            return Err(PublishError::Down);
        }
        let mut outcome = Ok(());
        for outgoing in messages {
            let Outgoing {
                exchange,
                routing_key,
                message,
            } = outgoing;
            if !self.route(&exchange, &routing_key, message) && outcome.is_ok() {
                outcome = Err(PublishError::Unroutable { exchange, routing_key });
            }
        }
        if std::mem::take(&mut self.lose_confirm) {
            self.reconnect(client, "the connection was lost");
            return Err(PublishError::Down);
        }
        outcome
    }

    /// How long an acknowledgement takes to the broker.
    pub(super) fn ack_takes(&mut self, client: u64, tag: Tag) -> Duration {
        let consuming = self.clients.get(&client).and_then(|session| session.consuming(tag));
        let place = consuming.and_then(|consuming| Some((&consuming.queue, *consuming.unacked.get(&tag.number)?)));
        let message = place.and_then(|(queue, place)| Some((queue, self.queues.get(queue)?.unacked(place))));
        match message {
            Some((queue, message)) => self.watch.ack_takes(client, queue, &message),
            None => Duration::ZERO,
        }
    }

    pub(super) fn ack(&mut self, client: u64, tag: Tag) {
        let session = self.clients.get_mut(&client);
        let session = session.filter(|session| session.up && session.generation == tag.generation);
        let index = usize::try_from(tag.subscription).unwrap_or(usize::MAX);
        let consuming = session.and_then(|session| session.subscriptions.get_mut(index));
        let Some(consuming) = consuming else { return };
        let Some(place) = consuming.unacked.remove(&tag.number) else {
            let message = None;
            return self.watch.see(|| What::Acked { client, tag, message });
        };
        let queue = consuming.queue.clone();
        let message = self.queues.get_mut(&queue).and_then(|messages| messages.ack(place));
        self.watch.see(|| What::Acked {
            client,
            tag,
            message: message.map(|message| (queue.clone(), message)),
        });
        self.dispatch(&queue);
    }

    pub(super) fn pause(&mut self, client: u64, queue: &str, paused: bool) {
        self.change(client, queue, |consuming| consuming.paused = paused);
    }

    pub(super) fn set_prefetch(&mut self, client: u64, queue: &str, prefetch: u16) {
        self.change(client, queue, |consuming| consuming.prefetch = prefetch);
    }

    /// Changes a client's subscription of a queue, which may have room after that.
    fn change(&mut self, client: u64, queue: &str, change: impl Fn(&mut Consuming)) {
        let Some(session) = self.clients.get_mut(&client) else {
            return;
        };
        let mut changed = BTreeSet::new();
        for consuming in &mut session.subscriptions {
            if consuming.subscription.name() == queue {
                change(consuming);
                changed.insert(consuming.queue.clone());
            }
        }
        for queue in changed {
            self.dispatch(&queue);
        }
    }

    /// Pauses every queue of a client.
    pub(super) fn cancel(&mut self, client: u64) {
        self.clients.get_mut(&client).into_iter().for_each(Session::cancel);
    }

    pub(super) fn kill_consumers(&mut self, queue: &str) {
        self.clients
            .values_mut()
            .for_each(|session| session.kill_consumers(queue));
    }

    pub(super) fn ready(&self, client: u64, queue: &str) -> Option<u32> {
        self.generation(client)?;
        let (ready, _) = self.queues.get(queue)?.depth();
        u32::try_from(ready).ok()
    }

    pub(super) fn lose_next_confirm(&mut self) {
        self.lose_confirm = true;
    }

    pub(super) fn fail_no_more(&mut self) {
        self.faults.clear();
        self.lose_confirm = false;
    }

    /// Whether a client has lost its connection since this was last asked.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Dead-letters what has expired, and says when to check again.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let queues: Vec<_> = self.queues.iter().filter(|(_, q)| q.expires().is_some()).collect();
        let names: Vec<_> = queues.into_iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            while let Some(expired) = self.queues.get_mut(&name).and_then(|q| q.take_expired(now)) {
                self.bury(expired);
            }
        }
        self.sooner = None;
        self.alarm = self.queues.values().filter_map(Messages::expires).min();
        self.alarm
    }

    /// Whether a message expires before the clock would check; true only once.
    pub(super) fn expires_sooner(&mut self) -> bool {
        let sooner = self.sooner.take();
        let sooner = sooner.filter(|at| self.alarm.is_none_or(|alarm| *at < alarm));
        self.alarm = sooner.or(self.alarm);
        sooner.is_some()
    }

    pub(super) fn depths(&self) -> BTreeMap<String, (usize, usize)> {
        let queues = self.queues.iter().filter(|(name, _)| !name.starts_with(EPHEMERAL));
        queues
            .map(|(name, messages)| (name.clone(), messages.depth()))
            .collect()
    }

    pub(super) fn peek(&self, queue: &str) -> Vec<Message> {
        self.queues.get(queue).map(Messages::all).unwrap_or_default()
    }

    /// Whether any queue took it.
    fn route(&mut self, exchange: &str, key: &str, message: Message) -> bool {
        let queues = self.routes.queues(exchange, key);
        let now = Instant::now();
        for queue in &queues {
            let Some(messages) = self.queues.get_mut(queue) else {
                continue;
            };
            let dropped = messages.push(message.clone(), exchange, now);
            self.watch.see(|| What::Taken {
                queue: queue.clone(),
                message: message.clone(),
            });
            for message in dropped {
                self.watch.see(|| What::left(queue, message, "maxlen"));
            }
            self.sooner = [self.sooner, messages.expires()].into_iter().flatten().min();
            if messages.is_stream() {
                self.hand_on(queue, &message);
            }
            self.dispatch(queue);
        }
        !queues.is_empty()
    }

    pub(super) fn bury(&mut self, dead: DeadLetter) {
        let DeadLetter {
            queue,
            reason,
            target,
            message,
        } = dead;
        self.watch.see(|| What::left(&queue, message.clone(), reason));
        if let Some(target) = target {
            self.route(&target.exchange, &target.key, message);
        }
    }

    /// Hands out the messages of a queue, to its consumers in turn; to none while an outage takes one after the other
    /// down.
    pub(super) fn dispatch(&mut self, queue: &str) {
        if self.outage {
            return;
        }
        let Some(messages) = self.queues.get_mut(queue) else {
            return;
        };
        while messages.has_ready() && !messages.is_stream() {
            let count = messages.consumers.len();
            let turns = (0..count).map(|offset| (messages.turn + offset) % count);
            let free = |turn: &usize| {
                let (client, index) = messages.consumers[*turn];
                let session = self.clients.get(&client);
                session.is_some_and(|session| session.subscriptions[index].is_free())
            };
            let Some(turn) = { turns }.find(free) else {
                return;
            };
            let (client, index) = messages.consumers[turn];
            messages.turn = (turn + 1) % count;
            let (Some(session), Some(taken)) = (self.clients.get_mut(&client), messages.take()) else {
                return;
            };
            let (_, redeliveries, message) = &taken;
            self.watch.see(|| What::Handed {
                client,
                queue: queue.to_owned(),
                redeliveries: *redeliveries,
                message: message.clone(),
            });
            if let Some(place) = session.hand_over(index, taken) {
                messages.ack(place);
            }
        }
    }
}
