//! `bankrefresh worker`

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Ended;
use super::rotation::Rotation;
use crate::admin;
use crate::broker::topology::Topology;
use crate::broker::{Broker, rabbit};
use crate::callbacks;
use crate::clock::Clock;
use crate::config::WithFinApi;
use crate::finapi::FinApi;
use crate::finapi::transport::Transport;
use crate::limits::BODY_BYTES_MAX;
use crate::telemetry::{self, logs, metrics, traces};
use crate::worker::{self, Worker, WorkerParts, subscriptions};

pub(super) async fn run(file: Option<PathBuf>, config: WithFinApi) -> Ended {
    // First of all: a signal that comes early is to end it as well as any.
    let mut stops = stops()?;
    logs::start(&config.telemetry);
    let tracing = traces::start(&config.telemetry)?;
    let (registry, metering) = metrics::start(&config.telemetry)?;
    let policy = config.policy();
    let rotation = Rotation::new(file, &config, Some(&config.finapi.client_secret));
    let transport = Transport::http(
        config.finapi.connect_timeout,
        config.finapi.http2,
        config.finapi.use_proxy,
    )?;
    let finapi = FinApi::new(
        transport,
        config.finapi,
        config.credentials,
        config.breaker,
        config.callbacks.signer(),
    );
    tokio::spawn(rotation.with_offers(finapi.client_secret_offers()).run());
    let topology = Topology::new(&config.amqp.prefix);
    let amqp = rabbit::Settings {
        body_max: BODY_BYTES_MAX,
        ..config.amqp.named("worker")
    };
    let (rabbit, broker_events) = rabbit::connect(amqp, topology.clone(), subscriptions(&topology, &config.worker))?;
    let broker = Broker::Rabbit(rabbit);
    if let Some(address) = config.callbacks.listen {
        let listener = TcpListener::bind(address).await?;
        let (broker, topology) = (broker.clone(), topology.clone());
        tokio::spawn(
            async move { callbacks::serve(&config.callbacks, listener, broker, topology, Clock::System).await },
        );
    }
    let worker = Worker::new(WorkerParts {
        broker: broker.clone(),
        finapi,
        topology: topology.clone(),
        policy,
        settings: config.worker,
        clock: Clock::System,
        seed: fastrand::u64(..),
    });
    tokio::spawn(worker::observe(worker.handle()));
    tokio::spawn(worker::report(worker.handle(), broker.clone(), topology));
    if let Some(address) = config.admin.listen {
        let listener = TcpListener::bind(address).await?;
        let handle = worker.handle();
        tokio::spawn(admin::serve(listener, handle, broker, registry));
    }
    let ended = worker
        .run(broker_events, async move {
            stops.recv().await;
            // Everything unacknowledged goes back to its queue, so stopping at once loses nothing either.
            tokio::spawn(async move {
                stops.recv().await;
                std::process::exit(1);
            });
        })
        .await;
    telemetry::end(tracing, metering).await;
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Receives each SIGTERM and SIGINT.
pub(super) fn stops() -> std::io::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stops) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(stops)
}
