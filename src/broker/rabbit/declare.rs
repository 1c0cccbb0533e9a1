//! Declaring the topology.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};

use super::connection;
use super::connection::Purpose;
use super::convert::short;
use super::error::{Error, refused};
use super::settings::Settings;
use crate::broker::topology::{DISCONNECTED_TIMEOUT, Exchange, ExchangeKind, Queue, Role, Topology};

/// The queue argument for [`DISCONNECTED_TIMEOUT`].
pub(super) const DISCONNECTED_TIMEOUT_ARGUMENT: &str = "x-consumer-disconnected-timeout";

/// Declares the topology: exchanges, queues and bindings, in its order. What is there already stays as it is.
///
/// # Errors
///
/// There is no connection, or something is there with other arguments: RabbitMQ changes none, so it is to be deleted
/// once it is empty.
pub async fn declare(settings: &Settings, topology: &Topology) -> Result<(), Error> {
    let addresses = settings.addresses()?;
    let (_, [connection]) = connection::open(&addresses, 0, settings, [Purpose::Topology]).await?;
    let outcome = declare_on(&connection, topology, |_| true).await;
    connection::close(&connection).await;
    outcome
}

/// Declares the exchanges and queues of these names.
pub(super) async fn declare_on(
    connection: &Connection,
    topology: &Topology,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| refused("a channel", &error))?;
    for exchange in topology.exchanges().into_iter().filter(|it| is_wanted(&it.name)) {
        let outcome = declare_exchange(&channel, &exchange, false).await;
        outcome.map_err(|error| refused(&format!("declaring exchange {:?}", exchange.name), &error))?;
    }
    for queue in topology.queues().into_iter().filter(|it| is_wanted(&it.name)) {
        let outcome = declare_queue(&channel, &queue, false).await;
        outcome.map_err(|error| refused(&format!("declaring queue {:?}", queue.name), &error))?;
        let outcome = bind(&channel, &queue).await;
        outcome.map_err(|error| refused(&format!("binding queue {:?}", queue.name), &error))?;
    }
    // Every answer is in, so a failure to close changes nothing.
    let _ = channel.close(200, "OK".into()).await;
    Ok(())
}

/// Passively, it only checks that it is there.
pub(super) async fn declare_exchange(channel: &Channel, exchange: &Exchange, passive: bool) -> lapin::Result<()> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
    };
    let arguments = exchange_arguments(exchange);
    let options = ExchangeDeclareOptions {
        passive,
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let name = short(&exchange.name);
    channel.exchange_declare(name, kind, options, arguments).await
}

/// As [`declare_exchange`].
pub(super) async fn declare_queue(channel: &Channel, queue: &Queue, passive: bool) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        passive,
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(short(&queue.name), options, queue_arguments(queue));
    declared.await.map(drop)
}

/// Binds a queue with all of its bindings.
pub(super) async fn bind(channel: &Channel, queue: &Queue) -> lapin::Result<()> {
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

/// An exchange's arguments.
pub(super) fn exchange_arguments(exchange: &Exchange) -> FieldTable {
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments.insert("alternate-exchange".into(), text(alternate));
    }
    arguments
}

/// A queue's arguments, as RabbitMQ's quorum queues and streams document them.
pub(super) fn queue_arguments(queue: &Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    if let Role::Stream {
        bytes_max,
        segment_bytes,
        days,
    } = queue.role
    {
        arguments.insert("x-queue-type".into(), text("stream"));
        arguments.insert("x-max-length-bytes".into(), number(bytes_max));
        arguments.insert("x-max-age".into(), text(&format!("{days}D")));
        arguments.insert("x-stream-max-segment-size-bytes".into(), number(segment_bytes));
        return arguments;
    }
    arguments.insert("x-queue-type".into(), text("quorum"));
    if let Some(ttl) = queue.role.ttl() {
        arguments.insert("x-message-ttl".into(), milliseconds(ttl));
    }
    if let Some(limit) = queue.role.delivery_limit() {
        arguments.insert("x-delivery-limit".into(), number(limit));
        arguments.insert(DISCONNECTED_TIMEOUT_ARGUMENT.into(), milliseconds(DISCONNECTED_TIMEOUT));
    }
    if let Some(target) = queue.role.dead_letter() {
        arguments.insert("x-dead-letter-exchange".into(), text(&target.exchange));
        arguments.insert("x-dead-letter-routing-key".into(), text(&target.key));
        // At-least-once takes all three; without this overflow it is silently at-most-once.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    if let Some(length) = queue.role.length_max() {
        arguments.insert("x-max-length".into(), number(length));
        arguments.insert("x-overflow".into(), text("drop-head"));
    }
    if let Role::Batch { expires, .. } = &queue.role {
        arguments.insert("x-expires".into(), milliseconds(*expires));
    }
    if let Some(bytes) = queue.role.bytes_max() {
        arguments.insert("x-max-length-bytes".into(), number(bytes));
        arguments.insert("x-overflow".into(), text("drop-head"));
    }
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn milliseconds(time: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn number(number: u32) -> AMQPValue {
    AMQPValue::LongLongInt(number.into())
}
