//! One run: everything in one thread, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bankrefresh::broker::memory::{Client, Seen, Server, What};
use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{Broker, Message, Outgoing};
use bankrefresh::callbacks;
use bankrefresh::clock::Clock;
use bankrefresh::finapi::version::ApiVersion;
use bankrefresh::message;
use bankrefresh::proto::{CancelRefresh, ResumeRefreshes, from_timestamp};
use bankrefresh::refresh::order::Pause;
use bankrefresh::sandbox::{Asked, Sandbox};
use bankrefresh::worker::Status;
use tokio::runtime::Builder;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tower::ServiceExt as _;

use crate::commands::Is;
use crate::crew::Crew;
use crate::line::{Call, Line};
use crate::logs::{Logs, Run};
use crate::scenario::{Act, Scenario};
use crate::strange::Means;

/// What happened.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) began: Instant,
    pub(crate) broker: Vec<Seen>,
    pub(crate) calls: Vec<Call>,
    pub(crate) logs: Vec<(Instant, String)>,
    /// The runs of refreshes, by the runtime's tasks.
    pub(crate) runs: BTreeMap<Id, Run>,
    /// The tasks that fetch users' tokens.
    pub(crate) fetches: BTreeSet<Id>,
    pub(crate) acts: Vec<(Instant, Act)>,
    /// What finAPI knows in the end.
    pub(crate) asked: Asked,
    /// When nothing was left to do; none when that took too long.
    pub(crate) quiet_at: Option<Instant>,
    /// Whether every worker stopped in good order in the end.
    pub(crate) left_well: bool,
    /// What is in each queue in the end.
    pub(crate) left: Vec<(String, Vec<Message>)>,
    /// How long the questions of each name were on their way to finAPI.
    pub(crate) delays: BTreeMap<String, Vec<Duration>>,
    /// What the workers said of themselves now and then; nothing where they are not asked.
    pub(crate) samples: Vec<Sample>,
}

impl History {
    /// How many workers the message that kills workers has killed.
    pub(crate) fn killed_by_message(&self) -> usize {
        let is_death = |(_, act): &&(Instant, Act)| matches!(act, Act::KillByMessage(_));
        self.acts.iter().filter(is_death).count()
    }
}

/// What a worker said of itself.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) worker: u64,
    pub(crate) status: Status,
}

/// How often workers are asked for their status, where they are.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// The broker may take a message this long after whoever published it gave it up.
const LATE_MAX: Duration = Duration::from_secs(20);

const PREFIX: &str = "sim";

pub(crate) fn topology() -> Topology {
    Topology::new(PREFIX)
}

/// Plays a scenario to its end.
pub(crate) fn play(scenario: &Scenario) -> History {
    let logs = Logs::default();
    let history = tracing::subscriber::with_default(logs.subscriber(), || play_unlogged(scenario));
    History {
        logs: logs.lines(),
        runs: logs.runs(),
        fetches: logs.fetches(),
        ..history
    }
}

/// The same, without what the workers log.
pub(crate) fn play_unlogged(scenario: &Scenario) -> History {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut world = World::new(scenario);
        world.play().await;
        world.history().await
    })
}

struct World<'a> {
    scenario: &'a Scenario,
    began: Instant,
    topology: Topology,
    server: Server,
    seen: UnboundedReceiver<Seen>,
    sandbox: Arc<Sandbox>,
    line: Arc<Line>,
    crew: Crew<'a>,
    /// Lives that end of the message that kills workers.
    deaths: UnboundedReceiver<u64>,
    sender: Client,
    sending: JoinSet<()>,
    clock: Clock,
    /// Operators give one order after the other.
    operator: Arc<Mutex<()>>,
    acts: Vec<(Instant, Act)>,
    /// What the broker saw so far.
    books: Vec<Seen>,
    /// What workers did at the broker so far.
    effects: u32,
    /// Nothing goes wrong any more.
    calm: bool,
    quiet_at: Option<Instant>,
    samples: Vec<Sample>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let clock = Clock::starting_at(scenario.start);
        let topology = topology();
        let server = Server::new(&topology);
        let seen = server.watch();
        server.slow_down(scenario.broker_latency, scenario.seed);
        let sandbox = Sandbox::new(scenario.sandbox.clone());
        let line = Line::new(Arc::clone(&sandbox), scenario.finapi_latency, scenario.seed);
        let (sender, _) = server.connect(Vec::new());
        let mut callbacks = callbacks::Settings::default();
        if scenario.callbacks {
            callbacks.public_url = "https://worker.simulated.test/".parse().ok();
            callbacks.key = "a key of the callbacks".parse().ok();
            let router = callbacks::router(&callbacks, Broker::Memory(sender.clone()), topology.clone(), clock);
            tokio::spawn(call_back(Arc::clone(&sandbox), router));
        }
        let (deadly, deaths) = unbounded_channel();
        let crew = Crew::new(scenario, &server, &line, &topology, clock, callbacks, deadly);
        Self {
            scenario,
            began: Instant::now(),
            topology,
            server,
            seen,
            sandbox,
            line,
            crew,
            deaths,
            sender,
            sending: JoinSet::new(),
            clock,
            operator: Arc::default(),
            acts: Vec::new(),
            books: Vec::new(),
            effects: 0,
            calm: false,
            quiet_at: None,
            samples: Vec::new(),
        }
    }

    async fn play(&mut self) {
        self.crew.start_all();
        for (at, act) in &self.scenario.plan {
            self.watch_until(self.began + *at).await;
            self.act(act);
        }
        self.watch_until(self.began + self.scenario.calm_at).await;
        self.calm = true;
        self.sandbox.come_up();
        self.sandbox.set_fault_rate(0.0);
        self.server.outage(false);
        self.server.fail_no_more();
        self.crew.start_all();
        self.quiet_at = self.wait_until_quiet().await;
    }

    async fn watch_until(&mut self, at: Instant) {
        while self.scenario.asks_for_status && Instant::now() + SAMPLE_INTERVAL < at {
            self.see_until(Instant::now() + SAMPLE_INTERVAL).await;
            self.samples.extend(self.crew.statuses().await);
        }
        self.see_until(at).await;
    }

    async fn see_until(&mut self, at: Instant) {
        loop {
            tokio::select! {
                biased;
                Some(seen) = self.seen.recv() => self.saw(seen),
                Some(life) = self.deaths.recv() => self.dies(life),
                () = sleep_until(at) => return,
            }
        }
    }

    fn saw(&mut self, seen: Seen) {
        // The sender came first.
        if let What::Sent { client, .. } | What::Acked { client, .. } = &seen.what
            && *client > 0
            && !self.calm
        {
            self.effects += 1;
            if self.scenario.deadly.contains(&self.effects)
                && let Some(slot) = self.crew.slot_of(*client)
            {
                self.act(&Act::KillAfterEffect(slot));
            }
        }
        self.books.push(seen);
    }

    fn dies(&mut self, life: u64) {
        if let Some(slot) = self.crew.slot_of(life) {
            self.act(&Act::KillByMessage(slot));
        }
    }

    fn act(&mut self, act: &Act) {
        self.acts.push((Instant::now(), act.clone()));
        match act {
            Act::Publish(number) => {
                let outgoing = self.scenario.commands[*number].outgoing(&self.topology);
                self.sending.spawn(send(self.sender.clone(), outgoing));
            }
            Act::Kill(slot) => self.crew.kill(*slot),
            Act::KillAfterEffect(slot) | Act::KillByMessage(slot) => {
                self.crew.kill(*slot);
                self.crew.start(*slot);
            }
            Act::Stop(slot) => self.crew.stop(*slot),
            Act::Start(slot) => self.crew.start(*slot),
            Act::BrokerDown(down) => self.server.outage(*down),
            Act::LoseConfirm => self.server.lose_next_confirm(),
            Act::FailPublish(fault) => self.server.fail_next_publish(*fault),
            Act::FinapiDown(Some((kind, endpoints))) => self.sandbox.go_down_at(kind.clone(), endpoints),
            Act::FinapiDown(None) => self.sandbox.come_up(),
            Act::RevokeToken(user) => self.sandbox.revoke_token(user),
            Act::BatchUpdate(connection, takes) => {
                self.sandbox.batch_update(*connection, *takes);
            }
            Act::SwitchVersion => {
                // Workers whose version is set never find out.
                if self.scenario.api_version == ApiVersion::Auto {
                    self.sandbox
                        .switch_api_version(self.scenario.sandbox.api_version.other());
                }
            }
            Act::Pause(target, lasts) => {
                let now = self.clock.now();
                let pause = Pause {
                    target: target.clone(),
                    since: now,
                    until: lasts.map(|lasts| now + lasts),
                    by: "operator".to_owned(),
                    reason: String::new(),
                };
                self.order(message::pause(&self.topology, &pause.into(), now));
            }
            Act::Resume(target) => {
                let now = self.clock.now();
                let resume = ResumeRefreshes {
                    target: Some(target.clone().into()),
                    resumed_at: Some(from_timestamp(now)),
                    by: "operator".to_owned(),
                };
                self.order(message::resume(&self.topology, &resume, now));
            }
            Act::Cancel(number, all) => {
                let Is::Valid(command) = &self.scenario.commands[*number].is else {
                    return;
                };
                let now = self.clock.now();
                let one = (command.command_id.clone(), command.bank_connection_id);
                let (command_id, bank_connection_id) = if *all { Default::default() } else { one };
                let cancel = CancelRefresh {
                    user_id: command.user_id.clone(),
                    command_id,
                    bank_connection_id,
                    requested_at: Some(from_timestamp(now)),
                    by: String::new(),
                };
                self.order(message::cancel(&self.topology, &cancel, now));
            }
            Act::Begins(number) => {
                if let Means::Fault(fault) = &self.scenario.strange[*number].means {
                    self.sandbox.add_fault(fault.clone());
                }
            }
            Act::Ends(number) => {
                if let Means::Fault(fault) = &self.scenario.strange[*number].means {
                    self.sandbox.remove_fault(fault);
                }
            }
        }
    }

    fn order(&mut self, outgoing: Outgoing) {
        let (sender, operator) = (self.sender.clone(), Arc::clone(&self.operator));
        self.sending.spawn(async move {
            let _turn = operator.lock().await;
            send(sender, outgoing).await;
        });
    }

    async fn wait_until_quiet(&mut self) -> Option<Instant> {
        let began = Instant::now();
        let mut quiet_since = None;
        while began.elapsed() < self.scenario.quiet_max {
            while self.sending.try_join_next().is_some() {}
            if self.sending.is_empty() && self.is_quiet() {
                let since = *quiet_since.get_or_insert_with(Instant::now);
                if since.elapsed() > LATE_MAX {
                    return Some(since);
                }
            } else {
                quiet_since = None;
            }
            self.watch_until(Instant::now() + Duration::from_secs(2)).await;
        }
        None
    }

    /// Nothing is left to do but for a newer worker.
    fn is_quiet(&self) -> bool {
        let depths = self.server.depths().into_iter();
        let mut for_work = depths.filter(|(queue, (ready, unacked))| ready + unacked > 0 && self.is_for_work(queue));
        for_work.all(|(queue, _)| self.server.peek(&queue).iter().all(|message| self.is_newer(message)))
    }

    fn is_newer(&self, message: &Message) -> bool {
        let id = message.properties.message_id.as_ref();
        let mut newer = self
            .scenario
            .commands
            .iter()
            .filter(|command| matches!(command.is, Is::Newer));
        newer.any(|command| id == Some(&command.id))
    }

    fn is_for_work(&self, queue: &str) -> bool {
        let topology = &self.topology;
        ![topology.unrouted_events(), topology.dead_letters(), topology.control()].contains(&queue.to_owned())
    }

    async fn history(mut self) -> History {
        let left_well = self.crew.leave().await;
        // The last acknowledgements are on their way.
        sleep(Duration::from_secs(2)).await;
        let mut broker = self.books;
        while let Ok(seen) = self.seen.try_recv() {
            broker.push(seen);
        }
        let queues = self.server.depths().into_keys();
        History {
            began: self.began,
            broker,
            calls: self.line.calls(),
            delays: self.line.delays(),
            logs: Vec::new(),
            runs: BTreeMap::new(),
            fetches: BTreeSet::new(),
            acts: self.acts,
            asked: self.sandbox.asked(),
            quiet_at: self.quiet_at,
            left_well,
            samples: self.samples,
            left: queues.map(|queue| (queue.clone(), self.server.peek(&queue))).collect(),
        }
    }
}

/// A sender repeats what is not confirmed, as it should.
async fn send(sender: Client, outgoing: Outgoing) {
    while sender.publish(vec![outgoing.clone()]).await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn call_back(sandbox: Arc<Sandbox>, router: axum::Router) {
    loop {
        let callback = sandbox.next_callback().await;
        let request = Request::post(callback.url)
            .body(Body::from(callback.body))
            .expect("a request");
        // finAPI does not read the response.
        drop(router.clone().oneshot(request).await);
    }
}
