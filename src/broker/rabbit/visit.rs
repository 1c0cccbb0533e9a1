//! A visit that changes nothing: what the broker is, what the worker's user may do, and whether the topology is there.
//!
//! Rights are tried with requests that RabbitMQ refuses in any case, after it has looked at the rights: a message with another user's id
//! and an expiration that is no number, and a consumer whose priority is a text.

use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection};

use super::check::{self, Depth};
use super::connection;
use super::consume::declare_ephemeral;
use super::convert::short;
use super::definitions::{worker_publishes, worker_reads};
use super::error::{ACCESS_REFUSED, Difference, Error, refusal, refused};
use super::settings::Settings;
use crate::broker::topology::Topology;

/// What a visit found.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Host and port.
    pub address: String,
    /// The user of `amqp.url`.
    pub user: String,
    /// Its virtual host.
    pub vhost: String,
    /// Whether the connection has TLS.
    pub is_tls: bool,
    /// Whether everybody on the way can read the password and the messages.
    pub is_open: bool,
    /// RabbitMQ's version, if it says so.
    pub version: Option<String>,
    /// What a worker does and this user may not do, in words.
    pub forbidden: Vec<String>,
    /// What is missing, differs or cannot be inspected.
    pub differences: Vec<Difference>,
}

/// Visits the broker as a worker.
///
/// # Errors
///
/// There is no connection.
pub async fn visit(settings: &Settings, topology: &Topology) -> Result<Visit, Error> {
    let addresses = settings.addresses()?;
    let (address, connection, greeting) = connection::open_and_greet(&addresses, settings).await?;
    let outcome = async {
        Ok(Visit {
            address: address.to_string(),
            user: address.user().to_owned(),
            vhost: address.vhost().to_owned(),
            is_tls: address.is_tls(),
            is_open: address.is_open(),
            version: version(&greeting),
            forbidden: forbidden(&connection, topology).await?,
            differences: check::compare(&connection, topology, Depth::Arguments, |_| true).await?,
        })
    };
    let outcome = outcome.await;
    connection::close(&connection).await;
    outcome
}

async fn forbidden(connection: &Connection, topology: &Topology) -> Result<Vec<String>, Error> {
    let mut forbidden = Vec::new();
    for exchange in worker_publishes(topology) {
        if is_forbidden(connection, async |channel| publish(channel, &exchange).await).await? {
            forbidden.push(format!("write to exchange {exchange:?}"));
        }
    }
    let queues: Vec<String> = topology.queues().into_iter().map(|queue| queue.name).collect();
    for queue in worker_reads(topology).into_iter().filter(|name| queues.contains(name)) {
        if is_forbidden(connection, async |channel| consume(channel, &queue).await).await? {
            forbidden.push(format!("read from queue {queue:?}"));
        }
    }
    let wake = topology.wake();
    let ephemeral = async |channel: &Channel| {
        declare_ephemeral(channel, &wake, &["doctor".to_owned()])
            .await
            .map(drop)
    };
    if is_forbidden(connection, ephemeral).await? {
        forbidden.push(format!("have a queue of its own at exchange {wake:?}"));
    }
    Ok(forbidden)
}

/// Whether the broker refuses something for lack of a right. Any other refusal comes after that, and is as good as leave.
async fn is_forbidden(
    connection: &Connection,
    act: impl AsyncFn(&Channel) -> lapin::Result<()>,
) -> Result<bool, Error> {
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| refused("a channel", &error))?;
    let Err(error) = act(&channel).await else {
        // Closing it takes an exclusive queue with the connection, at the latest.
        let _ = channel.close(200, short("done")).await;
        return Ok(false);
    };
    match refusal(&error) {
        Some((code, _)) => Ok(code == ACCESS_REFUSED),
        None => Err(refused("asking what the user may do", &error)),
    }
}

async fn publish(channel: &Channel, exchange: &str) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default()
        .with_user_id(short("nobody, by bankrefresh doctor"))
        .with_expiration(short("never"));
    let options = BasicPublishOptions::default();
    let written = channel.basic_publish(short(exchange), short("doctor"), options, b"", properties);
    written.await?.await.map(drop)
}

async fn consume(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongString("none".into()));
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(short(queue), short(""), options, arguments);
    consumer.await.map(drop)
}

/// The `version` among the properties of `connection.start`: a short text, the type of a long text, its length and the text.
fn version(greeting: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\x07versionS";
    let at = greeting.windows(NAME.len()).position(|bytes| bytes == NAME)? + NAME.len();
    let length = u32::from_be_bytes(greeting.get(at..at + 4)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length <= 64)?;
    let text = std::str::from_utf8(greeting.get(at + 4..at + 4 + length)?).ok()?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_and_nothing_else_is_taken_for_one() {
        let greeting = b"\x01\0\0...\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8\xce";
        assert_eq!(version(greeting).as_deref(), Some("3.10.8"));
        for odd in [
            &b""[..],
            b"\x07versionS",
            b"\x07versionS\0\0\0\x06 3.1",
            b"\x07versionS\xff\xff\xff\xff3",
        ] {
            assert_eq!(version(odd), None);
        }
    }
}
