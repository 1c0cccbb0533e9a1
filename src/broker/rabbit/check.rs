//! Comparing the topology with what is there.

use lapin::Connection;

use super::connection;
use super::connection::Purpose;
use super::declare::{declare_exchange, declare_queue};
use super::error::{ACCESS_REFUSED, Difference, Error, NOT_FOUND, PRECONDITION_FAILED, refusal, refused};
use super::settings::Settings;
use crate::broker::topology::{Exchange, Queue, Topology};

/// Compares the broker's exchanges and queues with the topology and changes nothing. Bindings can't be read over AMQP
/// and are not compared.
///
/// # Errors
///
/// There is no connection.
pub async fn check(settings: &Settings, topology: &Topology) -> Result<Vec<Difference>, Error> {
    let addresses = settings.addresses()?;
    let (_, [connection]) = connection::open(&addresses, 0, settings, [Purpose::Topology]).await?;
    let outcome = compare(&connection, topology, Depth::Arguments, |_| true).await;
    connection::close(&connection).await;
    outcome
}

/// Whether everything that a worker needs is there, where nothing is to be declared. What the user may not look at is taken to be.
pub(super) async fn ensure_there(connection: &Connection, topology: &Topology) -> Result<(), Error> {
    let mut missing = compare(connection, topology, Depth::Names, |name| !topology.is_optional(name)).await?;
    missing.retain(|difference| !matches!(difference, Difference::Forbidden { .. }));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Missing(missing))
}

/// Whether what a worker is of use without is there, as far as the user may look.
pub(super) async fn is_optional_there(connection: &Connection, topology: &Topology) -> Result<bool, Error> {
    for queue in topology
        .queues()
        .into_iter()
        .filter(|it| topology.is_optional(&it.name))
    {
        if let Some(Difference::MissingQueue { .. }) = compare_queue(connection, queue, Depth::Names).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How closely to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// That it is there.
    Names,
    /// That its arguments are right, too.
    Arguments,
}

/// Everything in which the broker differs from the topology, among the exchanges and queues of these names.
pub(super) async fn compare(
    connection: &Connection,
    topology: &Topology,
    depth: Depth,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    for exchange in topology.exchanges().into_iter().filter(|it| is_wanted(&it.name)) {
        differences.extend(compare_exchange(connection, exchange, depth).await?);
    }
    for queue in topology.queues().into_iter().filter(|it| is_wanted(&it.name)) {
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
        _ => Err(refused(&format!("inspecting exchange {name:?}"), &error)),
    }
}

/// As [`compare_exchange`].
pub(super) async fn compare_queue(
    connection: &Connection,
    queue: Queue,
    depth: Depth,
) -> Result<Option<Difference>, Error> {
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
        _ => Err(refused(&format!("inspecting queue {name:?}"), &error)),
    }
}
