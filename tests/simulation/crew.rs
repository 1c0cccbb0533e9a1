//! The workers: started, killed, stopped and started again.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use bankrefresh::broker::Broker;
use bankrefresh::broker::memory::{Client, Server};
use bankrefresh::broker::topology::Topology;
use bankrefresh::callbacks;
use bankrefresh::clock::Clock;
use bankrefresh::finapi::credentials::Credentials;
use bankrefresh::finapi::transport::Transport;
use bankrefresh::finapi::{self, FinApi};
use bankrefresh::random::stream;
use bankrefresh::setting::HttpUrl;
use bankrefresh::worker::{Handle, Worker, WorkerError, WorkerParts, subscriptions};
use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower::ServiceExt as _;

use crate::commands::KILLER;
use crate::line::Line;
use crate::platform::CLIENT_SECRET;
use crate::scenario::Scenario;
use crate::world::Sample;

/// The workers of a run.
pub(crate) struct Crew<'a> {
    scenario: &'a Scenario,
    server: Server,
    line: Arc<Line>,
    topology: Topology,
    clock: Clock,
    callbacks: callbacks::Settings,
    slots: Vec<Option<Running>>,
    /// Published to stop and not done yet.
    leaving: Vec<Running>,
    lives: u64,
    /// How often the worker of each slot was started.
    starts: Vec<u64>,
    /// Published of every life that is to end of the message that kills workers.
    deaths: UnboundedSender<u64>,
}

struct Running {
    /// The broker's number for it: the sender came before the first worker, so it is the number of the life.
    number: u64,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    handle: Handle,
    task: JoinHandle<Result<(), WorkerError>>,
}

const FINAPI: &str = "http://finapi.simulated.test";

impl<'a> Crew<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        server: &Server,
        line: &Arc<Line>,
        topology: &Topology,
        clock: Clock,
        callbacks: callbacks::Settings,
        deaths: UnboundedSender<u64>,
    ) -> Self {
        Self {
            scenario,
            server: server.clone(),
            line: Arc::clone(line),
            topology: topology.clone(),
            clock,
            callbacks,
            slots: (0..scenario.workers).map(|_| None).collect(),
            leaving: Vec::new(),
            lives: 0,
            starts: vec![0; scenario.workers],
            deaths,
        }
    }

    /// Starts whoever is not there.
    pub(crate) fn start_all(&mut self) {
        (0..self.slots.len()).for_each(|slot| self.start(slot));
    }

    pub(crate) fn start(&mut self, slot: usize) {
        if self.slots[slot].is_some() {
            return;
        }
        self.lives += 1;
        self.starts[slot] += 1;
        let of_life = format!("worker/{slot}/{}", self.starts[slot]);
        let settings = self.scenario.settings.clone();
        let finapi = self.finapi();
        let subscriptions = subscriptions(&self.topology, &settings);
        let (client, broker_events) = self.server.connect(subscriptions);
        let worker = Worker::new(WorkerParts {
            broker: Broker::Memory(client.clone()),
            finapi,
            topology: self.topology.clone(),
            policy: self.scenario.policy.clone(),
            settings,
            clock: self.clock,
            seed: stream(self.scenario.seed, &of_life).get_seed(),
        });
        let handle = worker.handle();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(worker.run(broker_events, async move {
            // Who is killed is not notified.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        let stop = Some(stop);
        let number = self.lives;
        self.slots[slot] = Some(Running {
            number,
            client,
            stop,
            handle,
            task,
        });
    }

    /// What the workers say of themselves.
    pub(crate) async fn statuses(&self) -> Vec<Sample> {
        let running = self.slots.iter().flatten();
        let asked = running.map(async |running| {
            let worker = running.number;
            let status = running.handle.status().await?;
            Some(Sample { worker, status })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Where the worker of this number runs.
    pub(crate) fn slot_of(&self, number: u64) -> Option<usize> {
        let is_it = |slot: &Option<Running>| slot.as_ref().is_some_and(|running| running.number == number);
        self.slots.iter().position(is_it)
    }

    pub(crate) fn kill(&mut self, slot: usize) {
        if let Some(running) = self.slots[slot].take() {
            running.client.kill();
            running.task.abort();
        }
    }

    pub(crate) fn stop(&mut self, slot: usize) {
        if let Some(mut running) = self.slots[slot].take() {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(());
            }
            self.leaving.push(running);
        }
    }

    /// Stops all, and waits until they are gone. False when one of them panicked.
    pub(crate) async fn leave(&mut self) -> bool {
        (0..self.slots.len()).for_each(|slot| self.stop(slot));
        let mut well = true;
        for running in self.leaving.drain(..) {
            well &= matches!(running.task.await, Ok(Ok(())));
        }
        well
    }

    /// The line, on which a worker does not survive to ask for the killer's password, and nobody answers who asks for that of a user whose
    /// credentials hang.
    fn way_to_finapi(&self) -> Router {
        let line = self.line.router(self.lives);
        let of_user = |user: &str| format!("/sandbox/credentials/{user}");
        let deadly = self
            .scenario
            .killer
            .as_ref()
            .map(|killer| (of_user(KILLER), killer.after));
        let hung = self.scenario.hung_credentials.as_deref().map(of_user);
        if deadly.is_none() && hung.is_none() {
            return line;
        }
        let (life, deaths) = (self.lives, self.deaths.clone());
        Router::new().fallback(move |request: Request| async move {
            let path = request.uri().path();
            match deadly {
                Some((deadly, after)) if path == deadly => {
                    sleep(after).await;
                    // Nobody needs to hear of it any more once the run is over.
                    let _ = deaths.send(life);
                }
                _ if hung.as_deref() != Some(path) => return line.oneshot(request).await,
                _ => {}
            }
            std::future::pending().await
        })
    }

    fn finapi(&self) -> FinApi {
        let url: HttpUrl = FINAPI.parse().expect("a URL");
        let secret = CLIENT_SECRET.parse().expect("a secret");
        let settings = finapi::Settings {
            api_version: self.scenario.api_version,
            timeout: std::time::Duration::from_secs(5),
            calls_max: self.scenario.calls_max,
            body_max: 1 << 20,
            page_size: self.scenario.page_size,
            users_max: self.scenario.users_max.try_into().expect("not zero"),
            ..finapi::Settings::new(url.clone(), url.clone(), "sandbox-client", secret)
        };
        let credentials = Credentials::Http {
            url: url
                .join("sandbox/credentials")
                .expect("a URL")
                .try_into()
                .expect("a URL"),
            allow_insecure: false,
            bearer: None,
            timeout: settings.timeout,
        };
        let transport = Transport::InProcess(self.way_to_finapi());
        let breaker = self.scenario.breaker.clone();
        FinApi::new(transport, settings, credentials, breaker, self.callbacks.signer())
    }
}
