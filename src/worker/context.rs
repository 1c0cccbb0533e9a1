//! What every run and every publication needs.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tracing::Span;

use super::fate::Fate;
use super::poll_planner::PollPlanner;
use super::running_tasks::RunningTasks;
use super::starts::Starts;
use crate::broker::Broker;
use crate::broker::topology::Topology;
use crate::clock::Clock;
use crate::finapi::FinApi;
use crate::id::UserId;
use crate::refresh::failure::{Failure, FailureClass};
use crate::refresh::order::Orders;
use crate::refresh::{Next, Policy, Refresh, Step};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::ProcessSpan;

/// Shared by the loop and all tasks.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) broker: Broker,
    pub(super) finapi: FinApi,
    pub(super) topology: Topology,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    /// Where messages come from, by the number of their subscription.
    pub(super) destinations: Vec<String>,
    pub(super) planner: Mutex<PollPlanner>,
    pub(super) running: Mutex<RunningTasks>,
    pub(super) jitter: Mutex<fastrand::Rng>,
    /// How often the broker refused what a step led to.
    pub(super) refusals: AtomicU64,
    pub(super) starts: Starts,
    /// What counts of the orders that were read.
    pub(super) orders: Mutex<Orders>,
}

impl Context {
    pub(super) fn destination(&self, subscription: u32) -> &str {
        let index = usize::try_from(subscription).unwrap_or(usize::MAX);
        self.destinations.get(index).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn planner(&self) -> MutexGuard<'_, PollPlanner> {
        self.planner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, RunningTasks> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fraction from 0 up to but not including 1.
    pub(super) fn random(&self) -> f64 {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    /// Fetches a token of a user.
    pub(super) async fn fetch_token(&self, user_id: &UserId) -> Result<(), Failure> {
        tracing::trace!("fetching a token");
        let fetching = AssertUnwindSafe(self.finapi.fetch_token(user_id)).catch_unwind();
        let panicked = |_| {
            Err(Failure::new(
                FailureClass::Internal,
                "a panic while a token was fetched",
            ))
        };
        fetching.await.unwrap_or_else(panicked)
    }

    /// Counts what became of a delivery.
    pub(super) fn report(&self, fate: Fate) {
        self.metrics.fate(fate.name(), 1);
    }

    /// Reports that a refresh entered another phase, or got a task.
    pub(super) fn report_step(&self, process: &ProcessSpan, step: &Step, before: &Refresh, now: Timestamp) {
        let next = match &step.next {
            Next::Continue(next) | Next::Checkpoint(next) => Some(next),
            Next::Done => None,
        };
        if let (None, Some(task)) = (before.task(), next.and_then(|next| next.task())) {
            process.set_task(task);
        }
        if next.is_none_or(|next| next.phase.name() != before.phase.name()) {
            let after = now.duration_since(before.phase_since).try_into().unwrap_or_default();
            self.metrics.left(before.phase.name(), after);
            let next = next.map_or("done", |next| next.phase.name());
            tracing::debug!(phase = before.phase.name(), next, "the refresh entered its next phase");
        }
    }
}

/// Says in each log line of a run or a publication whose it is.
pub(super) fn span(refresh: &Refresh) -> Span {
    tracing::info_span!(
        "refresh",
        trace_id = refresh.envelope.trace_id(),
        command_id = refresh.command.id().to_string().as_str(),
        bank_connection_id = refresh.command.connection_id().get(),
        task_id = refresh.task().map(|task| task.id.as_str()),
    )
}
