//! The user is notified of every web form before anything comes of it.

use bankrefresh::proto::{FailureReason, UpdateOrigin};
use bankrefresh::refresh::event::{Event, EventKind};

use super::findings::Findings;
use super::ledger::{Ledger, Published, Refresh};
use crate::line::Endpoint;

pub(super) const GAVE_UP: &str = "web form nobody was notified of: the refresh failed before";
pub(super) const CANCELLED: &str = "web form nobody was notified of: the refresh was cancelled before";
pub(super) const VANISHED: &str = "web form nobody was notified of: finAPI no longer knew the task";

/// Before an outcome that a user made, the user was notified; and who made a task notifies its user of the web form, unless it gave up
/// before that.
pub(crate) fn the_user_is_notified_first(ledger: &Ledger<'_>, violated: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        for (index, published) in refresh.events.iter().enumerate() {
            let context = published.event.context();
            let before = refresh.events[..index].iter();
            let mut before = before.filter(|before| asks(before, &context.task_id));
            if is_made_by_user(&published.event) && before.next().is_none() {
                let what = published.event.summary();
                violated.push(format!("command {}: {what} before its user was notified", refresh.id));
            }
            if let EventKind::UserActionRequired(event) = published.event.kind() {
                let id = refresh.event_id(&format!("web-form/{}", event.web_form_id));
                if context.event_id != id || event.web_form_url.is_empty() {
                    violated.push(format!("command {}: not the web form's event {id}", refresh.id));
                }
            }
        }
    }
    for call in &ledger.history.calls {
        if let Endpoint::Start {
            command,
            connection,
            made: Some(task),
        } = &call.endpoint
        {
            let Some(refresh) = ledger.refreshes.get(command) else {
                continue;
            };
            let asked = &ledger.history.asked.connections[connection];
            let has_form = asked
                .tasks
                .iter()
                .any(|asked| asked.id == *task && asked.web_form_id.is_some());
            let published = ledger
                .refreshes
                .values()
                .any(|any| any.events.iter().any(|event| asks(event, task)));
            if !has_form || published || !refresh.names(task) {
                continue;
            }
            if gave_up(refresh) || ledger.was_given_up_as_planned(refresh) {
                violated.excuse(GAVE_UP);
            } else if failed_by(refresh, FailureReason::Cancelled) {
                violated.excuse(CANCELLED);
            } else if vanished(ledger, refresh, task) {
                violated.excuse(VANISHED);
            } else {
                violated.push(format!(
                    "command {command} notified nobody of the web form of its task {task}"
                ));
            }
        }
    }
}

fn asks(published: &Published, task: &str) -> bool {
    matches!(published.event.kind(), EventKind::UserActionRequired(_)) && published.event.context().task_id == task
}

fn is_made_by_user(event: &Event) -> bool {
    match event.kind() {
        EventKind::TransactionsUpdated(event) => event.origin() == UpdateOrigin::UserActed,
        EventKind::RefreshFailed(event) => matches!(
            event.reason(),
            FailureReason::UserAborted | FailureReason::WebFormExpired | FailureReason::WebFormFailed
        ),
        EventKind::UserActionRequired(_) => false,
    }
}

/// Whether it failed because finAPI itself said that there is no such task. Who can't poll a task knows of no web form.
fn vanished(ledger: &Ledger<'_>, refresh: &Refresh<'_>, task: &str) -> bool {
    let mut calls = ledger.history.calls.iter();
    failed_by(refresh, FailureReason::NotFound)
        && calls.any(|call| {
            let is_missing = call.answered.is_some_and(|(_, status)| status == 404) && !call.is_changed();
            is_missing && call.endpoint == Endpoint::Task(task.to_owned())
        })
}

fn failed_by(refresh: &Refresh<'_>, reason: FailureReason) -> bool {
    refresh.events.iter().any(|published| match published.event.kind() {
        EventKind::RefreshFailed(event) => event.reason() == reason,
        _ => false,
    })
}

/// Whether it stopped for finAPI's sake or for time's.
fn gave_up(refresh: &Refresh<'_>) -> bool {
    refresh.events.iter().any(|published| match published.event.kind() {
        EventKind::RefreshFailed(event) => matches!(
            event.reason(),
            FailureReason::TimedOut
                | FailureReason::FinapiUnavailable
                | FailureReason::UnexpectedResponse
                | FailureReason::UserUnauthorized
        ),
        _ => false,
    })
}
