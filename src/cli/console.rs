//! `bankrefresh console`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;

use super::rotation::Rotation;
use super::{Ended, reachable};
use crate::broker::topology::Topology;
use crate::broker::{Broker, rabbit};
use crate::config::Config;
use crate::console::{Console, subscriptions};
use crate::limits::EVENT_BYTES_MAX;
use crate::telemetry::metrics;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Where to listen [default: console.listen]. An address beyond loopback needs console.password or a proxy's header
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(args: Args, file: Option<PathBuf>, config: Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let address = args.listen.unwrap_or(config.console.listen);
    // Before anybody can connect.
    config.console.check(address)?;
    let listener = TcpListener::bind(address).await?;
    // Metrics end with it.
    let (registry, _metering) = metrics::start(&config.telemetry)?;
    tokio::spawn(Rotation::new(file, &config, None).run());
    let topology = Topology::new(&config.amqp.prefix);
    let amqp = rabbit::Settings {
        body_max: EVENT_BYTES_MAX,
        ..config.amqp.named("console")
    };
    let (rabbit, broker_events) = rabbit::connect(amqp.clone(), topology.clone(), subscriptions(&topology))?;
    println!("The console is at http://{}", reachable(listener.local_addr()?));
    let console = Console {
        settings: config.console,
        broker: Broker::Rabbit(rabbit),
        broker_events,
        topology,
        rabbit: Some(amqp),
        registry: Some(registry),
    };
    console.serve(listener).await?;
    Ok(ExitCode::SUCCESS)
}
