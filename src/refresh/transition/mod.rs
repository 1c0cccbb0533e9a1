//! One step: what finAPI responded decides where a refresh goes. Each method takes the refresh and hands back the step.

mod collecting;
mod locate;
mod outcome;
mod task;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;

use super::failure::{Doubts, Failure, FailureDetails};
use super::model::WebFormStatus;
use super::query::{Query, Response};
use super::schedule::Polling;
use locate::Search;

use super::{Asked, Next, Phase, Policy, Refresh, Step, StepContext, event, later};

/// What the transitions of one step share.
pub(super) struct Transition<'a> {
    pub(super) context: StepContext,
    pub(super) policy: &'a Policy,
}

impl Transition<'_> {
    pub(super) fn on_response(&self, mut refresh: Refresh, response: Response) -> Step {
        refresh.doubts = Doubts::default();
        match (refresh.phase.clone(), response) {
            (Phase::Locating { locked, .. }, Response::Connection(connection)) => {
                self.on_connection(refresh, &connection, locked)
            }
            (Phase::Locating { lookup, asked, .. }, Response::Tasks(tasks)) => {
                let asked = Asked::both(self.context.announced, asked);
                self.on_task_list(refresh, tasks, Search { lookup, asked })
            }
            (Phase::Locating { .. } | Phase::Updating { .. }, Response::Task(task)) => self.follow_task(refresh, task),
            (Phase::NotifyingUser { task, form, reason }, Response::WebForm(web_form)) => {
                self.notify_user(refresh, task, &form, reason, &web_form, self.context.now)
            }
            (Phase::AwaitingUser { task, expires_at, .. }, Response::WebForm(form)) => {
                if form.status != WebFormStatus::Open {
                    refresh.times.web_form_ended = Some(self.context.now);
                }
                self.on_web_form(refresh, task, expires_at, form)
            }
            (Phase::Settling { update }, Response::Connection(connection)) => {
                self.on_connection_settling(refresh, update, connection)
            }
            (Phase::Collecting(collecting), Response::Connection(connection))
                if collecting.query() == Query::Connection =>
            {
                self.on_connection_collecting(refresh, collecting, connection)
            }
            (Phase::Collecting(collecting), Response::Collected(collected)) => {
                self.on_collected(refresh, collecting, collected)
            }
            (phase, response) => {
                let message = format!("{} in {}", response.name(), phase.name());
                self.on_call_failed(refresh, Failure::unexpected(&message))
            }
        }
    }

    fn finish_failed(&self, refresh: Refresh, details: &FailureDetails) -> Step {
        Step {
            events: vec![event::failed(&refresh, self.context.now, details)],
            next: Next::Done,
        }
    }

    /// How often to poll what finAPI may call back about.
    fn polling(&self) -> &Polling {
        self.policy.fallback_polling.as_ref().unwrap_or(&self.policy.polling)
    }

    fn poll_later(&self, refresh: Refresh, polling: &Polling, max: Duration) -> Step {
        let polls = refresh.polls.saturating_sub(1);
        let wait = polling.wait(polls, max, self.context.jitter);
        let due_at = later(self.context.now, wait).max(refresh.due_at);
        // finAPI asked for a wait just before the user was notified. Who cancels the refresh sees by this that it is to be obeyed.
        let failures = u32::from(refresh.due_at > self.context.now);
        self.schedule(Refresh {
            due_at,
            failures,
            ..refresh
        })
    }

    fn enter_now(&self, refresh: Refresh, phase: Phase) -> Step {
        self.enter(refresh, phase, self.context.now)
    }

    fn enter(&self, refresh: Refresh, phase: Phase, due_at: Timestamp) -> Step {
        self.schedule(Refresh {
            phase,
            phase_since: self.context.now,
            due_at,
            polls: 0,
            failures: 0,
            ..refresh
        })
    }

    fn schedule(&self, mut refresh: Refresh) -> Step {
        refresh.times.on_phase(&refresh.phase, self.context.now);
        let (now, deadline) = (self.context.now, refresh.deadline(self.policy));
        // Past the deadline only an outcome that is half published continues, and its waits are as long as any.
        let due_at = if now < deadline {
            refresh.due_at.min(deadline)
        } else {
            refresh.due_at
        };
        let due_at = due_at.max(now);
        Step {
            events: Vec::new(),
            next: Next::Continue(Box::new(Refresh { due_at, ..refresh })),
        }
    }
}
