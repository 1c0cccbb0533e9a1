//! Goes through the schedule, then waits until all is done.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::proxy::Proxy;
use crate::schedule::{Action, Order, Schedule};
use crate::stage::Stage;
use crate::verdict::Invariant;
use crate::workers::{Ends, Workers};

/// How long the broker stays down.
const BROKER_DOWN: Duration = Duration::from_secs(1);

/// How long the chaos goes on without a broker. One in a container may take half a minute to start, and workers that are killed meanwhile
/// show nothing: so the schedule waits for it then.
const WITHOUT_BROKER_MAX: Duration = Duration::from_secs(5);

/// When nothing happens for so long, nothing will.
const STALLED_AFTER: Duration = Duration::from_secs(45);

/// How often progress is checked, and reported.
const CHECK_EVERY: Duration = Duration::from_millis(500);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What was done, and what became of it.
pub struct Done {
    pub orders: Vec<Order>,
    /// Messages with commands that were sent.
    pub published: usize,
    pub killed: usize,
    pub stopped: usize,
    pub crashes: usize,
    /// Times that the broker, or finAPI, became slow.
    pub slow: usize,
    pub workers: Ends,
    pub chaos: Duration,
    pub all: Duration,
    pub queues: Invariant,
    pub ends: Invariant,
    pub dead: Invariant,
}

/// What the schedule did so far.
struct Doing {
    killed: usize,
    stopped: usize,
    crashes: JoinSet<()>,
    crashed: usize,
    crashed_at: Instant,
    slow: usize,
    ends: Invariant,
}

/// Runs the schedule.
pub async fn conduct(stage: &Arc<Stage>, schedule: Schedule, logs: &Path) -> Done {
    let began = Instant::now();
    let commands = schedule.orders.len();
    let reporting = tokio::spawn(report(Arc::clone(stage), commands, began));
    let publishing = tokio::spawn(Arc::clone(stage).publish(schedule.orders, schedule.publishes));
    let mut workers = Workers::start(Arc::clone(stage), logs.to_owned());
    let mut doing = Doing::new();
    let mut late = Duration::ZERO;
    for (at, action) in schedule.actions {
        sleep_until(began + at + late).await;
        late += doing.wait_for_broker().await;
        doing.act(action, stage, &mut workers).await;
    }
    doing.crashes.join_all().await;
    let published = publishing.await.expect("all commands are published");
    let chaos = began.elapsed();
    println!("{:>5.0} s  the chaos is over", chaos.as_secs_f64());
    let mut queues = Invariant::new("all_queues_are_empty_at_the_end");
    queues.checked = stage.queues().len();
    queues.broken = calm(stage, commands).await;
    let mut dead = Invariant::new("no_message_is_a_dead_letter");
    dead.checked = commands;
    dead.broken = stage.dead_letters().await;
    let workers = workers.end().await;
    let mut ends = doing.ends;
    ends.checked += doing.stopped;
    ends.broken.extend(workers.wrong.iter().cloned());
    reporting.abort();
    Done {
        orders: published.orders,
        published: published.messages,
        killed: doing.killed,
        stopped: doing.stopped,
        crashes: doing.crashed,
        slow: doing.slow,
        workers,
        chaos,
        all: began.elapsed(),
        queues,
        ends,
        dead,
    }
}

impl Doing {
    fn new() -> Self {
        Self {
            killed: 0,
            stopped: 0,
            crashes: JoinSet::new(),
            crashed: 0,
            crashed_at: Instant::now(),
            slow: 0,
            ends: Invariant::new("no_worker_ends_by_itself_and_all_stop_when_asked"),
        }
    }

    /// Waits for a broker that has been down for too long, and says for how long it waited.
    async fn wait_for_broker(&mut self) -> Duration {
        let began = Instant::now();
        if self.crashed_at.elapsed() >= WITHOUT_BROKER_MAX {
            while self.crashes.join_next().await.is_some() {}
        }
        began.elapsed()
    }

    async fn act(&mut self, action: Action, stage: &Arc<Stage>, workers: &mut Workers) {
        match action {
            Action::Kill(slot) => {
                self.killed += 1;
                let killed = workers.kill(slot).await;
                self.ends.check(killed.is_ok(), || killed.unwrap_err());
            }
            Action::Stop(slot) => {
                self.stopped += 1;
                workers.stop(slot);
            }
            Action::CrashBroker => {
                self.crashed += 1;
                // One that is down already can't crash.
                while self.crashes.join_next().await.is_some() {}
                self.crashed_at = Instant::now();
                self.crashes.spawn(crash(Arc::clone(stage)));
            }
            Action::CutBroker => stage.to_broker.cut_all(),
            Action::CutFinapi => stage.to_finapi.cut_all(),
            Action::SlowBroker(by) => self.slow_down(&stage.to_broker, by),
            Action::SlowFinapi(by) => self.slow_down(&stage.to_finapi, by),
        }
    }

    fn slow_down(&mut self, proxy: &Proxy, by: Duration) {
        self.slow += usize::from(!by.is_zero());
        proxy.slow_down(by);
    }
}

async fn crash(stage: Arc<Stage>) {
    stage.rabbit.crash().await;
    sleep(BROKER_DOWN).await;
    stage.rabbit.restart().await;
}

/// Waits until every command has its outcome and the queues are empty, or nothing happens any more; says what is left.
async fn calm(stage: &Stage, commands: usize) -> Vec<String> {
    let progress = || {
        let seen = stage.observer.seen();
        (seen.over.len(), seen.count)
    };
    let mut last = (progress(), Instant::now());
    while last.0.0 < commands && last.1.elapsed() < STALLED_AFTER {
        sleep(CHECK_EVERY).await;
        let now = progress();
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    let mut last = (Vec::new(), Instant::now());
    loop {
        let left = stage.not_empty().await;
        // A dead letter stays one.
        let dead = stage.topology.dead_letters();
        let only_dead = left.iter().all(|queue| queue.starts_with(&dead));
        if left != last.0 {
            last = (left, Instant::now());
        }
        if only_dead || last.1.elapsed() >= STALLED_AFTER {
            return last.0;
        }
        sleep(CHECK_EVERY).await;
    }
}

async fn report(stage: Arc<Stage>, commands: usize, began: Instant) {
    loop {
        sleep(REPORT_EVERY).await;
        let over = stage.observer.seen().over.len();
        println!("{:>5.0} s  {over} of {commands} over", began.elapsed().as_secs_f64());
    }
}
