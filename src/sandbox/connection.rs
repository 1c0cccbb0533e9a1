//! A bank connection, and what its updates leave behind. What has happened since the last poll is made up for at the next.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::batch::Batch;
use super::clock::{earlier, german_midnight, later};
use super::forms::FormEnd;
use super::script::{ACCOUNTS_MAX, Account, Script};
use super::state::State;
use super::tasks::{Ending, Import};

/// A bank connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: i64,
    pub(super) owner: Option<Arc<str>>,
    pub(super) script: Arc<Script>,
    pub(super) faults_met: Vec<u32>,
    /// When it was first asked about.
    pub(super) began: Option<Timestamp>,
    pub(super) batch_update_ends: Option<Timestamp>,
    pub(super) accounts: Vec<Held>,
    pub(super) batches: Vec<Batch>,
    /// Tasks whose end is not made up for.
    pub(super) open: Vec<Uuid>,
    pub(super) settled: Option<Timestamp>,
    pub(super) categorized: Option<Timestamp>,
    /// When the last successful update was asked for.
    pub(super) last_began: Option<Timestamp>,
    /// Oldest first.
    manual: Vec<LastUpdate>,
    pub(super) last_auto: Option<LastUpdate>,
    /// When the user last completed a web form.
    pub(super) acted: Option<Timestamp>,
    pub(super) posts: u64,
    pub(super) without_user: u64,
    pub(super) open_max: usize,
    pub(super) form_polls: u64,
    /// All of them, oldest first.
    pub(super) tasks: Vec<Uuid>,
}

/// An account the connection has.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) account: Account,
    /// Whether the last update brought it.
    pub(super) new: bool,
}

/// How an update ended.
#[derive(Clone, Debug)]
pub(super) struct LastUpdate {
    pub(super) at: Timestamp,
    /// None: well. Else the code and the message.
    pub(super) error: Option<(String, Option<String>)>,
}

impl Connection {
    pub(super) fn new(id: i64, owner: Option<Arc<str>>, script: Arc<Script>) -> Self {
        let accounts = script.accounts.iter().take(ACCOUNTS_MAX);
        Self {
            id,
            owner,
            faults_met: Vec::new(),
            began: None,
            batch_update_ends: None,
            accounts: accounts
                .map(|account| Held {
                    account: account.clone(),
                    new: false,
                })
                .collect(),
            batches: Vec::new(),
            open: Vec::new(),
            settled: None,
            categorized: None,
            last_began: None,
            manual: Vec::new(),
            last_auto: None,
            acted: None,
            posts: 0,
            without_user: 0,
            open_max: 0,
            form_polls: 0,
            tasks: Vec::new(),
            script,
        }
    }

    /// How the last update by a task ended that was over by then.
    pub(super) fn last_manual(&self, by: Timestamp) -> Option<&LastUpdate> {
        self.manual.iter().rev().find(|update| update.at <= by)
    }

    /// The id of its account of this number.
    pub(super) const fn account_id(&self, number: usize) -> i64 {
        self.id.saturating_mul(1000).saturating_add(number as i64 + 1)
    }

    fn import(&mut self, import: &Import) {
        for held in &mut self.accounts {
            held.new = false;
        }
        if !import.new_accounts {
            return;
        }
        for account in &self.script.new_accounts {
            let wanted = import.types.is_empty() || import.types.contains(&account.kind);
            // Each is brought once: what is there already has its kind and name.
            let there = self.accounts.iter().any(|held| held.account == *account);
            if wanted && !there && self.accounts.len() < ACCOUNTS_MAX {
                self.accounts.push(Held {
                    account: account.clone(),
                    new: true,
                });
            }
        }
    }

    fn add_batch(&mut self, next_id: &mut i64, count: u32, imported: Timestamp, whole: Timestamp, task: Option<Uuid>) {
        if self.accounts.is_empty() {
            return;
        }
        self.batches.push(Batch {
            first_id: *next_id,
            count,
            imported,
            whole,
            accounts: self.accounts.len(),
            task,
        });
        *next_id += i64::from(count);
    }
}

impl State {
    /// Makes up the past of a connection that is asked about for the first time.
    pub(super) fn begin(&mut self, id: i64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.began.is_some() {
            return;
        }
        connection.began = Some(self.now);
        let mut batch_update_ends = None;
        if let Some(takes) = connection.script.batch_update {
            let mut rng = self.random.next(&format!("batch-update/{id}"));
            batch_update_ends = Some(later(self.now, takes.draw(&mut rng)));
            connection.batch_update_ends = batch_update_ends;
        }
        let older = connection.script.transactions.older;
        let midnight = german_midnight(self.now);
        let just_now = earlier(self.now, Duration::from_secs(1)).max(midnight);
        let long_ago = earlier(self.now, Duration::from_secs(30 * 24 * 3600));
        let third = older / 3;
        for (count, imported) in [(third, long_ago), (third, midnight), (older - 2 * third, just_now)] {
            connection.add_batch(&mut self.next_transaction, count, imported, imported, None);
        }
        if let Some(ends) = batch_update_ends {
            self.notify_of_batch_update(id, ends);
        }
    }

    /// Makes up for what ended since the last poll.
    pub(super) fn advance(&mut self, id: i64) {
        self.finish_batch_update(id);
        while let Some((at, task)) = self.next_finished(id) {
            self.finish_task(id, task, at);
        }
    }

    /// Whether it is being updated: by a task that runs, a user in a web form, or the batch update.
    pub(super) fn locked(&self, id: i64) -> bool {
        self.connections.get(&id).is_some_and(|connection| {
            connection.batch_update_ends.is_some_and(|ends| self.now < ends)
                || connection.open.iter().any(|task| self.task_locks(*task))
        })
    }

    fn task_locks(&self, id: Uuid) -> bool {
        let Some(task) = self.tasks.get(&id) else {
            return false;
        };
        task.created <= self.now && self.now < task.ends
            || self.form_of(task).is_some_and(|form| form.in_progress(self.now))
    }

    fn finish_batch_update(&mut self, id: i64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(at) = connection.batch_update_ends.filter(|at| *at <= self.now) else {
            return;
        };
        connection.batch_update_ends = None;
        connection.last_auto = Some(LastUpdate { at, error: None });
        let count = connection.script.transactions.per_update;
        connection.add_batch(&mut self.next_transaction, count, at, at, None);
    }

    fn next_finished(&self, id: i64) -> Option<(Timestamp, Uuid)> {
        let open = &self.connections.get(&id)?.open;
        open.iter()
            .filter_map(|task| Some((self.finished(*task)?, *task)))
            .filter(|(at, _)| *at <= self.now)
            .min()
    }

    /// When a task, or the web form it led to, is final.
    pub(super) fn finished(&self, task: Uuid) -> Option<Timestamp> {
        let task = self.tasks.get(&task)?;
        Some(self.form_of(task).map_or(task.ends, |form| form.ends))
    }

    fn finish_task(&mut self, id: i64, task: Uuid, at: Timestamp) {
        let ended = self.tasks.get(&task).map(|task| match &task.ending {
            Ending::Completed => (FormEnd::Completed, None, task),
            Ending::Failed { code, message } => (FormEnd::Failed(code.clone()), Some(message.clone()), task),
            Ending::Form(form) => (
                self.forms.get(form).map_or(FormEnd::Expired, |form| form.end.clone()),
                None,
                task,
            ),
        });
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.open.retain(|open| *open != task);
        let Some((end, message, task)) = ended else {
            return;
        };
        match end {
            FormEnd::Aborted | FormEnd::Cancelled | FormEnd::Expired => {}
            FormEnd::Failed(code) => {
                connection.manual.push(LastUpdate {
                    at,
                    error: Some((code, message)),
                });
            }
            FormEnd::Completed => {
                connection.import(&task.import);
                let settled = later(at, task.settles);
                connection.settled = Some(settled);
                connection.categorized = Some(later(settled, task.categorizes));
                connection.last_began = Some(task.created);
                connection.manual.push(LastUpdate { at, error: None });
                if matches!(task.ending, Ending::Form(_)) {
                    connection.acted = Some(at);
                }
                let count = connection.script.transactions.per_update;
                connection.add_batch(&mut self.next_transaction, count, at, settled, Some(task.id));
                if let Some(late) = connection.script.late {
                    let by = late.after.draw(&mut self.random.next(&format!("late/{id}")));
                    let stored = later(settled, by);
                    connection.add_batch(&mut self.next_transaction, late.count, stored, stored, Some(task.id));
                }
            }
        }
    }
}
