//! The durable queue of a batch: the events that `send --from` follows, also those that come while it does not run.

use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use lapin::{Channel, Connection};

use super::connection;
use super::connection::Purpose;
use super::convert::short;
use super::declare;
use super::error::{Error, NOT_FOUND, refusal, refused};
use super::settings::Settings;
use crate::broker::topology::{Binding, Queue, Role};

/// How long a queue stays that nobody reads.
pub const OUTCOMES_EXPIRE: Duration = Duration::from_secs(24 * 3600);

/// How many bytes of events wait for a batch that does not run; then the oldest go. It rejects nothing, so no refresh waits for it.
const OUTCOMES_BYTES_MAX: u32 = 1024 * 1024 * 1024;

/// Whether the queue is there.
///
/// # Errors
///
/// As [`declare_outcomes`].
pub async fn has_outcomes(settings: &Settings, name: &str) -> Result<bool, Error> {
    let connection = connect(settings).await?;
    let found = find(&connection, &queue(name, "", &[])).await;
    connection::close(&connection).await;
    found.map_err(|error| refused(&format!("looking for queue {name:?}"), &error))
}

/// Declares the queue and binds it to an exchange.
///
/// # Errors
///
/// There is no connection, or the user may not do it.
pub async fn declare_outcomes(settings: &Settings, name: &str, exchange: &str, keys: &[&str]) -> Result<(), Error> {
    let connection = connect(settings).await?;
    let declared = declare_on(&connection, &queue(name, exchange, keys)).await;
    connection::close(&connection).await;
    declared.map_err(|error| refused(&format!("declaring queue {name:?}"), &error))
}

/// Deletes the queue. One that is not there is as good.
///
/// # Errors
///
/// As [`declare_outcomes`].
pub async fn delete_outcomes(settings: &Settings, name: &str) -> Result<(), Error> {
    let connection = connect(settings).await?;
    let deleted = async {
        let channel = connection.create_channel().await?;
        let options = QueueDeleteOptions::default();
        channel.queue_delete(short(name), options).await.map(drop)
    };
    let deleted = deleted.await;
    connection::close(&connection).await;
    deleted.map_err(|error| refused(&format!("deleting queue {name:?}"), &error))
}

async fn connect(settings: &Settings) -> Result<Connection, Error> {
    let addresses = settings.addresses()?;
    let (_, [connection]) = connection::open(&addresses, 0, settings, [Purpose::Topology]).await?;
    Ok(connection)
}

fn queue(name: &str, exchange: &str, keys: &[&str]) -> Queue {
    let binding = |key: &&str| Binding {
        exchange: exchange.to_owned(),
        key: (*key).to_owned(),
    };
    Queue {
        name: name.to_owned(),
        bindings: keys.iter().map(binding).collect(),
        role: Role::Batch {
            expires: OUTCOMES_EXPIRE,
            bytes_max: OUTCOMES_BYTES_MAX,
        },
    }
}

async fn find(connection: &Connection, queue: &Queue) -> lapin::Result<bool> {
    let channel = connection.create_channel().await?;
    match declare::declare_queue(&channel, queue, true).await {
        Ok(()) => Ok(true),
        Err(error) if matches!(refusal(&error), Some((NOT_FOUND, _))) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn declare_on(connection: &Connection, queue: &Queue) -> lapin::Result<()> {
    let channel: Channel = connection.create_channel().await?;
    declare::declare_queue(&channel, queue, false).await?;
    declare::bind(&channel, queue).await
}
