//! Declaring the topology, and comparing it with what is there.

use std::fmt;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind};

use super::address::{Address, Error};
use super::convert::short;
use super::{Settings, connection};
use crate::broker::topology::{Exchange, ExchangeKind, Queue, Topology};

/// `NOT_FOUND`.
const NOT_FOUND: u16 = 404;

/// `ACCESS_REFUSED`.
const ACCESS_REFUSED: u16 = 403;

/// `PRECONDITION_FAILED`: it exists with other arguments.
const PRECONDITION_FAILED: u16 = 406;

/// One thing in which the broker differs from the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such exchange.
    MissingExchange {
        /// Its name.
        name: String,
    },
    /// There is no such queue.
    MissingQueue {
        /// Its name.
        name: String,
    },
    /// The exchange is of another kind or has other arguments.
    DifferentExchange {
        /// Its name.
        name: String,
        /// What differs, in the broker's words.
        detail: String,
    },
    /// The queue is of another type or has other arguments.
    DifferentQueue {
        /// Its name.
        name: String,
        /// What differs, in the broker's words.
        detail: String,
    },
    /// The user may not look.
    Forbidden {
        /// The name of the exchange or queue.
        name: String,
        /// The broker's words.
        detail: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingExchange { name } => write!(f, "exchange {name:?} is missing"),
            Self::MissingQueue { name } => write!(f, "queue {name:?} is missing"),
            Self::DifferentExchange { name, detail } => {
                write!(f, "exchange {name:?} is there, but not as it should be: {detail}")
            }
            Self::DifferentQueue { name, detail } => {
                write!(f, "queue {name:?} is there, but not as it should be: {detail}")
            }
            Self::Forbidden { name, detail } => {
                write!(f, "{name:?} can't be looked at: {detail}")
            }
        }
    }
}

/// Declares the topology: exchanges, queues and bindings, in its order. What is there already stays as it is.
///
/// # Errors
///
/// There is no connection, or something is there with other arguments: RabbitMQ changes none, so it is to be deleted
/// once it is empty.
pub async fn declare(settings: &Settings, topology: &Topology) -> Result<(), Error> {
    let address = Address::parse(&settings.url)?;
    let connection = connection::open(&address, settings, "topology").await?;
    let outcome = declare_on(&connection, topology).await;
    connection::close(&connection).await;
    outcome
}

/// Compares the broker's exchanges and queues with the topology and changes nothing. Bindings can't be read over AMQP
/// and are not compared.
///
/// # Errors
///
/// There is no connection.
pub async fn check(settings: &Settings, topology: &Topology) -> Result<Vec<Difference>, Error> {
    let address = Address::parse(&settings.url)?;
    let connection = connection::open(&address, settings, "topology").await?;
    let outcome = compare(&connection, topology, Depth::Arguments).await;
    connection::close(&connection).await;
    outcome
}

pub(super) async fn declare_on(connection: &Connection, topology: &Topology) -> Result<(), Error> {
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| refused("a channel", &error))?;
    for exchange in topology.exchanges() {
        let outcome = declare_exchange(&channel, &exchange, false).await;
        outcome.map_err(|error| refused(&format!("declaring exchange {:?}", exchange.name), &error))?;
    }
    for queue in topology.queues() {
        let outcome = declare_queue(&channel, &queue, false).await;
        outcome.map_err(|error| refused(&format!("declaring queue {:?}", queue.name), &error))?;
        let outcome = bind(&channel, &queue).await;
        outcome.map_err(|error| refused(&format!("binding queue {:?}", queue.name), &error))?;
    }
    // Every answer is in, so a failure to close changes nothing.
    let _ = channel.close(200, "OK".into()).await;
    Ok(())
}

/// Whether everything is there, where nothing is to be declared. What the user may not look at is taken to be.
pub(super) async fn ensure_there(connection: &Connection, topology: &Topology) -> Result<(), Error> {
    let mut missing = compare(connection, topology, Depth::Names).await?;
    missing.retain(|difference| !matches!(difference, Difference::Forbidden { .. }));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Missing(missing))
}

/// How closely to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// That it is there.
    Names,
    /// That its arguments are right, too.
    Arguments,
}

async fn compare(connection: &Connection, topology: &Topology, depth: Depth) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    for exchange in topology.exchanges() {
        differences.extend(compare_exchange(connection, exchange, depth).await?);
    }
    for queue in topology.queues() {
        differences.extend(compare_queue(connection, queue, depth).await?);
    }
    Ok(differences)
}

/// On a channel of its own, for the broker closes it with its refusal.
async fn compare_exchange(
    connection: &Connection,
    exchange: Exchange,
    depth: Depth,
) -> Result<Option<Difference>, Error> {
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| refused("a channel", &error))?;
    let mut outcome = declare_exchange(&channel, &exchange, true).await;
    // Only what is there is declared, so that nothing comes to be.
    if outcome.is_ok() && depth == Depth::Arguments {
        outcome = declare_exchange(&channel, &exchange, false).await;
    }
    let name = exchange.name;
    let Err(error) = outcome else { return Ok(None) };
    match refusal(&error) {
        Some((NOT_FOUND, _)) => Ok(Some(Difference::MissingExchange { name })),
        Some((PRECONDITION_FAILED, detail)) => Ok(Some(Difference::DifferentExchange { name, detail })),
        Some((ACCESS_REFUSED, detail)) => Ok(Some(Difference::Forbidden { name, detail })),
        _ => Err(refused(&format!("looking at exchange {name:?}"), &error)),
    }
}

/// As [`compare_exchange`].
async fn compare_queue(connection: &Connection, queue: Queue, depth: Depth) -> Result<Option<Difference>, Error> {
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| refused("a channel", &error))?;
    let mut outcome = declare_queue(&channel, &queue, true).await;
    if outcome.is_ok() && depth == Depth::Arguments {
        outcome = declare_queue(&channel, &queue, false).await;
    }
    let name = queue.name;
    let Err(error) = outcome else { return Ok(None) };
    match refusal(&error) {
        Some((NOT_FOUND, _)) => Ok(Some(Difference::MissingQueue { name })),
        Some((PRECONDITION_FAILED, detail)) => Ok(Some(Difference::DifferentQueue { name, detail })),
        Some((ACCESS_REFUSED, detail)) => Ok(Some(Difference::Forbidden { name, detail })),
        _ => Err(refused(&format!("looking at queue {name:?}"), &error)),
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange, passive: bool) -> lapin::Result<()> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
    };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments.insert("alternate-exchange".into(), text(alternate));
    }
    let options = ExchangeDeclareOptions {
        passive,
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let name = short(&exchange.name);
    channel.exchange_declare(name, kind, options, arguments).await
}

async fn declare_queue(channel: &Channel, queue: &Queue, passive: bool) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        passive,
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(short(&queue.name), options, arguments(queue));
    declared.await.map(drop)
}

async fn bind(channel: &Channel, queue: &Queue) -> lapin::Result<()> {
    for binding in &queue.bindings {
        let (name, exchange, key) = (&queue.name, &binding.exchange, &binding.key);
        let options = QueueBindOptions::default();
        let none = FieldTable::default();
        channel
            .queue_bind(short(name), short(exchange), short(key), options, none)
            .await?;
    }
    Ok(())
}

/// A queue's arguments, as RabbitMQ's quorum queues document them.
fn arguments(queue: &Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    if let Some(ttl) = queue.ttl {
        let ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ms));
    }
    if let Some(limit) = queue.delivery_limit {
        arguments.insert("x-delivery-limit".into(), number(limit));
    }
    if let Some(target) = &queue.dead_letter {
        arguments.insert("x-dead-letter-exchange".into(), text(&target.exchange));
        arguments.insert("x-dead-letter-routing-key".into(), text(&target.key));
        // At-least-once takes all three; without this overflow it is silently at-most-once.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    if let Some(length) = queue.length_max {
        arguments.insert("x-max-length".into(), number(length));
        arguments.insert("x-overflow".into(), text("drop-head"));
    }
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn number(number: u32) -> AMQPValue {
    AMQPValue::LongLongInt(number.into())
}

/// The broker's code and words, when it was the broker that refused.
pub(super) fn refusal(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => Some((refusal.get_id(), refusal.get_message().to_string())),
        _ => None,
    }
}

pub(super) fn refused(what: &str, error: &lapin::Error) -> Error {
    let why = refusal(error).map_or_else(|| error.to_string(), |(_, words)| words);
    let what = what.to_owned();
    Error::Refused { what, why }
}
