//! Connections to RabbitMQ, and why one could not be made, in words for an operator.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_rs::TokioRuntime;
use futures_util::future::try_join_all;
use lapin::protocol::AMQPError;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, RustlsConnector};
use lapin::uri::AMQPScheme;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::address::{Address, Addresses};
use super::error::{ACCESS_REFUSED, Error, NOT_ALLOWED};
use super::filtered::{self, Filtered, Greeting};
use super::frames::Filter;
use super::settings::Settings;
use super::tls;

/// How long a connection may take to say goodbye before it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the broker's management shows as the product.
const PRODUCT: &str = concat!("bankrefresh ", env!("CARGO_PKG_VERSION"));

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To consume and acknowledge.
    Consumer,
    /// To publish.
    Publisher,
    /// To declare exchanges and queues.
    Topology,
}

impl Purpose {
    /// Its name in the broker's management.
    fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Publisher => "publisher",
            Self::Topology => "topology",
        }
    }

    /// The most bytes of a frame; none leaves that to the broker. lapin goes round in two buffers of 32 frames: 8 MiB with RabbitMQ's
    /// 128 KiB. What is published here needs less, for its headers are bounded (`outgoing::HEADERS_MAX`) and bodies are cut. What others
    /// publish may have headers of nearly a frame of the broker's size, and a consumer must take it.
    fn frame_max(self) -> Option<u32> {
        match self {
            Self::Publisher => Some(32 * 1024),
            Self::Consumer | Self::Topology => None,
        }
    }
}

/// Opens a connection for each purpose, all to the first address that takes them, beginning with the one whose turn it is.
///
/// # Errors
///
/// No address takes them all.
pub(super) async fn open<'a, const N: usize>(
    addresses: &'a Addresses,
    turn: usize,
    settings: &Settings,
    purposes: [Purpose; N],
) -> Result<(&'a Address, [Connection; N]), Error> {
    let mut failures = Vec::new();
    for address in addresses.in_turn(turn) {
        let connecting = purposes.map(|purpose| open_one(address, settings, purpose, None));
        match try_join_all(connecting).await.map(<[Connection; N]>::try_from) {
            Ok(Ok(connections)) => return Ok((address, connections)),
            Ok(Err(_)) => unreachable!("there are as many connections as purposes"),
            Err(failure) => failures.push(failure),
        }
    }
    // Whichever was first, the same failures read the same.
    failures.sort_by_key(ToString::to_string);
    Err(match failures.pop() {
        Some(only) if failures.is_empty() => only,
        last => Error::Nowhere(failures.into_iter().chain(last).collect()),
    })
}

/// As [`open`], for one connection, with what the broker said first.
pub(super) async fn open_and_greet<'a>(
    addresses: &'a Addresses,
    settings: &Settings,
) -> Result<(&'a Address, Connection, Vec<u8>), Error> {
    let mut failures = Vec::new();
    for address in addresses.in_turn(0) {
        let greeting = Greeting::default();
        match open_one(address, settings, Purpose::Topology, Some(Arc::clone(&greeting))).await {
            Ok(connection) => return Ok((address, connection, greeting.get().cloned().unwrap_or_default())),
            Err(failure) => failures.push(failure),
        }
    }
    Err(match failures.pop() {
        Some(only) if failures.is_empty() => only,
        last => Error::Nowhere(failures.into_iter().chain(last).collect()),
    })
}

/// With what the files of TLS hold now. Where those are of no use or the broker refuses them, with what the last connection had.
async fn open_one(
    address: &Address,
    settings: &Settings,
    purpose: Purpose,
    greeting: Option<Greeting>,
) -> Result<Connection, Error> {
    if !address.is_tls() {
        return connect(address, settings, purpose, greeting, None).await;
    }
    let error = match settings.tls().connector() {
        Ok(new) => match connect(address, settings, purpose, greeting.clone(), Some(&new)).await {
            Ok(connection) => {
                settings.last_tls.set(&new);
                return Ok(connection);
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    let Some(last) = settings.last_tls.get() else {
        return Err(error);
    };
    let connection = connect(address, settings, purpose, greeting, Some(&last)).await;
    // Where the broker can't be reached at all, the files are not at fault.
    let connection = connection.map_err(|_| error.clone())?;
    settings.last_tls.keep();
    tracing::warn!(%error, "the files of TLS can't be used, so the connection was made with those before");
    Ok(connection)
}

/// Its recovery is off: what follows from a loss is decided in one place, the supervisor.
async fn connect(
    address: &Address,
    settings: &Settings,
    purpose: Purpose,
    greeting: Option<Greeting>,
    tls: Option<&RustlsConnector>,
) -> Result<Connection, Error> {
    let tls = tls.cloned();
    let uri = address.uri(settings.heartbeat, purpose.frame_max());
    let (frame_max, body_max) = (uri.query.frame_max, settings.body_max);
    let host = address.host().to_owned();
    let name = format!("{} ({})", settings.connection_name, purpose.name());
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), PRODUCT.into());
    let sockets = TokioRuntime::tokio_current();
    let limit = settings.connect_timeout;
    // Bounded on the inside as well, so that the thread that connects ends with it.
    let connecting = Connection::connector(
        uri,
        filtered::runtime(),
        async move |mut uri, _| {
            // lapin's own TLS would trust the system's CAs beside ours.
            uri.scheme = AMQPScheme::AMQP;
            let stream = async {
                let plain = uri.connect_async(&sockets).await?;
                match &tls {
                    Some(connector) => plain.into_rustls(connector, &host).await,
                    None => Ok(plain),
                }
            };
            match timeout(limit, stream).await {
                Ok(stream) => {
                    let filtered = Filtered::new(stream?, Filter::new(frame_max, body_max));
                    let filtered = filtered.with_greeting(greeting.clone());
                    Ok(AsyncTcpStream::Plain(filtered))
                }
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        },
        properties,
    );
    match timeout(limit, connecting).await {
        Ok(connection) => connection.map_err(|error| failure(address, &error)),
        Err(_) => {
            let why = "is this the AMQP port, and does a firewall stand in between?";
            Err(unreachable(address, format!("it did not answer in {limit:?}; {why}")))
        }
    }
}

/// Closes a connection, and with it its channels. One that does not answer is left to its heartbeat.
pub(super) async fn close(connection: &Connection) {
    if connection.status().connected() {
        let closing = connection.close(200, "OK".into());
        // A failure says that it is gone already.
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// Why connecting failed, for an operator.
fn failure(address: &Address, error: &lapin::Error) -> Error {
    let why = match error.kind() {
        ErrorKind::ProtocolError(refusal) => explain(address, refusal),
        ErrorKind::IOError(io) => match tls::explain(io, address.host()) {
            Some(why) => why,
            None if is_cut(io) && address.is_tls() => format!("{io}; {}", tls::CUT),
            None if is_cut(io) => format!("{io}; {NO_AMQP}"),
            None => format!("{io}; is it running, and is amqp.url right?"),
        },
        ErrorKind::ParsingError(_) => format!("it does not speak AMQP; {NO_AMQP}"),
        _ => error.to_string(),
    };
    unreachable(address, why)
}

pub(super) fn unreachable(address: &Address, why: String) -> Error {
    let address = address.to_string();
    Error::Connect { address, why }
}

fn explain(address: &Address, refusal: &AMQPError) -> String {
    let (user, vhost) = (address.user(), address.vhost());
    let said = refusal.get_message();
    match refusal.get_id() {
        ACCESS_REFUSED => {
            format!("it refused user {user:?}; check user and password in amqp.url ({said})")
        }
        NOT_ALLOWED => format!(
            "it does not let user {user:?} use the virtual host {vhost:?}; check the path of amqp.url, where the \
             default one is /%2f ({said})"
        ),
        _ => said.to_string(),
    }
}

/// What to look at when whatever listens there makes nothing of AMQP.
const NO_AMQP: &str = "are scheme and port in amqp.url right? A port for TLS wants amqps";

/// Whether there was a connection before it failed.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}
