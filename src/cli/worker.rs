//! `bankrefresh worker`

use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Ended;
use crate::admin;
use crate::broker::topology::Topology;
use crate::broker::{Broker, rabbit};
use crate::callbacks;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::finapi::FinApi;
use crate::finapi::transport::Transport;
use crate::telemetry::{self, logs, metrics, traces};
use crate::worker::{Worker, subscriptions};

pub(super) async fn run(config: Config) -> Ended {
    // First of all: a signal that comes early is to end it as well as any.
    let mut stops = stops()?;
    logs::start(&config.telemetry)?;
    let tracing = traces::start(&config.telemetry)?;
    let (registry, metering) = metrics::start(&config.telemetry)?;
    let policy = config.policy();
    let settings = config.finapi.ok_or_else(|| {
        ConfigError::Setting(
            "finapi.access_url, finapi.web_form_url, finapi.client_id and finapi.client_secret are required".to_owned(),
        )
    })?;
    let transport = Transport::http(settings.connect_timeout, settings.http2)?;
    let finapi = FinApi::new(
        transport,
        settings,
        config.credentials,
        config.breaker,
        config.callbacks.signer(),
    );
    let topology = Topology::new(&config.amqp.prefix);
    let (rabbit, notices) = rabbit::connect(
        super::rabbit_settings(&config.amqp, "worker"),
        topology.clone(),
        subscriptions(&topology, &config.worker),
    )?;
    let broker = Broker::Rabbit(rabbit);
    if let Some(address) = config.callbacks.listen {
        let listener = TcpListener::bind(address).await?;
        let (broker, topology) = (broker.clone(), topology.clone());
        tokio::spawn(
            async move { callbacks::serve(&config.callbacks, listener, broker, topology, Clock::System).await },
        );
    }
    let worker = Worker::new(
        broker.clone(),
        finapi,
        topology,
        policy,
        config.worker,
        Clock::System,
        fastrand::u64(..),
    );
    tokio::spawn(telemetry::observe(worker.handle()));
    if let Some(address) = config.admin.listen {
        let listener = TcpListener::bind(address).await?;
        tokio::spawn(admin::serve(listener, worker.handle(), broker, registry));
    }
    worker
        .run(notices, async move {
            stops.recv().await;
            // Everything unacknowledged goes back to its queue, so stopping at once loses nothing either.
            tokio::spawn(async move {
                stops.recv().await;
                std::process::exit(1);
            });
        })
        .await;
    telemetry::end(tracing, metering).await;
    Ok(ExitCode::SUCCESS)
}

/// Receives each SIGTERM and SIGINT.
fn stops() -> std::io::Result<mpsc::Receiver<()>> {
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
