//! The console: a web page on what workers do, made from the events and statuses that pass by while it runs. Nothing else may be in here.

mod event;
mod feed;
mod guard;
mod letters;
mod memory;
mod pages;
mod server;
mod settings;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::broker::topology::Topology;
use crate::broker::{BrokerEvents, Subscription, rabbit};
use crate::telemetry::metrics::ConsoleMetrics;
use letters::Letters;
use memory::Memory;
pub use settings::{NotSafe, Settings};

/// What a console consumes. It can do without the statuses: a broker of an older release has no exchange for them.
#[must_use]
pub fn subscriptions(topology: &Topology) -> Vec<Subscription> {
    let ephemeral = |exchange, key: &str, optional| Subscription::Ephemeral {
        exchange,
        keys: vec![key.to_owned()],
        optional,
    };
    vec![
        ephemeral(topology.events(), "#", false),
        ephemeral(topology.status(), "", true),
    ]
}

/// What a console is made of.
#[derive(Debug)]
pub struct Console {
    /// How it is served.
    pub settings: Settings,
    /// What [`subscriptions`] bring.
    pub broker_events: BrokerEvents,
    /// Names what they come from.
    pub topology: Topology,
    /// By which the dead letters are reached; none where there is no RabbitMQ.
    pub rabbit: Option<rabbit::Settings>,
    /// What `/metrics` shows, if there is such a page.
    pub registry: Option<Registry>,
}

impl Console {
    /// Serves the console until the process ends.
    ///
    /// # Errors
    ///
    /// The address is not safe to listen at without a password.
    pub async fn serve(self, listener: TcpListener) -> Result<(), NotSafe> {
        let address = listener
            .local_addr()
            .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        self.settings.check(address)?;
        let shared = Arc::new(Shared::new(&self.settings));
        let letters = self.rabbit.as_ref().filter(|_| self.settings.actions);
        let letters = letters.map(|settings| Arc::new(Letters::new(settings, self.topology.clone())));
        tokio::spawn(feed::run(Arc::clone(&shared), self.broker_events, self.topology));
        let site = server::Site::new(self.settings, shared, letters, self.registry);
        match server::serve(listener, site).await {}
    }
}

/// What the feed writes and the pages read.
#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    /// Grows with each change.
    changed: watch::Sender<u64>,
    metrics: ConsoleMetrics,
}

impl Shared {
    fn new(settings: &Settings) -> Self {
        Self {
            memory: Mutex::new(Memory::new(settings.refreshes_max)),
            changed: watch::Sender::new(0),
            metrics: ConsoleMetrics::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let changed = change(&mut self.memory());
        self.changed.send_modify(|version| *version += 1);
        changed
    }
}
