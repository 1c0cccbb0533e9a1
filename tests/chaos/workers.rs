//! Workers as processes, each with its log in a file.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::proxy::Entrance;
use crate::schedule::WORKERS;
use crate::stage::Stage;
use crate::support::guard::Guard;

/// How long a worker may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

const SIGTERM: i32 = 15;

/// The workers that run, one in each slot.
pub struct Workers {
    stage: Arc<Stage>,
    logs: PathBuf,
    started: usize,
    slots: Vec<Worker>,
    stopping: JoinSet<Result<Stopped, String>>,
}

struct Worker {
    child: Child,
    guard: Guard,
    name: String,
    log: PathBuf,
    _to_finapi: Entrance,
}

/// How a worker stopped that was asked to.
#[derive(PartialEq, Eq)]
enum Stopped {
    Orderly,
    /// So early that it had not begun: it held nothing yet.
    BeforeItBegan,
}

/// How it went with all workers.
pub struct Ends {
    pub started: usize,
    pub stopped_before_they_began: usize,
    pub wrong: Vec<String>,
}

impl Workers {
    pub fn start(stage: Arc<Stage>, logs: PathBuf) -> Self {
        let mut workers = Self {
            stage,
            logs,
            started: 0,
            slots: Vec::new(),
            stopping: JoinSet::new(),
        };
        for _ in 0..WORKERS {
            let worker = workers.worker();
            workers.slots.push(worker);
        }
        workers
    }

    /// Kills one and starts another in its place.
    pub async fn kill(&mut self, slot: usize) -> Result<(), String> {
        let mut old = self.replace(slot);
        let ended = old.child.try_wait().expect("its status");
        old.child.kill().await.expect("it can be killed");
        old.guard.disarm();
        match ended {
            None => Ok(()),
            Some(status) => Err(format!("{} had ended by itself: {status}", old.name)),
        }
    }

    /// Stops one and starts another in its place meanwhile.
    pub fn stop(&mut self, slot: usize) {
        let old = self.replace(slot);
        self.stopping.spawn(old.stop());
    }

    /// Stops all of them and says how it went with these and with those that were stopped before.
    pub async fn end(mut self) -> Ends {
        for worker in self.slots {
            self.stopping.spawn(worker.stop());
        }
        let ended = self.stopping.join_all().await;
        let early = ended.iter().filter(|ended| **ended == Ok(Stopped::BeforeItBegan));
        Ends {
            started: self.started,
            stopped_before_they_began: early.count(),
            wrong: ended.into_iter().filter_map(Result::err).collect(),
        }
    }

    fn replace(&mut self, slot: usize) -> Worker {
        let new = self.worker();
        std::mem::replace(&mut self.slots[slot], new)
    }

    fn worker(&mut self) -> Worker {
        self.started += 1;
        let name = format!("worker-{:04}", self.started);
        let path = self.logs.join(format!("{name}.log"));
        let log = File::create(&path).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let to_finapi = self.stage.way_to_finapi(self.started);
        let settings = self.stage.settings(&to_finapi);
        let settings = settings
            .into_iter()
            .map(|(name, value)| (format!("BANKREFRESH__{name}"), value));
        let child = Command::new(env!("CARGO_BIN_EXE_bankrefresh"))
            .arg("worker")
            .env_clear()
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let pid = child.id().expect("a process id").to_string();
        Worker {
            child,
            guard: Guard::new("kill -9 $1", &[&pid]),
            name,
            log: path,
            _to_finapi: to_finapi,
        }
    }
}

fn is_empty(log: &Path) -> bool {
    log.metadata().is_ok_and(|log| log.len() == 0)
}

impl Worker {
    async fn stop(mut self) -> Result<Stopped, String> {
        let name = self.name;
        // Without an id it has ended already, which its status shows.
        if let Some(pid) = self.child.id() {
            let kill = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
            assert!(kill.expect("kill runs").success());
        }
        let ended = timeout(STOP_TIMEOUT, self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await.expect("it can be killed");
        }
        self.guard.disarm();
        match ended {
            Ok(status) => match status.expect("its status") {
                status if status.success() => Ok(Stopped::Orderly),
                status if status.signal() == Some(SIGTERM) && is_empty(&self.log) => Ok(Stopped::BeforeItBegan),
                status => Err(format!("{name} stopped with {status}")),
            },
            Err(_) => Err(format!("{name} did not stop within {STOP_TIMEOUT:?}")),
        }
    }
}
