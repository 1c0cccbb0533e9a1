//! One queue.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::topology::{Binding, Role};
use crate::broker::{Header, Message};

/// A queue's messages and who consumes them.
#[derive(Debug)]
pub(super) struct Messages {
    name: String,
    /// None for an ephemeral queue, which keeps everything for its one consumer.
    role: Option<Role>,
    /// By their place in the queue, which a message keeps while it is handed out, so that it returns to where it was.
    ready: BTreeMap<u64, Entry>,
    /// How long their bodies are together.
    ready_bytes: usize,
    unacked: BTreeMap<u64, Entry>,
    next: u64,
    /// The subscriptions that consume it, in turn.
    pub(super) consumers: Vec<Consumer>,
    pub(super) turn: usize,
}

/// A client and the index of its subscription.
pub(super) type Consumer = (u64, usize);

#[derive(Debug)]
struct Entry {
    message: Message,
    /// Where it was published to.
    exchange: String,
    redeliveries: u32,
    expires: Option<Instant>,
}

/// A message that leaves its queue without having been acknowledged.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// The queue it leaves, and why, as RabbitMQ names it.
    pub(super) queue: String,
    pub(super) reason: &'static str,
    /// Where it goes; none: nowhere.
    pub(super) target: Option<Binding>,
    pub(super) message: Message,
}

impl Messages {
    pub(super) fn new(name: String, role: Option<Role>) -> Self {
        Self {
            name,
            role,
            ready: BTreeMap::new(),
            ready_bytes: 0,
            unacked: BTreeMap::new(),
            next: 0,
            consumers: Vec::new(),
            turn: 0,
        }
    }

    /// Adds a message at the end. The oldest ones go if there are too many, or too large ones.
    pub(super) fn push(&mut self, message: Message, exchange: &str, now: Instant) -> Vec<Message> {
        let entry = Entry {
            message,
            exchange: exchange.to_owned(),
            redeliveries: 0,
            expires: self.ttl().map(|ttl| now + ttl),
        };
        self.insert(self.next, entry);
        self.next += 1;
        let mut dropped = Vec::new();
        while self.is_too_full()
            && let Some((_, oldest)) = self.pop()
        {
            dropped.push(oldest.message);
        }
        dropped
    }

    fn is_too_full(&self) -> bool {
        let Some(role) = &self.role else { return false };
        let most = |max: u32| usize::try_from(max).unwrap_or(usize::MAX);
        role.length_max().is_some_and(|max| self.ready.len() > most(max))
            || role.bytes_max().is_some_and(|max| self.ready_bytes > most(max))
    }

    fn insert(&mut self, place: u64, entry: Entry) {
        self.ready_bytes += entry.message.body.len();
        self.ready.insert(place, entry);
    }

    fn pop(&mut self) -> Option<(u64, Entry)> {
        let first = self.ready.pop_first()?;
        self.ready_bytes -= first.1.message.body.len();
        Some(first)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether it keeps its messages, whoever has read them.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.role, Some(Role::Stream { .. }))
    }

    /// Hands out the first message: its place, how often it came back, and itself.
    pub(super) fn take(&mut self) -> Option<(u64, u32, Message)> {
        let (place, entry) = self.pop()?;
        let (count, mut message) = (entry.redeliveries, entry.message.clone());
        self.unacked.insert(place, entry);
        if count > 0 {
            set(&mut message, "x-delivery-count", Header::Integer(count.into()));
        }
        Some((place, count, message))
    }

    pub(super) fn ack(&mut self, place: u64) -> Option<Message> {
        self.unacked.remove(&place).map(|entry| entry.message)
    }

    /// A message that is handed out.
    pub(super) fn unacked(&self, place: u64) -> Message {
        self.unacked
            .get(&place)
            .map(|entry| entry.message.clone())
            .unwrap_or_default()
    }

    /// Puts a message back that was handed out. One that came back too often leaves the queue.
    pub(super) fn put_back(&mut self, place: u64) -> Option<DeadLetter> {
        let mut entry = self.unacked.remove(&place)?;
        entry.redeliveries += 1;
        let limit = self.role.as_ref().and_then(Role::delivery_limit);
        if limit.is_some_and(|limit| entry.redeliveries > limit) {
            return Some(self.dead_letter(entry, "delivery_limit"));
        }
        self.insert(place, entry);
        None
    }

    /// Takes out the first message if its time is over. Those behind it came later, so they expire later.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<DeadLetter> {
        let expires = self.ready.first_key_value()?.1.expires;
        if expires.is_none_or(|expires| expires > now) {
            return None;
        }
        let (_, entry) = self.pop()?;
        Some(self.dead_letter(entry, "expired"))
    }

    /// When the first message expires.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.ttl()?;
        self.ready.first_key_value()?.1.expires
    }

    pub(super) fn depth(&self) -> (usize, usize) {
        (self.ready.len(), self.unacked.len())
    }

    /// Every message, in the queue's order.
    pub(super) fn all(&self) -> Vec<Message> {
        let entries: BTreeMap<_, _> = self.ready.iter().chain(&self.unacked).collect();
        entries.into_values().map(|entry| entry.message.clone()).collect()
    }

    fn ttl(&self) -> Option<Duration> {
        self.role.as_ref().and_then(Role::ttl)
    }

    fn dead_letter(&self, entry: Entry, reason: &'static str) -> DeadLetter {
        let mut message = entry.message;
        // As RabbitMQ, whose record of the first time is not overwritten.
        if !message.properties.headers.contains_key("x-first-death-reason") {
            set(&mut message, "x-first-death-reason", reason.into());
            set(&mut message, "x-first-death-queue", self.name.as_str().into());
            set(&mut message, "x-first-death-exchange", entry.exchange.into());
        }
        DeadLetter {
            queue: self.name.clone(),
            reason,
            target: self.role.as_ref().and_then(Role::dead_letter).cloned(),
            message,
        }
    }
}

fn set(message: &mut Message, name: &str, value: Header) {
    message.properties.headers.insert(name.to_owned(), value);
}
