//! One connection to RabbitMQ.

use std::io;
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::{Connection, ConnectionProperties};
use tokio::time::timeout;

use super::Settings;
use super::address::{Address, Error};

/// How long a connection may take to say goodbye before it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the broker's management shows as the product.
const PRODUCT: &str = concat!("bankrefresh ", env!("CARGO_PKG_VERSION"));

/// Opens a connection. Its recovery is off: what follows from a loss is decided in one place, the supervisor.
pub(super) async fn open(address: &Address, settings: &Settings, purpose: &str) -> Result<Connection, Error> {
    let uri = address.uri(settings.heartbeat);
    let name = format!("{} ({purpose})", settings.connection_name);
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), PRODUCT.into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| address.failure(&error))?;
    let limit = settings.connect_timeout;
    let tls = OwnedTLSConfig::default();
    // Bounded on the inside as well, so that the thread that connects ends with it.
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let stream = uri.connect_with_config_async(tls.as_ref(), &runtime);
            match timeout(limit, stream).await {
                Ok(stream) => stream.map_err(Into::into),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        },
        properties,
    );
    match timeout(limit, connecting).await {
        Ok(connection) => connection.map_err(|error| address.failure(&error)),
        Err(_) => Err(address.unreachable(format!(
            "it did not answer in {limit:?}; is this the AMQP port, and does a firewall stand in between?"
        ))),
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
