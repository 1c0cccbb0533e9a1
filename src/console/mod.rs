//! The console: a web page on what workers do, made from the events and statuses that pass by while it runs. Nothing else may be in here.

mod event;
mod feed;
mod guard;
mod letters;
mod memory;
mod pages;
mod pauses;
mod server;
mod settings;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvents, Subscription, rabbit};
use crate::plain::plain;
use crate::refresh::order::Order;
use crate::telemetry::metrics::ConsoleMetrics;
use letters::Letters;
use memory::Memory;
use pauses::Pauses;
pub use settings::{NotSafe, Settings};

/// How long an order may take to come back from the broker before a page is shown without it.
const SHOWN_MAX: Duration = Duration::from_secs(2);

/// What a console consumes. It can do without statuses and orders: a broker may have none, or not let it read them.
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
        Subscription::Stream {
            name: topology.control(),
        },
    ]
}

/// What a console is made of.
#[derive(Debug)]
pub struct Console {
    /// How it is served.
    pub settings: Settings,
    /// What consumes [`subscriptions`].
    pub broker: Broker,
    /// What they bring.
    pub broker_events: BrokerEvents,
    /// Names what they come from.
    pub topology: Topology,
    /// By which visitors act; none where there is no RabbitMQ.
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
        let rabbit = self.rabbit.as_ref().filter(|_| self.settings.actions);
        let actions = rabbit.map(|settings| Actions {
            letters: Arc::new(Letters::new(settings, self.topology.clone())),
            pauses: Pauses::new(settings, self.topology.clone()),
        });
        let feed = feed::run(Arc::clone(&shared), self.broker, self.broker_events, self.topology);
        tokio::spawn(feed);
        let site = server::Site::new(self.settings, shared, actions, self.registry);
        match server::serve(listener, site).await {}
    }
}

/// What a visitor can do.
#[derive(Debug)]
struct Actions {
    letters: Arc<Letters>,
    pauses: Pauses,
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

    /// Waits until an order that was given shows, for a short time.
    async fn until_shown(&self, order: &Order) {
        let mut changed = self.changed.subscribe();
        let shown =
            async { while !self.memory().orders.shows(order, Timestamp::now()) && changed.changed().await.is_ok() {} };
        // The page shows what there is.
        let _ = timeout(SHOWN_MAX, shown).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let changed = change(&mut self.memory());
        self.changed.send_modify(|version| *version += 1);
        changed
    }
}

/// An error with its causes, in one plain line.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    plain(&text).into_owned()
}
