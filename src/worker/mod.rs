//! The worker: performs what the `scheduler` decides. The loop below only does I/O: it receives what the broker and the tasks report,
//! passes it on with the time, and performs the actions that follow. The fates of a delivery are in [`fate`].

mod arrival;
mod cancel;
mod context;
mod drain;
pub mod fate;
mod lanes;
mod orders;
mod others;
mod poll_planner;
mod publication;
mod report;
mod run;
mod running_tasks;
mod scheduler;
mod settings;
mod starts;
mod status;
mod subscriptions;
#[cfg(test)]
mod tests;
mod trials;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvent, BrokerEvents};
use crate::clock::Clock;
use crate::finapi::passwords::ToOthers;
use crate::finapi::{Control, FinApi, Outage, Proof};
use crate::id::UserId;
use crate::refresh::failure::Failure;
use crate::refresh::{Policy, Refresh};
use crate::telemetry::metrics::Metrics;
use context::Context;
use fate::Fate;
use orders::Reading;
pub use orders::{Counts, Paused, Pauses};
use poll_planner::PollPlanner;
pub use report::{REPORT_INTERVAL, REPORT_NAME, Report, report};
use running_tasks::RunningTasks;
use scheduler::{Action, Now, PublishEnd, Receipt, Run, RunEnd, RunId, Scheduler, Shares};
pub use settings::Settings;
use starts::Starts;
pub use status::{Handle, Held, Status, Taken, observe};
use subscriptions::destination;
pub use subscriptions::subscriptions;
use trials::Trials;
use watchdog::Watchdog;

/// The most of one kind that is taken in before runs start.
const TAKEN_IN_MAX: usize = 64;

/// How often overdue waits are evicted.
const EVICT_INTERVAL: Duration = Duration::from_secs(15);

/// Why a worker ended although nobody stopped it.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nothing will be delivered any more.
    #[error("the broker client has ended")]
    BrokerEnded,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Consumes [`subscriptions()`].
    pub broker: Broker,
    /// The client.
    pub finapi: FinApi,
    /// The topology.
    pub topology: Topology,
    /// The rules of a refresh.
    pub policy: Policy,
    /// How much it takes on.
    pub settings: Settings,
    /// The time of day.
    pub clock: Clock,
    /// Decides on jitter.
    pub seed: u64,
}

/// How a task ended.
#[derive(Debug)]
enum TaskEnd {
    Run(RunId, RunEnd),
    Publication(RunId, PublishEnd),
    Token(UserId, Result<(), Failure>),
}

/// One worker. Everything it remembers can be lost, because the broker and finAPI know it all.
#[derive(Debug)]
pub struct Worker {
    context: Arc<Context>,
    settings: Settings,
    scheduler: Scheduler,
    trials: Trials,
    started: Instant,
    tasks: JoinSet<TaskEnd>,
    /// Cancelled when the deliveries of this connection are no longer this worker's, or when it stops.
    stop_runs: CancellationToken,
    outage: watch::Receiver<Outage>,
    version: watch::Receiver<Proof>,
    /// What is to be said to other workers.
    to_others: mpsc::Receiver<ToOthers>,
    watchdog: Arc<Watchdog>,
    taken: Taken,
    reading: Reading,
    /// No command is taken, because a host is down or the version of finAPI is not proven.
    is_down: bool,
    /// Requests for the status.
    status_requests: mpsc::Receiver<oneshot::Sender<Status>>,
    handle: Handle,
}

impl Worker {
    /// A worker; nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let WorkerParts {
            broker,
            finapi,
            topology,
            policy,
            settings,
            clock,
            seed,
        } = parts;
        let (outage, version) = (finapi.watch_outage(), finapi.watch_version());
        let shares = Shares::of(&settings, finapi.calls_max());
        let subscriptions = subscriptions(&topology, &settings);
        let (handle, status_requests) = mpsc::channel(16);
        let metrics = Metrics::default();
        // What has not happened yet is zero and not unknown.
        for fate in Fate::ALL {
            metrics.fate(fate.name(), 0);
        }
        let finapi = finapi.by_clock(clock);
        let to_others = finapi.join_workers(fastrand::Rng::with_seed(seed).u64(..));
        let context = Arc::new(Context {
            broker,
            finapi,
            clock,
            planner: std::sync::Mutex::new(PollPlanner::new(policy.polling.clone())),
            running: std::sync::Mutex::new(RunningTasks::new(policy.limits.start_visible)),
            policy,
            metrics,
            destinations: subscriptions
                .iter()
                .map(|subscription| destination(&topology, subscription))
                .collect(),
            topology,
            jitter: std::sync::Mutex::new(fastrand::Rng::with_seed(seed)),
            refusals: AtomicU64::new(0),
            starts: Starts::new(fastrand::Rng::with_seed(seed).u64(..)),
            orders: std::sync::Mutex::default(),
        });
        Self {
            context,
            scheduler: Scheduler::new(settings.clone(), shares),
            trials: Trials::new(seed),
            settings,
            started: Instant::now(),
            tasks: JoinSet::new(),
            stop_runs: CancellationToken::new(),
            outage,
            version,
            to_others,
            watchdog: Arc::new(Watchdog::new(&subscriptions)),
            taken: Taken::default(),
            reading: Reading::default(),
            is_down: true,
            status_requests,
            handle: Handle(handle),
        }
    }

    /// What to ask this worker's status by.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Works until `stop` completes, then parks or requeues everything that it has in flight.
    ///
    /// # Errors
    ///
    /// The broker client ended by itself.
    pub async fn run(
        mut self,
        mut broker_events: BrokerEvents,
        stop: impl Future<Output = ()>,
    ) -> Result<(), WorkerError> {
        tokio::pin!(stop);
        let context = Arc::clone(&self.context);
        let mut companions = JoinSet::new();
        companions.spawn(async move { context.finapi.keep_time().await });
        let context = Arc::clone(&self.context);
        companions.spawn(async move { context.finapi.keep_version().await });
        let to_others = std::mem::replace(&mut self.to_others, mpsc::channel(1).1);
        companions.spawn(Arc::clone(&self.context).say(to_others));
        companions.spawn(Arc::clone(&self.watchdog).watch(self.context.broker.clone()));
        let mut evict = tokio::time::interval(EVICT_INTERVAL);
        evict.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.set_trials_prefetch();
        loop {
            let due = self.scheduler.next_due().map(|due| self.started + due);
            let trial = self.trials.next_due().map(|due| self.started + due);
            let ordered = self.reading.due().map(|due| self.started + due);
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(Ok(end)) = self.tasks.join_next() => self.on_task_end(end),
                () = sleep_until(due) => self.scheduler.on_due(self.now()),
                () = sleep_until(trial) => self.begin_trials(),
                () = sleep_until(ordered) => self.on_orders_due(),
                broker_event = broker_events.recv() => match broker_event {
                    Some(broker_event) => self.on_broker_event(broker_event),
                    None => return Err(WorkerError::BrokerEnded),
                },
                Ok(()) = self.outage.changed() => self.on_outage(),
                Ok(()) = self.version.changed() => self.on_outage(),
                Some(request) = self.status_requests.recv() => drop(request.send(self.status())),
                _ = evict.tick() => {
                    self.scheduler.evict_overdue(self.now());
                    self.forget_orders();
                }
            }
            self.take_in_more(&mut broker_events);
            self.perform_all();
        }
        self.drain(broker_events).await;
        Ok(())
    }

    /// Takes in what else has happened by now, so that the runs that start next are the most urgent of all that is known: under load a
    /// task has always ended, and an interactive command waits behind thousands of others.
    fn take_in_more(&mut self, broker_events: &mut BrokerEvents) {
        for _ in 0..TAKEN_IN_MAX {
            let Some(Ok(end)) = self.tasks.try_join_next() else {
                break;
            };
            self.on_task_end(end);
        }
        for _ in 0..TAKEN_IN_MAX {
            let Ok(broker_event) = broker_events.try_recv() else {
                break;
            };
            self.on_broker_event(broker_event);
        }
    }

    fn now(&self) -> Now {
        Now {
            since_start: self.started.elapsed(),
            time: self.context.clock.now(),
        }
    }

    fn on_task_end(&mut self, end: TaskEnd) {
        let now = self.now();
        match end {
            TaskEnd::Run(id, end) => self.scheduler.on_run_end(id, end, now),
            TaskEnd::Publication(id, end) => self.scheduler.on_publish_end(id, end, now),
            TaskEnd::Token(user_id, fetched) => self.scheduler.on_token(&user_id, fetched, now),
        }
    }

    fn on_broker_event(&mut self, broker_event: BrokerEvent) {
        match broker_event {
            BrokerEvent::Connected { generation } => {
                self.stop_runs = CancellationToken::new();
                self.scheduler.on_connected(generation, self.now());
                self.watchdog.connected();
                let listens = self.context.broker.consumes(&self.context.topology.wake());
                self.context.starts.listen(listens.then(|| self.now().time));
                self.read_orders(self.now());
                self.on_outage();
            }
            BrokerEvent::CaughtUp { .. } => self.on_caught_up(),
            BrokerEvent::Disconnected { reason, .. } => self.on_disconnected(&reason),
            BrokerEvent::Delivery(delivery) => self.on_delivery(delivery),
        }
    }

    fn on_disconnected(&mut self, reason: &str) {
        self.context.metrics.connection_lost();
        tracing::warn!(reason, "lost the connection to the broker");
        self.stop_runs.cancel();
        self.context.starts.listen(None);
        self.scheduler.on_disconnected();
        let untried = self.trials.take().count();
        self.set_trials_prefetch();
        self.context.metrics.fate(Fate::Abandoned.name(), untried);
    }

    /// Performs everything that the last input led to, then starts runs as long as there are permits.
    fn perform_all(&mut self) {
        self.end_cancelled_waiting();
        self.perform_actions();
        let now = self.now();
        // Before it knows what is paused, nothing runs.
        while self.reading.has_begun()
            && let Some(permit) = self.context.finapi.try_permit()
        {
            let context = &self.context;
            let has_token =
                |refresh: &Refresh| context.finapi.has_token(refresh) || context.ends_without_token(refresh);
            let paused = |refresh: &Refresh| context.paused(refresh, now.time);
            let Some(run) = self.scheduler.next_run(has_token, paused, now) else {
                break;
            };
            self.start(run, permit);
        }
        self.perform_actions();
    }

    fn perform_actions(&mut self) {
        while let Some(action) = self.scheduler.next_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Publish(id, tag, publication) => {
                let context = Arc::clone(&self.context);
                let span = publication.span();
                let publish = async move { TaskEnd::Publication(id, context.publish(tag, publication).await) };
                self.tasks.spawn(publish.instrument(span));
            }
            Action::FetchToken(user_id) => {
                let context = Arc::clone(&self.context);
                self.tasks.spawn(async move {
                    let fetched = context.fetch_token(&user_id).await;
                    TaskEnd::Token(user_id, fetched)
                });
            }
            Action::Acknowledge(receipt) => self.acknowledge(receipt),
            Action::ReportDuplicate(refresh) => {
                context::span(&refresh).in_scope(|| tracing::debug!("dropped a duplicate of a refresh in flight"));
                self.context.report(Fate::Duplicate);
            }
            Action::ReportHeld => self.context.report(Fate::Held),
            Action::PauseQuarantine(paused) => self.pause(&self.context.topology.quarantine(), paused),
            Action::ReportAbandoned(count) => self.context.metrics.fate(Fate::Abandoned.name(), count),
        }
    }

    fn start(&mut self, run: Run, permit: crate::finapi::Permit) {
        let control = Control {
            stop: self.stop_runs.clone(),
            lease: self.context.broker.lease(run.tag),
            renewals: run.renewals,
            room: self.context.finapi.room(&run.refresh),
        };
        let (id, span) = (run.id, context::span(&run.refresh));
        // Some kilobytes, which would be copied again and again on their way into a task.
        let running = Box::pin(Arc::clone(&self.context).run(run, control, permit));
        self.tasks
            .spawn(async move { TaskEnd::Run(id, running.await) }.instrument(span));
    }

    fn acknowledge(&mut self, receipt: Receipt) {
        let tag = receipt.into_tag();
        self.watchdog.acknowledged(tag.subscription);
        self.context.broker.ack(tag);
        self.trials.on_acknowledge(tag);
        self.begin_trials();
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
