//! One generation: two connections and what runs on them, from the moment everything works until anything does not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection, Event};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::address::Addresses;
use super::connection::Purpose;
use super::consume::{ConsumerChannels, ConsumerCommand, Consuming, Mailbox};
use super::error::{self, Error};
use super::link::{Link, Shared};
use super::optional::{Starting, Unstarted};
use super::publish::Publisher;
use super::settings::Settings;
use super::status::Status;
use super::{check, connection, declare, optional};
use crate::broker::topology::Topology;
use crate::broker::{BrokerEvent, Subscription};
use crate::lease::{Lease, Moment};

/// How long declaring everything and starting to consume may take.
const SETUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the last acknowledgements may take to be sent.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// How often to check that both connections are still there, because lapin reports a loss only to those who wait for something.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// What stays the same through all generations.
pub(super) struct SessionConfig {
    pub(super) addresses: Addresses,
    pub(super) settings: Settings,
    pub(super) topology: Topology,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) shared: Arc<Shared>,
    pub(super) broker_events: mpsc::Sender<BrokerEvent>,
}

/// Who waits for the connection to be closed; None when it is closed because every handle is gone.
pub(super) type CloseRequest = Option<oneshot::Sender<()>>;

/// Requests to close it.
pub(super) type CloseRequests = mpsc::UnboundedReceiver<oneshot::Sender<()>>;

/// The longest that one answer of the broker proves anything. A broker gives a worker's deliveries to another one when it has missed two
/// heartbeats, so a lease ends well before that.
const LEASE: Duration = Duration::from_secs(5);

/// How many answers are asked for during a lease.
const RESPONSES_PER_LEASE: u32 = 4;

/// A generation that works.
pub(super) struct Session {
    /// The node's.
    address: String,
    link: Arc<Link>,
    /// Where acknowledgements go, apart from the publishing connection, which the broker may block.
    consuming: Arc<Connection>,
    consumers: Vec<(Consuming, Mailbox)>,
    /// What the broker refused and the session is of use without.
    refused: Vec<(Starting, Mailbox)>,
    /// Only to hear from the broker.
    pulse: Channel,
    pulse_interval: Duration,
    faults: mpsc::Receiver<String>,
}

/// Why a session ended.
pub(super) enum End {
    /// Something failed: everything is to be built again.
    Lost(String),
    /// It was asked to close; whoever asked is notified when it is done.
    Closed(CloseRequest),
}

impl SessionConfig {
    /// Hands a broker event over, unless it is to be closed before there is room for it. Whoever dropped the receiver does not
    /// want it.
    pub(super) async fn notify(
        &self,
        broker_event: BrokerEvent,
        close_requests: &mut CloseRequests,
    ) -> Result<(), CloseRequest> {
        tokio::select! {
            biased;
            _ = self.broker_events.send(broker_event) => Ok(()),
            close_request = close_requests.recv() => Err(close_request),
        }
    }
}

impl Session {
    /// Connects twice, to the same node, so that the loss of any other is none of ours; declares the topology and starts
    /// to consume.
    pub(super) async fn open(config: &SessionConfig, generation: u64, turn: usize) -> Result<Self, Error> {
        let settings = &config.settings;
        let purposes = [Purpose::Consumer, Purpose::Publisher];
        let (address, [consuming, publishing]) = connection::open(&config.addresses, turn, settings, purposes).await?;
        let consuming = Arc::new(consuming);
        let (fault, faults) = mpsc::channel(1);
        let (commands, mailboxes): (Vec<_>, Vec<_>) =
            config.subscriptions.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let lease_time = LEASE.min(settings.heartbeat / 2);
        let lease = Lease::new(lease_time);
        let setup = async {
            set_topology(config, &consuming).await?;
            let asked = Moment::now();
            let (consumers, refused) = start(config, &consuming, generation, mailboxes).await?;
            let pulse = consuming.create_channel().await;
            let pulse = pulse.map_err(|error| error::refused("opening a channel", &error))?;
            lease.renew(asked);
            Ok((consumers, refused, pulse))
        };
        let (consumers, refused, pulse) = match timeout(SETUP_TIMEOUT, setup).await {
            Ok(started) => started?,
            Err(_) => {
                let why = format!("the topology was not declared within {SETUP_TIMEOUT:?}");
                return Err(connection::unreachable(address, why));
            }
        };
        let link = Arc::new(Link {
            generation,
            publisher: Publisher::new(publishing, settings.confirm_timeout, fault),
            lease,
            commands,
        });
        Ok(Self {
            pulse,
            pulse_interval: lease_time / RESPONSES_PER_LEASE,
            address: address.to_string(),
            link,
            consuming,
            consumers,
            refused,
            faults,
        })
    }

    /// Runs until it is lost or closed, and leaves nothing behind.
    pub(super) async fn run(mut self, config: &SessionConfig, close_requests: &mut CloseRequests) -> End {
        let link = Arc::clone(&self.link);
        let generation = link.generation;
        let blocked = None;
        for subscription in &config.subscriptions {
            let is_it = |(refused, _): &(Starting, Mailbox)| refused.subscription.name() == subscription.name();
            let is_refused = self.refused.iter().any(is_it);
            config.shared.set_refused(subscription.name(), is_refused);
        }
        config.shared.set_link(Some(Arc::clone(&link)));
        config.shared.status.send_replace(Status::Up { generation, blocked });
        tracing::info!(address = self.address, generation, "connected to RabbitMQ");
        let mut tasks = JoinSet::new();
        let end = match config
            .notify(BrokerEvent::Connected { generation }, close_requests)
            .await
        {
            Err(close_request) => End::Closed(close_request),
            Ok(()) => {
                for (consumer, mailbox) in std::mem::take(&mut self.consumers) {
                    tasks.spawn(consumer.run(mailbox));
                }
                for (starting, mailbox) in std::mem::take(&mut self.refused) {
                    tasks.spawn(starting.keep_trying(mailbox, Arc::clone(&config.shared)));
                }
                self.watch(config, close_requests, &mut tasks).await
            }
        };
        config.shared.set_link(None);
        if let End::Closed(_) = end {
            finish(&link, &mut tasks).await;
        }
        link.publisher.end();
        tasks.shutdown().await;
        let closing = close(self.consuming, link);
        match &end {
            End::Closed(_) => closing.await,
            // Rebuilding does not wait for a connection that may not answer.
            End::Lost(_) => drop(tokio::spawn(closing)),
        }
        end
    }

    /// Waits for whatever ends the session, and follows what the broker says about blocking meanwhile.
    async fn watch(
        &mut self,
        config: &SessionConfig,
        close_requests: &mut CloseRequests,
        tasks: &mut JoinSet<Result<(), String>>,
    ) -> End {
        let link = Arc::clone(&self.link);
        let publishing = link.publisher.connection();
        let mut events = std::pin::pin!(blocking(publishing));
        let mut renewing = std::pin::pin!(renew(self.pulse.clone(), link.lease.clone(), self.pulse_interval));
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                close_request = close_requests.recv() => return End::Closed(close_request),
                Some(ended) = tasks.join_next() => return End::Lost(reason(ended)),
                Some(reason) = self.faults.recv() => return End::Lost(reason),
                reason = &mut renewing => return End::Lost(reason),
                Some(blocked) = events.next() => config.shared.set_blocked(link.generation, blocked),
                _ = check.tick() => {
                    if !self.consuming.status().connected() {
                        return End::Lost("the consuming connection was lost".to_owned());
                    }
                    if !publishing.status().connected() {
                        return End::Lost("the publishing connection was lost".to_owned());
                    }
                }
            }
        }
    }
}

async fn set_topology(config: &SessionConfig, connection: &Connection) -> Result<(), Error> {
    let topology = &config.topology;
    if config.settings.declare {
        declare::declare_on(connection, topology, |name| !topology.is_optional(name)).await?;
        optional::declare_missing(connection, (&config.addresses, &config.settings), topology).await
    } else {
        check::ensure_there(connection, topology).await
    }
}

/// What consumes, and what the broker refused that is optional.
type Started = (Vec<(Consuming, Mailbox)>, Vec<(Starting, Mailbox)>);

async fn start(
    config: &SessionConfig,
    connection: &Arc<Connection>,
    generation: u64,
    mailboxes: Vec<Mailbox>,
) -> Result<Started, Error> {
    let (mut consumers, mut refused) = (Vec::new(), Vec::new());
    let subscriptions = config.subscriptions.iter().zip(config.shared.intakes.iter());
    for (index, ((subscription, (_, intake)), mailbox)) in (0..).zip(subscriptions.zip(mailboxes)) {
        let channels = ConsumerChannels {
            broker_events: config.broker_events.clone(),
            intake: intake.subscribe(),
            status: config.shared.status.subscribe(),
        };
        let starting = Starting {
            connection: Arc::clone(connection),
            subscription: subscription.clone(),
            ids: (generation, index),
            channels,
        };
        match starting.start().await {
            Ok(consuming) => consumers.push((consuming, mailbox)),
            Err(Unstarted::Waits(error)) => {
                tracing::warn!(error, "could not consume {}; it will be tried again", starting.what());
                refused.push((starting, mailbox));
            }
            Err(Unstarted::Failed(error)) => {
                return Err(error::refused(&format!("consuming {}", starting.what()), &error));
            }
        }
    }
    Ok((consumers, refused))
}

/// Renews the lease for ever. A prefetch for no consumer changes nothing and needs no permission, but the broker answers. Ends with
/// the reason when it can't.
async fn renew(pulse: Channel, lease: Lease, every: Duration) -> String {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let asked = Moment::now();
        match pulse.basic_qos(1, BasicQosOptions { global: false }).await {
            Ok(()) => lease.renew(asked),
            Err(error) => return format!("the broker does not answer: {error}"),
        }
    }
}

/// Why the broker lets publishers wait, each time that changes; None when it does not.
fn blocking(connection: &Connection) -> impl Stream<Item = Option<String>> + use<'_> {
    connection.events_listener().filter_map(|event| {
        std::future::ready(match event {
            Event::ConnectionBlocked(reason) => Some(Some(reason)),
            Event::ConnectionUnblocked => Some(None),
            _ => None,
        })
    })
}

fn reason(ended: Result<Result<(), String>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Err(reason)) => reason,
        Ok(Ok(())) => "a consumer ended".to_owned(),
        Err(error) => format!("a consumer ended: {error}"),
    }
}

/// Has every acknowledgement sent.
async fn finish(link: &Link, tasks: &mut JoinSet<Result<(), String>>) {
    for commands in &link.commands {
        // A task that is gone has nothing to send.
        let _ = commands.send(ConsumerCommand::Finish);
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout(FINISH_TIMEOUT, all).await.is_err() {
        tracing::warn!("could not send the last acknowledgements, so some messages will be delivered again");
    }
}

async fn close(consuming: Arc<Connection>, link: Arc<Link>) {
    let publishing = link.publisher.connection();
    tokio::join!(connection::close(&consuming), connection::close(publishing));
}
