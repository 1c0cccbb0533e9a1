//! What a worker does with its deliveries: what is in flight, what came in and the time lead to [`Action`]s. Pure: no I/O, no clock, no
//! randomness. The loop in `worker` performs the actions and reports how they ended.
//!
//! ```text
//!             ┌──────────── backlog (background commands without room)
//! delivery ───┤
//!             └─> held (a timer) ─> runnable ─> running ─> publishing ─> acknowledged
//!                   ^                  │ ^                    │
//!                   │                  v │ token fetched      │
//!                   │             awaiting a token            │
//!                   └─────────────────────────────────────────┘
//! ```
//!
//! Only what is *running* holds a permit for finAPI. Everything else waits in a queue that this module counts and bounds:
//! a delivery that has waited for [`Settings::hold_max`] is published again and acknowledged.

mod action;
mod admission;
mod ends;
mod held;
mod job;
mod quarantine;
mod rank;
mod runnable;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::publication::Publication;
use super::settings::Settings;
use crate::broker::Tag;
use crate::id::{CommandId, RefreshId, UserId};
use crate::refresh::failure::Failure;
use crate::refresh::order::PauseWait;
use crate::refresh::{Progress, Refresh};
pub(super) use action::{Action, PublishEnd, Run, RunEnd, RunId};
pub(super) use admission::Content;
use held::Held;
use job::Job;
#[cfg(test)]
pub(super) use job::QUARANTINE_REDELIVERIES;
pub(super) use job::{Now, Origin, QUARANTINE_TRIES, Receipt};
pub(super) use quarantine::QUARANTINE_WAIT;
use runnable::Runnable;
pub(super) use shares::Shares;
use shares::Users;

/// How long a duplicate is parked when it can't be dropped.
pub(super) const DUPLICATE_WAIT: Duration = Duration::from_secs(5);

/// How long a run waits that the worker stopped because it could not prove that its deliveries are still its own.
const UNPROVEN_WAIT: Duration = Duration::from_secs(1);

/// What is running or publishing.
#[derive(Debug)]
struct Busy {
    receipt: Receipt,
    /// None where the delivery is not the one of its command that is worked on.
    refresh_id: Option<RefreshId>,
    /// Whose run it is; none for a publication.
    runs_for: Option<UserId>,
}

/// The delivery of a command that is worked on. Others of the command are duplicates.
#[derive(Clone, Copy, Debug)]
struct First {
    tag: Tag,
    /// How far it was when it came in.
    progress: Progress,
}

/// Everything that a worker has in flight.
#[derive(Debug)]
pub(super) struct Scheduler {
    settings: Settings,
    /// The connection whose deliveries are ours; none while there is none.
    generation: Option<u64>,
    draining: bool,
    /// A host is down: background commands stay in the backlog.
    outage: bool,
    held: Held,
    runnable: Runnable,
    backlog: VecDeque<Job>,
    /// By user, from the request for a token until its end.
    awaiting_token: BTreeMap<UserId, Vec<Job>>,
    busy: HashMap<RunId, Busy>,
    /// What is busy and was woken since it began.
    woken: HashSet<RefreshId>,
    publishing: usize,
    /// How many messages are being forwarded to the quarantine.
    forwards: usize,
    /// A message that came back twice runs from this time on. Until then, others may be on their way to the quarantine, and a worker that dies
    /// leaves two messages of each.
    quarantined_by: Duration,
    /// When the quarantine is consumed again, where that is paused: what waits here would come back with each worker that dies of something else.
    quarantine_resumes: Option<Duration>,
    /// By command.
    firsts: HashMap<RefreshId, First>,
    shares: Shares,
    users: Users,
    runs: RunId,
    actions: VecDeque<Action>,
}

impl Scheduler {
    pub(super) fn new(settings: Settings, shares: Shares) -> Self {
        Self {
            settings,
            shares,
            users: Users::default(),
            generation: None,
            draining: false,
            outage: false,
            held: Held::default(),
            runnable: Runnable::new(shares.running),
            backlog: VecDeque::new(),
            awaiting_token: BTreeMap::new(),
            busy: HashMap::new(),
            woken: HashSet::new(),
            publishing: 0,
            forwards: 0,
            quarantined_by: Duration::ZERO,
            quarantine_resumes: Some(Duration::ZERO),
            firsts: HashMap::new(),
            runs: 0,
            actions: VecDeque::new(),
        }
    }

    /// What is to be done next, until there is nothing more.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The run that is to start next. The caller holds a permit for it. `has_token` says whether a refresh can be queried for without
    /// fetching a token first, `paused` how long it waits because it is paused.
    pub(super) fn next_run(
        &mut self,
        has_token: impl Fn(&Refresh) -> bool,
        paused: impl Fn(&Refresh) -> Option<PauseWait>,
        now: Now,
    ) -> Option<Run> {
        loop {
            let job = self.runnable.pop()?;
            if let Some(wait) = paused(&job.refresh) {
                self.runnable.uncap(job.refresh.command.user_id());
                self.park_paused(job, wait, now);
                continue;
            }
            if let Some(until) = self.waits_until(&job, now) {
                self.runnable.uncap(job.refresh.command.user_id());
                self.hold(job, until, now);
                continue;
            }
            if job.failure.is_none() && job.refresh.needs_token() && !has_token(&job.refresh) {
                self.runnable.uncap(job.refresh.command.user_id());
                self.await_token(job);
                continue;
            }
            let refresh_id = Some(job.refresh.command.refresh_id().clone());
            let tag = job.receipt.tag();
            let user_id = job.refresh.command.user_id();
            self.runnable.on_run(user_id);
            let id = self.begin(job.receipt, refresh_id, Some(user_id.clone()));
            return Some(Run {
                id,
                tag,
                refresh: job.refresh,
                renewals: job.renewals,
                failure: job.failure,
            });
        }
    }

    /// A connection works, and its deliveries follow.
    pub(super) fn on_connected(&mut self, generation: u64, now: Now) {
        self.generation = Some(generation);
        self.pause_quarantine(now.since_start + QUARANTINE_WAIT);
    }

    /// The broker delivers again what is in flight. The runs end by themselves.
    pub(super) fn on_disconnected(&mut self) {
        self.generation = None;
        self.pause_quarantine(Duration::MAX);
        let waiting = self.held.len() + self.backlog.len() + self.awaiting_token();
        let abandoned = waiting + self.runnable.take_if(|_| true).len();
        self.held = Held::default();
        self.backlog.clear();
        self.awaiting_token.values_mut().for_each(Vec::clear);
        let is_busy = |first: &First| self.busy.values().any(|busy| busy.receipt.tag() == first.tag);
        let idle = self.firsts.iter().filter(|(_, first)| !is_busy(first));
        let idle: Vec<RefreshId> = idle.map(|(id, _)| id.clone()).collect();
        for refresh_id in idle {
            self.leave(&refresh_id);
        }
        if abandoned > 0 {
            self.actions.push_back(Action::ReportAbandoned(abandoned));
        }
    }

    /// A host is down and is to be left alone, or may be called again.
    pub(super) fn on_outage(&mut self, outage: bool, now: Now) {
        self.outage = outage;
        self.admit_backlog(now);
    }

    /// All hosts are back: who waits here for one of them continues.
    pub(super) fn on_outage_end(&mut self, now: Now) {
        self.held.wake_blocked(now);
    }

    /// finAPI called back about a command.
    pub(super) fn on_wake_up(&mut self, command_id: CommandId, now: Now) {
        self.held.wake(command_id, now);
        // finAPI may call back before it has answered the start of the update.
        let busy = self.busy.values().filter_map(|busy| busy.refresh_id.as_ref());
        let woken = busy.filter(|refresh_id| refresh_id.command_id == command_id);
        self.woken.extend(woken.cloned());
    }

    /// A user's token was fetched, or could not be. All refreshes of the user share the result.
    pub(super) fn on_token(&mut self, user_id: &UserId, fetched: Result<(), Failure>, now: Now) {
        for mut job in self.awaiting_token.remove(user_id).unwrap_or_default() {
            job.failure = fetched.as_ref().err().cloned();
            self.place(job, now);
        }
    }

    /// Time has passed: what is due becomes runnable.
    pub(super) fn on_due(&mut self, now: Now) {
        self.resume_quarantine(now);
        while let Some(job) = self.held.pop_due(now) {
            self.runnable.push(job);
        }
    }

    /// When [`Self::on_due`] has something to do next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.held.next_due().into_iter().chain(self.resumes_at()).min()
    }

    /// Takes nothing more: parks what waits, in the order in which it came, and requeues what was not begun. What is running ends by
    /// itself and is parked then.
    pub(super) fn drain(&mut self, now: Now) {
        self.draining = true;
        let mut waiting = self.runnable.take_if(|_| true);
        waiting.extend(self.awaiting_token.values_mut().flat_map(std::mem::take));
        waiting.extend(std::iter::from_fn(|| self.held.pop()));
        // One acknowledgement covers all deliveries up to the first that is not acknowledged.
        waiting.sort_by_key(|job| job.receipt.tag());
        for job in waiting {
            self.place(job, now);
        }
        for job in std::mem::take(&mut self.backlog) {
            self.requeue(job);
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether nothing is running or publishing.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty() && self.actions.is_empty()
    }

    /// How many publications have not ended.
    pub(super) fn publishing(&self) -> usize {
        self.publishing
    }

    /// How many hold a permit.
    pub(super) fn running(&self) -> usize {
        self.busy.len() - self.publishing
    }

    /// How many are due and wait for a permit.
    pub(super) fn runnable(&self) -> usize {
        self.runnable.len()
    }

    pub(super) fn awaiting_token(&self) -> usize {
        self.awaiting_token.values().map(Vec::len).sum()
    }

    /// Background commands that wait for room.
    pub(super) fn backlog(&self) -> impl ExactSizeIterator<Item = &Refresh> {
        self.backlog.iter().map(|job| &*job.refresh)
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Refresh> {
        self.held.refreshes()
    }

    /// Whether a delivery's connection still works, as far as this worker knows.
    fn owns(&self, receipt: &Receipt) -> bool {
        self.generation == Some(receipt.tag().generation)
    }

    fn begin(&mut self, receipt: Receipt, refresh_id: Option<RefreshId>, runs_for: Option<UserId>) -> RunId {
        self.runs += 1;
        self.publishing += usize::from(runs_for.is_none());
        self.forwards += usize::from(receipt.came_back_too_often());
        let busy = Busy {
            receipt,
            refresh_id,
            runs_for,
        };
        self.busy.insert(self.runs, busy);
        self.runs
    }

    fn hold(&mut self, job: Job, due: Duration, now: Now) {
        self.actions.push_back(Action::ReportHeld);
        self.held.insert(job, due, now);
    }

    fn publish(&mut self, receipt: Receipt, refresh_id: Option<RefreshId>, publication: Publication) {
        let tag = receipt.tag();
        let id = self.begin(receipt, refresh_id, None);
        self.actions.push_back(Action::Publish(id, tag, publication));
    }

    fn park(&mut self, job: Job) {
        let refresh_id = Some(job.refresh.command.refresh_id().clone());
        let redeliveries = job.redeliveries_to_keep();
        self.publish(job.receipt, refresh_id, Publication::Park(job.refresh, redeliveries));
    }

    /// Not held, because others need the room. Of the quarantine it goes back there when it comes again.
    fn park_paused(&mut self, mut job: Job, wait: PauseWait, now: Now) {
        job.refresh.pause(wait, now.time);
        job.is_paused = true;
        self.park(job);
    }

    /// A lane has no count of redeliveries, because any sender could write one. What has a count to keep is parked.
    fn requeue(&mut self, job: Job) {
        if job.redeliveries_to_keep() > 0 {
            return self.park(job);
        }
        let refresh_id = Some(job.refresh.command.refresh_id().clone());
        self.publish(job.receipt, refresh_id, Publication::Requeue(job.refresh));
    }

    fn await_token(&mut self, job: Job) {
        if self.draining {
            return self.park(job);
        }
        let user_id = job.refresh.command.user_id();
        if let Some(waiting) = self.awaiting_token.get_mut(user_id) {
            return waiting.push(job);
        }
        let user_id = user_id.clone();
        self.actions.push_back(Action::FetchToken(user_id.clone()));
        self.awaiting_token.insert(user_id, vec![job]);
    }

    /// Takes a job out of where it waits.
    fn take_waiting(&mut self, refresh_id: &RefreshId, tag: Tag) -> Option<Job> {
        let is_it = |job: &Job| job.receipt.tag() == tag;
        let waiting = self.held.remove(refresh_id).or_else(|| self.runnable.remove(tag));
        let waiting = waiting.or_else(|| {
            let at = self.backlog.iter().position(is_it)?;
            self.backlog.remove(at)
        });
        waiting.or_else(|| {
            let mut users = self.awaiting_token.values_mut();
            users.find_map(|waiting| waiting.iter().position(is_it).map(|at| waiting.remove(at)))
        })
    }

    fn forget(&mut self, refresh_id: Option<&RefreshId>, tag: Tag) {
        let Some(refresh_id) = refresh_id else { return };
        if self.firsts.get(refresh_id).is_some_and(|first| first.tag == tag) {
            self.leave(refresh_id);
        }
    }
}
