//! One step: what finAPI answered decides where a refresh goes. Each method takes the refresh and hands back the step.

mod outcome;
mod task;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;

use super::failure::{Fail, Failure};
use super::query::Answer;
use super::schedule::Polling;
use super::{Moment, Next, Phase, Policy, Refresh, Step, event, later};

/// One step's surroundings.
pub(super) struct At<'a> {
    pub(super) moment: Moment,
    pub(super) policy: &'a Policy,
}

impl At<'_> {
    pub(super) fn answered(&self, refresh: Refresh, answer: Answer) -> Step {
        match (refresh.phase.clone(), answer) {
            (Phase::Requested { locked, .. }, Answer::Connection(connection)) => {
                self.checked(refresh, &connection, locked)
            }
            (Phase::Requested { first, locked }, Answer::Tasks(tasks)) => self.looked(refresh, tasks, first, locked),
            (Phase::Requested { .. } | Phase::Updating { .. }, Answer::Task(task)) => self.stands(refresh, task),
            (Phase::NotifyingUser { task, form, reason }, Answer::WebForm(web_form)) => {
                self.notify_user(refresh, task, &form, reason, &web_form)
            }
            (Phase::AwaitingUser { task, expires_at, .. }, Answer::WebForm(form)) => {
                self.awaited(refresh, task, expires_at, form)
            }
            (Phase::Settling { update }, Answer::Connection(connection)) => self.settled(refresh, update, connection),
            (Phase::Collecting { update, connection }, Answer::Collected(collected)) => {
                self.collected(refresh, update, &connection, &collected)
            }
            (phase, answer) => {
                let message = format!("{} in {}", answer.name(), phase.name());
                self.failed(refresh, Failure::unexpected(&message))
            }
        }
    }

    fn fail(&self, refresh: Refresh, fail: &Fail) -> Step {
        Step {
            events: vec![event::failed(&refresh, self.moment.now, fail)],
            next: Next::Over,
        }
    }

    /// How often finAPI is asked about what it may call back about.
    fn polling(&self) -> &Polling {
        self.policy.beside_callbacks.as_ref().unwrap_or(&self.policy.polling)
    }

    fn wait(&self, refresh: Refresh, polling: &Polling, max: Duration) -> Step {
        let polls = refresh.polls.saturating_sub(1);
        let wait = polling.wait(polls, max, self.moment.jitter);
        let due_at = later(self.moment.now, wait);
        let failures = 0;
        self.go_on(Refresh {
            due_at,
            failures,
            ..refresh
        })
    }

    fn at_once(&self, refresh: Refresh, phase: Phase) -> Step {
        self.enter(refresh, phase, self.moment.now)
    }

    fn enter(&self, refresh: Refresh, phase: Phase, due_at: Timestamp) -> Step {
        self.go_on(Refresh {
            phase,
            phase_since: self.moment.now,
            due_at,
            polls: 0,
            failures: 0,
            ..refresh
        })
    }

    fn go_on(&self, refresh: Refresh) -> Step {
        let (now, deadline) = (self.moment.now, refresh.deadline(self.policy));
        // Past the deadline only an outcome that is half published continues, and its waits are as long as any.
        let due_at = if now < deadline {
            refresh.due_at.min(deadline)
        } else {
            refresh.due_at
        };
        let due_at = due_at.max(now);
        Step {
            events: Vec::new(),
            next: Next::Wait(Box::new(Refresh { due_at, ..refresh })),
        }
    }
}
