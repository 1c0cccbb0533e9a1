//! One run of a refresh: query finAPI, decide, and so on until the refresh waits or something is to be published. Holds a permit from
//! its start to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::context::Context;
use super::orders::Stop;
use super::publication::{Decision, Publication};
use super::scheduler::{Run, RunEnd};
use super::starts::Asker;
use crate::finapi::{Control, Outcome, Permit};
use crate::proto::UpdateOrigin;
use crate::refresh::failure::{Failure, FailureClass};
use crate::refresh::query::{Query, QueryResult, Response};
use crate::refresh::{Next, Phase, Refresh, Step, StepContext, later};
use crate::telemetry::traces::ProcessSpan;

/// How long a refresh waits whose panic could not even be decided on.
const PANIC_WAIT: Duration = Duration::from_secs(60);

/// Where a run stops.
pub(super) enum RunStop {
    Waits,
    /// For the end of a pause.
    Paused,
    /// For a host that is down.
    Blocked,
    Publishes(Step),
    /// Other workers are to hear of a start before it is asked for.
    AnnouncesStart,
    NeedsToken,
    /// Room for a response, for which it waits as long as this.
    NeedsRoom(Duration),
    Stopped,
}

impl Context {
    /// Runs a refresh that is due. A panic on the way is one failed attempt.
    pub(super) async fn run(self: Arc<Self>, run: Run, control: Control, permit: Permit) -> RunEnd {
        let mut refresh = run.refresh;
        tracing::trace!(
            command_id = refresh.command.id().to_string().as_str(),
            "running a refresh"
        );
        let process = ProcessSpan::begin(&mut refresh, self.destination(run.tag.subscription));
        let started = Instant::now();
        let advancing = self.advance(&process, &mut refresh, run.failure, &control);
        let advanced = AssertUnwindSafe(process.instrument(advancing)).catch_unwind().await;
        drop(permit);
        let stop = match advanced {
            Ok(stop) => stop,
            Err(_) => self.after_panic(&mut refresh),
        };
        let end = |state: &'static str| {
            let destination = self.destination(run.tag.subscription);
            self.metrics.processed(destination, started.elapsed());
            process.end(state, None);
        };
        match stop {
            RunStop::Waits => {
                end("waits");
                RunEnd::Waits(refresh)
            }
            RunStop::Paused => {
                end("paused");
                // Not held, because others need the room: like what is paused before it runs.
                RunEnd::Publishes(Publication::Park(refresh, 0))
            }
            RunStop::Blocked => {
                end("blocked");
                RunEnd::Blocked(refresh)
            }
            RunStop::AnnouncesStart => {
                end("announces_start");
                RunEnd::Publishes(Publication::Start(refresh))
            }
            RunStop::NeedsToken => {
                end("needs_token");
                RunEnd::NeedsToken(refresh, run.renewals)
            }
            RunStop::NeedsRoom(wait) => {
                end("needs_room");
                refresh.due_at = later(self.clock.now(), wait.mul_f64(1.0 + self.random() / 2.0));
                RunEnd::Waits(refresh)
            }
            RunStop::Stopped => {
                end("stopped");
                RunEnd::Stopped(refresh)
            }
            RunStop::Publishes(step) => RunEnd::Publishes(Publication::Step(Box::new(Decision {
                before: refresh,
                step,
                process,
                started,
                room: control.room,
            }))),
        }
    }

    async fn advance(
        self: &Arc<Self>,
        process: &ProcessSpan,
        refresh: &mut Box<Refresh>,
        mut failure: Option<Failure>,
        control: &Control,
    ) -> RunStop {
        let mut is_blocked = false;
        refresh.on_run(self.clock.now());
        self.count_pauses(refresh, self.clock.now());
        loop {
            if let Some(stop) = self.end_cancelled(refresh, failure.as_ref(), control).await {
                return stop;
            }
            let now = self.clock.now();
            if refresh.due_at > now {
                return if is_blocked { RunStop::Blocked } else { RunStop::Waits };
            }
            if let Some(event) = refresh.failed(now, &self.policy) {
                return RunStop::Publishes(Step {
                    events: vec![event],
                    next: Next::Done,
                });
            }
            let query = refresh.query();
            let stop = match &failure {
                None if query == Query::Start => self.stop(refresh, now),
                _ => Stop::None,
            };
            match stop {
                Stop::None => {}
                Stop::UnknownBank => {
                    refresh.ask_for_bank();
                    continue;
                }
                Stop::Paused(wait) => {
                    refresh.pause(wait, now);
                    return RunStop::Paused;
                }
            }
            let asker = match &failure {
                None if query == Query::Start => self.asker(refresh),
                _ => Asker::Own,
            };
            match asker {
                Asker::Own => {}
                Asker::Unannounced => return RunStop::AnnouncesStart,
                Asker::NotOwn => {
                    self.starts.forget(refresh);
                    refresh.interrupted();
                    continue;
                }
            }
            let result = match failure.take() {
                Some(failure) => Err(failure),
                None => {
                    let outcome = self.finapi.query(refresh, &query, control).await;
                    self.on_start(refresh, &query, &outcome);
                    match outcome {
                        Outcome::Response(result) => result,
                        Outcome::NeedsToken => return RunStop::NeedsToken,
                        Outcome::NeedsRoom(wait) => return RunStop::NeedsRoom(wait),
                        Outcome::Stopped => return RunStop::Stopped,
                    }
                }
            };
            is_blocked = result.as_ref().is_err_and(Failure::is_not_sent);
            let step = self.decide(refresh, result);
            if !step.events.is_empty() {
                return RunStop::Publishes(step);
            }
            self.report_step(process, &step, refresh, self.clock.now());
            match step.next {
                Next::Continue(next) => *refresh = next,
                Next::Checkpoint(_) | Next::Done => return RunStop::Publishes(step),
            }
        }
    }

    /// Who asks for a start. Since the list of tasks was read, this worker may have seen a task.
    fn asker(&self, refresh: &Refresh) -> Asker {
        let command = &refresh.command;
        let seen_at = self.running().last_seen(command.connection_id());
        match seen_at.is_some_and(|at| at > refresh.due_at) && !command.asks_for_more() {
            true => Asker::NotOwn,
            false => self.starts.asker(refresh),
        }
    }

    fn decide(&self, refresh: &Refresh, mut result: QueryResult) -> Step {
        log_failure(refresh, &result);
        self.learn(refresh, &result);
        let now = self.clock.now();
        if let Ok(response) = &mut result {
            self.running().complete(refresh, response, now);
        }
        let runs_for = refresh.task().map(|task| now.duration_since(task.created_at));
        let runs_for = runs_for.and_then(|time| time.try_into().ok()).unwrap_or_default();
        let next_poll = self.planner().next_poll(refresh.command.connection_id(), runs_for);
        // Nothing else asks for a start.
        let announced = match refresh.phase {
            Phase::Locating { .. } => self.starts.of(refresh),
            _ => None,
        };
        let context = StepContext {
            now,
            jitter: self.random(),
            next_poll,
            clocks: self.finapi.clocks(),
            announced,
        };
        refresh.clone().step(result, context, &self.policy)
    }

    /// A refresh whose run panicked as often as retries are allowed ends with `RefreshFailed(INTERNAL)`.
    fn after_panic(&self, refresh: &mut Box<Refresh>) -> RunStop {
        let failure = Failure::new(FailureClass::Internal, "a panic while the refresh ran");
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| self.decide(refresh, Err(failure))));
        match decided {
            Ok(Step {
                events,
                next: Next::Continue(next),
            }) if events.is_empty() => {
                *refresh = next;
                RunStop::Waits
            }
            Ok(step) => RunStop::Publishes(step),
            Err(_) => {
                refresh.failures = refresh.failures.saturating_add(1);
                refresh.due_at = later(self.clock.now(), PANIC_WAIT);
                RunStop::Waits
            }
        }
    }

    /// How long the update took, when finAPI says so.
    fn learn(&self, refresh: &Refresh, result: &QueryResult) {
        let Ok(Response::Connection(connection)) = result else {
            return;
        };
        self.planner()
            .learn_bank(refresh.command.connection_id(), connection.bank_id);
        let Phase::Settling { update } = &refresh.phase else {
            return;
        };
        let (UpdateOrigin::Silent, Some(task), Some(end)) = (update.origin, &update.task, connection.last_success_at())
        else {
            return;
        };
        if refresh.polls == 0 {
            let delay = refresh.phase_since.duration_since(end);
            self.metrics.detected(delay.try_into().unwrap_or_default());
        }
        if let (true, Ok(duration)) = (connection.ready, end.duration_since(task.created_at).try_into()) {
            self.planner().observe(connection.bank_id, duration);
        }
    }
}

fn log_failure(refresh: &Refresh, result: &QueryResult) {
    let Err(failure) = result else { return };
    // Known outages and locks are no news.
    if matches!(failure.class, FailureClass::NotSent(_) | FailureClass::Locked) {
        return;
    }
    tracing::warn!(
        phase = refresh.phase.name(),
        class = failure.class.name(),
        request_id = failure.request_id.as_deref().unwrap_or_default(),
        "{}",
        failure.message
    );
}
