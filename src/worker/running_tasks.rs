//! The tasks that this worker saw running last. finAPI's list of tasks may be older than that.

use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::Timestamp;
use lru::LruCache;

use crate::id::{ConnectionId, TaskId};
use crate::refresh::model::{Task, TaskStatus};
use crate::refresh::query::Response;
use crate::refresh::{Refresh, earlier};

/// The most connections whose task is remembered.
const CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A small memory of running tasks, one of each connection.
#[derive(Debug)]
pub(super) struct RunningTasks {
    /// How long after a task was seen a list may lack it.
    visible: Duration,
    tasks: LruCache<ConnectionId, Seen>,
}

#[derive(Debug)]
struct Seen {
    id: TaskId,
    created_at: Timestamp,
    at: Timestamp,
}

impl RunningTasks {
    pub(super) fn new(visible: Duration) -> Self {
        Self {
            visible,
            tasks: LruCache::new(CONNECTIONS_MAX),
        }
    }

    /// Remembers what a response shows, and puts into a list what that can't show yet.
    pub(super) fn complete(&mut self, refresh: &Refresh, response: &mut Response, now: Timestamp) {
        let connection = refresh.command.connection_id();
        match response {
            Response::Task(task) => self.on_task(connection, task, now),
            Response::Tasks(tasks) => {
                let own = tasks.iter().filter(|task| task.bank_connection_id == Some(connection));
                // The newest comes first, and is the one to be remembered.
                for task in own.rev() {
                    self.on_task(connection, task, now);
                }
                let seen = self.tasks.peek(&connection);
                let seen = seen.filter(|seen| seen.at >= earlier(now, self.visible));
                if let Some(seen) = seen.filter(|seen| tasks.iter().all(|task| task.id != seen.id)) {
                    tasks.insert(0, seen.task(connection));
                }
            }
            _ => {}
        }
    }

    /// When a task of a connection was seen that runs, as far as is known.
    pub(super) fn last_seen(&self, connection: ConnectionId) -> Option<Timestamp> {
        self.tasks.peek(&connection).map(|seen| seen.at)
    }

    fn on_task(&mut self, connection: ConnectionId, task: &Task, now: Timestamp) {
        if task.status == TaskStatus::Running {
            let seen = Seen {
                id: task.id.clone(),
                created_at: task.created_at,
                at: now,
            };
            self.tasks.put(connection, seen);
        } else if self.tasks.peek(&connection).is_some_and(|seen| seen.id == task.id) {
            self.tasks.pop(&connection);
        }
    }
}

impl Seen {
    fn task(&self, connection: ConnectionId) -> Task {
        Task {
            id: self.id.clone(),
            created_at: self.created_at,
            status: TaskStatus::Running,
            bank_connection_id: Some(connection),
            web_form: None,
            error: None,
            unreadable: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::RefreshConnection;
    use crate::refresh::{Command, Envelope};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_772_438_400 + seconds).expect("a time")
    }

    fn refresh(connection: i64) -> Refresh {
        let command = RefreshConnection {
            command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001".into(),
            user_id: "anna".into(),
            bank_connection_id: connection,
            ..RefreshConnection::default()
        };
        let command = Command::parse(command).expect("a command");
        Refresh::new(command, at(0), Envelope::default(), at(0))
    }

    fn task(status: TaskStatus) -> Task {
        Task {
            id: "task-1".into(),
            created_at: at(1),
            status,
            bank_connection_id: Some(7.into()),
            web_form: None,
            error: None,
            unreadable: Vec::new(),
        }
    }

    fn list(memory: &mut RunningTasks, connection: i64, tasks: Vec<Task>, now: i64) -> usize {
        let mut response = Response::Tasks(tasks);
        memory.complete(&refresh(connection), &mut response, at(now));
        let Response::Tasks(tasks) = response else {
            panic!("a list")
        };
        tasks.len()
    }

    #[test]
    fn what_one_list_shows_running_an_older_one_lacks() {
        let mut memory = RunningTasks::new(Duration::from_secs(45));
        let older = Task {
            id: "task-0".into(),
            ..task(TaskStatus::Running)
        };
        assert_eq!(list(&mut memory, 7, vec![task(TaskStatus::Running), older], 2), 2);
        assert_eq!(list(&mut memory, 7, Vec::new(), 40), 1, "the newest");
        assert_eq!(list(&mut memory, 7, Vec::new(), 48), 0, "what was added is not seen");
    }

    #[test]
    fn a_list_that_lacks_a_running_task_is_old_for_a_while() {
        let mut memory = RunningTasks::new(Duration::from_secs(45));
        memory.complete(&refresh(7), &mut Response::Task(task(TaskStatus::Running)), at(2));
        assert_eq!(list(&mut memory, 7, Vec::new(), 3), 1);
        assert_eq!(list(&mut memory, 8, Vec::new(), 3), 0, "of another connection");
        assert_eq!(list(&mut memory, 7, vec![task(TaskStatus::Running)], 3), 1, "it has it");
        assert_eq!(list(&mut memory, 7, Vec::new(), 49), 0, "that was long ago");
        memory.complete(&refresh(7), &mut Response::Task(task(TaskStatus::Running)), at(50));
        assert_eq!(list(&mut memory, 7, vec![task(TaskStatus::Completed)], 51), 1);
        assert_eq!(list(&mut memory, 7, Vec::new(), 52), 0, "it is over");
    }
}
