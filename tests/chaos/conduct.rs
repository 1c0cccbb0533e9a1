//! Goes through the schedule, then waits until all is done.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::report::lines_with;
use crate::schedule::{Action, Order, Schedule};
use crate::stage::Stage;
use crate::verdict::Invariant;
use crate::workers::Workers;

/// How long the broker stays down.
const BROKER_DOWN: Duration = Duration::from_secs(1);

/// When nothing happens for so long, nothing will.
const STALLED_AFTER: Duration = Duration::from_secs(45);

/// How often progress is looked at, and told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What was done, and what became of it.
#[derive(Default)]
pub struct Done {
    pub orders: Vec<Order>,
    pub published: usize,
    pub killed: usize,
    pub stopped: usize,
    pub crashes: usize,
    pub suspects: usize,
    pub outages: usize,
    /// What workers said of copies that they left to another one.
    pub duplicates: Vec<String>,
    pub chaos: Duration,
    pub all: Duration,
    pub queues: Invariant,
    pub ends: Invariant,
    pub dead: Invariant,
}

/// Runs the schedule.
pub async fn conduct(stage: &Arc<Stage>, schedule: Schedule, logs: &Path) -> Done {
    let began = Instant::now();
    let commands = schedule.orders.len();
    let telling = tokio::spawn(tell(Arc::clone(stage), commands, began));
    let publishing = tokio::spawn(Arc::clone(stage).publish(schedule.orders, schedule.publishes));
    let mut workers = Workers::start(stage.settings(), logs.to_owned());
    let mut done = Done {
        queues: Invariant::new("all_queues_are_empty_at_the_end"),
        ends: Invariant::new("no_worker_ends_by_itself_and_all_stop_when_told"),
        dead: Invariant::new("no_message_is_a_dead_letter"),
        ..Done::default()
    };
    let mut crashes = JoinSet::new();
    for (at, action) in schedule.actions {
        sleep_until(began + at).await;
        match action {
            Action::Kill(slot) => {
                done.killed += 1;
                let killed = workers.kill(slot).await;
                done.ends.check(killed.is_ok(), || killed.unwrap_err());
            }
            Action::Stop(slot) => {
                done.stopped += 1;
                workers.stop(slot);
            }
            Action::CrashBroker => {
                done.crashes += 1;
                // One that is down already can't crash.
                while crashes.join_next().await.is_some() {}
                crashes.spawn(crash(Arc::clone(stage)));
            }
            Action::CutBroker => stage.to_broker.cut_all(),
            Action::CutFinapi => stage.to_finapi.cut_all(),
            Action::SlowBroker(by) => stage.to_broker.slow_down(by),
            Action::SlowFinapi(by) => stage.to_finapi.slow_down(by),
        }
    }
    crashes.join_all().await;
    let published = publishing.await.expect("all commands are published");
    done.chaos = began.elapsed();
    println!("{:>5.0} s  the chaos is over", done.chaos.as_secs_f64());
    let left = calm(stage, commands).await;
    done.queues.checked = stage.queues().len();
    done.queues.broken = left;
    done.dead.checked = commands;
    done.dead.broken = stage.dead_letters().await;
    let ends = workers.end().await;
    done.ends.checked += done.stopped;
    done.ends.broken.extend(ends);
    telling.abort();
    done.suspects = lines_with(logs, "to be tried alone").len();
    done.outages = lines_with(logs, "finAPI is down").len();
    done.duplicates = lines_with(logs, "another copy is in hand");
    done.orders = published.orders;
    done.published = published.messages;
    done.all = began.elapsed();
    done
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
        sleep(LOOK_EVERY).await;
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
        sleep(LOOK_EVERY).await;
    }
}

async fn tell(stage: Arc<Stage>, commands: usize, began: Instant) {
    loop {
        sleep(TELL_EVERY).await;
        let over = stage.observer.seen().over.len();
        println!("{:>5.0} s  {over} of {commands} over", began.elapsed().as_secs_f64());
    }
}
