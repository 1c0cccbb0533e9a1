//! Orders: what this worker has read of them, and what follows from that.
//!
//! Each generation reads them again from the beginning. Until it has read all, what was known before counts. A worker that starts knows nothing
//! before: it keeps what it reads at once, so that this counts also where it can't read all in time.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Worker;
use super::context::Context;
use super::scheduler::Now;
use crate::broker::Delivery;
use crate::message;
use crate::refresh::order::{Order, Orders, Pause, PauseWait, Target};
use crate::refresh::{Phase, Refresh};

/// How long a worker that starts waits for orders at most. A broker that takes longer keeps nobody waiting.
const READ_MAX: Duration = Duration::from_secs(30);

/// How many pauses a status names.
const NAMED_MAX: usize = 20;

/// What a worker has read of orders.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What this generation has read and what does not count yet: none where the worker starts, and once all is read.
    read: Option<Orders>,
    /// All orders were read in this generation.
    is_up_to_date: bool,
    /// Orders are not waited for any more.
    has_begun: bool,
    /// Cancellations have come, and what waits for something else has not ended by them yet.
    cancels: bool,
    /// When something follows by itself: orders were waited for long enough, or a pause is over.
    due: Option<Duration>,
}

/// What stops a start.
pub(super) enum Stop {
    /// Nothing.
    None,
    /// Perhaps the bank, which is not known.
    UnknownBank,
    /// A pause.
    Paused(PauseWait),
}

/// A pause, as a worker's status names it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Paused {
    /// What: everything, a lane, a bank by its id, or a user, who is not named.
    pub what: String,
    /// Who paused it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends if nobody resumes it.
    pub until: Timestamp,
    /// Why; may be empty.
    pub reason: String,
}

/// How many targets of each kind are paused.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Counts {
    /// 1 while everything is.
    pub everything: usize,
    /// Lanes.
    pub lane: usize,
    /// Banks.
    pub bank: usize,
    /// Users.
    pub user: usize,
}

/// The pauses in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Pauses {
    /// How many there are of everything, of lanes, of banks and of users.
    pub counts: Counts,
    /// The first of them: everything, then lanes, banks and users.
    pub first: Vec<Paused>,
}

impl Reading {
    /// Whether runs may begin.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether it knows all orders.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.is_up_to_date
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }
}

impl Worker {
    /// A generation begins, and reads orders if the broker has any.
    pub(super) fn read_orders(&mut self, now: Now) {
        self.reading.is_up_to_date = false;
        match self.reading.has_begun {
            true => self.reading.read = Some(Orders::default()),
            false => *self.context.orders() = Orders::default(),
        }
        if !self.context.broker.consumes(&self.context.topology.control()) {
            self.reading.has_begun = true;
        }
        if !self.reading.has_begun {
            self.reading.due = Some(now.since_start + READ_MAX);
        }
    }

    pub(super) fn on_order(&mut self, delivery: &Delivery, now: Now) {
        let context = &self.context;
        let order = match message::order(delivery, now.time) {
            Ok(order) => order,
            Err(reason) => {
                tracing::warn!(reason, "skipped an order that cannot be read");
                return context.metrics.order("unreadable");
            }
        };
        context.metrics.order(order.name());
        let is_new = self.reading.is_up_to_date;
        if is_new {
            log(&order);
        }
        self.reading.cancels |= matches!(order, Order::Cancel(_));
        let followed = match &mut self.reading.read {
            Some(read) => read.follow(order, now.time),
            None => context.orders().follow(order, now.time),
        };
        if !followed {
            tracing::warn!("skipped an order, because there are too many");
        }
        if is_new {
            self.on_orders();
        }
    }

    /// All orders that there were are read.
    pub(super) fn on_caught_up(&mut self) {
        if let Some(read) = self.reading.read.take() {
            *self.context.orders() = read;
        }
        self.reading.is_up_to_date = true;
        self.reading.has_begun = true;
        self.on_orders();
    }

    /// Something that orders say, or when, has come.
    pub(super) fn on_orders_due(&mut self) {
        if !self.reading.has_begun {
            tracing::warn!(
                "orders could not be read in time, so this worker may not know of every pause and cancellation"
            );
            self.reading.has_begun = true;
        }
        self.on_orders();
    }

    fn on_orders(&mut self) {
        let now = self.now();
        let next = {
            let mut orders = self.context.orders();
            orders.on_time(now.time);
            orders.next_end(now.time)
        };
        let left = next.map(|next| Duration::try_from(next.duration_since(now.time)).unwrap_or_default());
        self.reading.due = left.map(|left| now.since_start.saturating_add(left));
        self.switch_lanes();
    }

    /// What waits here and is cancelled ends before anything else is done with it.
    pub(super) fn end_cancelled_waiting(&mut self) {
        // While orders are still being read none of them counts. Once all are read, all count at once.
        if self.reading.read.is_some() || !std::mem::take(&mut self.reading.cancels) {
            return;
        }
        let (context, now) = (Arc::clone(&self.context), self.now());
        let orders = context.orders();
        self.scheduler
            .end_waiting(|refresh| orders.cancel(refresh).is_some(), now);
    }

    /// Forgets what is over.
    pub(super) fn forget_orders(&mut self) {
        let now = self.now().time;
        self.context.orders().forget(now, self.context.policy.limits.refresh);
    }

    /// The pauses in force.
    pub(super) fn pauses(&self) -> Pauses {
        let now = self.context.clock.now();
        let orders = self.context.orders();
        let count = |is_it: fn(&Target) -> bool| orders.pauses(now).filter(|pause| is_it(&pause.target)).count();
        Pauses {
            counts: Counts {
                everything: count(|target| matches!(target, Target::Everything)),
                lane: count(|target| matches!(target, Target::Lane { .. })),
                bank: count(|target| matches!(target, Target::Bank(_))),
                user: count(|target| matches!(target, Target::User(_))),
            },
            first: orders.pauses(now).take(NAMED_MAX).map(Paused::from).collect(),
        }
    }
}

impl Context {
    pub(super) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a refresh waits because it is paused and nothing of it has begun.
    pub(super) fn paused(&self, refresh: &Refresh, now: Timestamp) -> Option<PauseWait> {
        match refresh.may_have_begun() || self.orders().cancel(refresh).is_some() {
            true => None,
            false => self.stopped(refresh, now),
        }
    }

    /// Whether a refresh ends without its user's token: it is for another client, or it is cancelled and has no web form.
    pub(super) fn ends_without_token(&self, refresh: &Refresh) -> bool {
        refresh.is_of_other_client(&self.policy)
            || refresh.web_form().is_none() && self.orders().cancel(refresh).is_some()
    }

    fn stopped(&self, refresh: &Refresh, now: Timestamp) -> Option<PauseWait> {
        let orders = self.orders();
        orders.pauses(now).next()?;
        let bank = self.planner().bank_of(refresh.command.connection_id());
        orders.stop(refresh, bank, now, self.random())
    }

    /// What stops the start of a refresh.
    pub(super) fn stop(&self, refresh: &Refresh, now: Timestamp) -> Stop {
        if let Some(wait) = self.stopped(refresh, now) {
            return Stop::Paused(wait);
        }
        let is_known = || self.planner().bank_of(refresh.command.connection_id()).is_some();
        match self.orders().ask_for_banks(now) && !is_known() {
            true => Stop::UnknownBank,
            false => Stop::None,
        }
    }

    /// The time in which a refresh was paused is no time that it took.
    pub(super) fn count_pauses(&self, refresh: &mut Refresh, now: Timestamp) {
        if let Phase::Locating { .. } = refresh.phase
            && self.orders().knows_pauses()
        {
            let bank = self.planner().bank_of(refresh.command.connection_id());
            let paused_for = self.orders().paused_for(refresh, bank, now);
            refresh.was_paused(paused_for);
        }
    }
}

fn log(order: &Order) {
    match order {
        Order::Pause(Pause { target, until, .. }) => {
            let until = until.map(|until| until.to_string());
            tracing::info!(until, "paused {target}");
        }
        Order::Resume { target, .. } => tracing::info!("resumed {target}"),
        // Whose is personal, and the outcomes are logged.
        Order::Cancel(_) => {}
    }
}

impl From<&Pause> for Paused {
    fn from(pause: &Pause) -> Self {
        Self {
            what: pause.target.to_string(),
            by: pause.by.clone(),
            since: pause.since,
            until: pause.ends_at(),
            reason: pause.reason.clone(),
        }
    }
}
