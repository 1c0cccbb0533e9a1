//! Outcomes that need no answer of finAPI, and refreshes whose events the broker refuses.

use std::time::Duration;

use jiff::Timestamp;

use super::event::{self, Event, EventKind};
use super::failure::FailureDetails;
use super::{Command, Phase, Policy, Refresh, TaskRef, Times, later};
use crate::proto::{FailureReason, RefreshContext, timestamp};

/// How long a refresh waits after the broker refused what it led to, for the first times and from then on: in the first ten minutes its events
/// are repeated four times, and at most once in ten minutes after that.
const WAITS_AFTER_REFUSALS: [Duration; 4] = [
    Duration::from_secs(15),
    Duration::from_secs(45),
    Duration::from_secs(180),
    Duration::from_secs(360),
];
const WAIT_AFTER_REFUSAL_MAX: Duration = Duration::from_secs(600);

/// The wait after the n-th refusal in a row (from 1).
fn wait_after_refusal(refusals: u32) -> Duration {
    let index = usize::try_from(refusals.saturating_sub(1)).unwrap_or(usize::MAX);
    WAITS_AFTER_REFUSALS
        .get(index)
        .copied()
        .unwrap_or(WAIT_AFTER_REFUSAL_MAX)
}

fn wrong_client(command: &Command, policy: &Policy) -> FailureDetails {
    let (of_command, of_worker) = (command.client().unwrap_or_default(), policy.client.as_deref());
    let of_worker = match of_worker {
        Some(name) => format!("serves the client {name:?}"),
        None => "has no finapi.client_name".to_owned(),
    };
    let message = format!("the command is for the client {of_command:?}, and the worker that took it {of_worker}");
    FailureDetails::of(FailureReason::WrongClient, &message, false)
}

fn task_of(context: &RefreshContext) -> Option<TaskRef> {
    Some(TaskRef {
        id: context.task_id.parse().ok()?,
        created_at: timestamp(context.times?.task_created_at.as_ref()?)?,
    })
}

impl Refresh {
    /// The outcome of a refresh that failed already, is for another client of finAPI, or is past its deadline. To be checked before every call.
    #[must_use]
    pub fn failed(&self, now: Timestamp, policy: &Policy) -> Option<Event> {
        if let Phase::Failing { details, .. } = &self.phase {
            return Some(event::failed(self, now, details));
        }
        if self.is_of_other_client(policy) {
            return Some(event::failed(self, now, &wrong_client(&self.command, policy)));
        }
        if !self.is_overdue(now, policy) {
            return None;
        }
        let reason = match self.phase {
            Phase::Locating { locked: true, .. } => FailureReason::ConnectionLocked,
            _ if self.failures > 0 => FailureReason::FinapiUnavailable,
            _ => FailureReason::TimedOut,
        };
        Some(event::failed(
            self,
            now,
            &FailureDetails::of(reason, "the refresh's deadline has passed", true),
        ))
    }

    /// Once something of the outcome may be out, the rest follows however late it is.
    fn is_overdue(&self, now: Timestamp, policy: &Policy) -> bool {
        !self.is_half_published() && self.refusals == 0 && now >= self.deadline(policy)
    }

    /// The refresh comes from the quarantine. If its time was up there, that is not for want of an answer: it fails with INTERNAL.
    pub fn leave_quarantine(&mut self, now: Timestamp, policy: &Policy) {
        if matches!(self.phase, Phase::Failing { .. }) || !self.is_overdue(now, policy) {
            return;
        }
        let why = "the refresh's deadline passed while it was kept apart, because workers had died with it";
        self.phase = Phase::Failing {
            task: self.task().cloned(),
            part: self.next_part(),
            details: FailureDetails::of(FailureReason::Internal, why, true),
        };
        self.phase_since = now;
    }

    /// The refresh as it waits after the broker refused what a step led to. The waits grow: those consumers that have it already are sent
    /// it again each time. A failure is kept; all else is read again, which starts no update.
    pub fn on_refused(&mut self, events: &[Event], now: Timestamp) {
        self.refusals = self.refusals.saturating_add(1);
        self.due_at = later(now, wait_after_refusal(self.refusals));
        if let [event] = events
            && let EventKind::RefreshFailed(failure) = event.kind()
        {
            // The step may have found out more than the refresh knew before it.
            let context = event.context();
            self.times = Times::read(context.times, now);
            self.phase = Phase::Failing {
                task: task_of(context).or_else(|| self.task().cloned()),
                part: self.next_part(),
                details: failure.clone().into(),
            };
            self.phase_since = now;
        }
    }

    /// Whether what it does next needs its user's token.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        !matches!(self.phase, Phase::Failing { .. })
    }

    /// Whether it is for another client of finAPI than this worker's. A refresh that has a task is not: whoever started it was its client's. One
    /// that may have a task still is, because this worker would search for it, and start another one, with the wrong client.
    #[must_use]
    pub fn is_of_other_client(&self, policy: &Policy) -> bool {
        let client = self.command.client();
        client.is_some() && client != policy.client.as_deref() && matches!(self.phase, Phase::Locating { .. })
    }

    /// The outcome of a refresh that can't be published as it is, now or ever.
    #[must_use]
    pub fn unpublishable(&self, now: Timestamp, why: &str) -> Event {
        event::failed(self, now, &FailureDetails::of(FailureReason::Internal, why, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::RefreshConnection;
    use crate::refresh::Envelope;

    #[test]
    fn only_what_has_no_task_is_of_another_client_also_where_it_may_have_one() {
        let command = RefreshConnection {
            command_id: uuid::Uuid::nil().to_string(),
            user_id: "anna".to_owned(),
            bank_connection_id: 1,
            client: "live".to_owned(),
            ..RefreshConnection::default()
        };
        let command = Command::parse(command).expect("a command");
        let now = Timestamp::UNIX_EPOCH;
        let mut refresh = Refresh::new(command, now, Envelope::default(), now);
        let of = |client: &str| Policy {
            client: Some(client.to_owned()),
            ..Policy::default()
        };
        assert!(refresh.is_of_other_client(&of("sandbox")) && !refresh.is_of_other_client(&of("live")));
        refresh.interrupted();
        refresh.may_have_started(now, now);
        assert!(refresh.is_of_other_client(&of("sandbox")), "it would start another one");
        let task = TaskRef {
            id: "0190f1c0-0000-7000-8000-000000000002".into(),
            created_at: now,
        };
        refresh.phase = Phase::Updating { task };
        assert!(!refresh.is_of_other_client(&of("sandbox")));
    }

    #[test]
    fn what_is_refused_is_repeated_five_times_in_ten_minutes_at_most_and_then_once() {
        // Once more after a second at first: `worker::publication`.
        let mut at = Duration::from_secs(1);
        let mut repeats = 1;
        for refusals in 1.. {
            at += wait_after_refusal(refusals);
            if at > Duration::from_secs(600) {
                break;
            }
            repeats += 1;
        }
        assert!(repeats <= 5, "{repeats}");
        assert!((5..100).all(|refusals| wait_after_refusal(refusals) == Duration::from_secs(600)));
    }
}
