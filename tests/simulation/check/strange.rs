//! What a strange finAPI may lead to. Beside what holds in every run: only finAPI's own word is a verdict, what can be read is read, waits
//! that are asked for are obeyed, and a refresh fails of trouble only after as much of it as its settings say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bankrefresh::proto::{FailureReason, RefreshFailed};
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::{BodyFault, FaultKind, Imported};
use tokio::time::Instant;

use super::data::is_late;
use super::findings::Findings;
use super::ledger::{Ledger, Published, Refresh};
use super::orders::knew_of_cancel;
use super::{Check, check};
use crate::line::{Call, Endpoint};
use crate::strange::{Means, Strange};

const REPEATED_BESIDE: &str = "read repeated beside one that finAPI asked to wait";

/// What holds in a strange run beside what holds in every run.
pub(super) const CHECKS: &[Check] = &[
    check(
        "strange",
        "only finAPI's own word ends a refresh for good",
        only_finapis_word_is_final,
    ),
    check(
        "strange",
        "what can be read of an answer is read",
        what_can_be_read_is_read,
    ),
    check(
        "strange",
        "a refresh fails of trouble on the way only after as much of it as it may",
        trouble_is_endured,
    ),
    check(
        "strange",
        "finAPI is left alone as long as it asks for, in seconds or by a date",
        waits_are_obeyed,
    ),
    check("strange", "paging goes on at the refused page", paging_goes_on),
    check(
        "strange",
        "what is stored late is published by the next refresh",
        late_storage_is_published,
    ),
];

/// A task that is not found so soon after it was made is only not to be seen yet.
const NOT_YET_SEEN: Duration = Duration::from_secs(10);
/// A web form is gone when finAPI says so as often in a row.
const GONE: usize = 3;
/// What the workflow says of a refresh that fails by its time.
const OVERDUE: &str = "the refresh's deadline has passed";
/// How long a worker waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP's dates have whole seconds.
const SECOND: Duration = Duration::from_secs(1);

fn failed<'a>(refresh: &'a Refresh<'_>) -> impl Iterator<Item = (&'a Published, &'a RefreshFailed)> {
    refresh
        .events
        .iter()
        .filter_map(|published| match published.event.kind() {
            EventKind::RefreshFailed(failed) => Some((published, failed)),
            EventKind::TransactionsUpdated(_) | EventKind::UserActionRequired(_) => None,
        })
}

fn only_finapis_word_is_final(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        for (published, failed) in failed(refresh) {
            if !is_said(ledger, refresh, published, failed.reason()) {
                let (id, summary) = (refresh.id, published.event.summary());
                findings.push(format!("command {id}: {summary}, which finAPI did not say"));
            }
        }
    }
}

/// Whether finAPI itself said so, before the event was published.
fn is_said(ledger: &Ledger<'_>, refresh: &Refresh<'_>, published: &Published, reason: FailureReason) -> bool {
    let calls: Vec<&Call> = calls(ledger, refresh, published.at).collect();
    let says = |statuses: &[u16]| {
        let mut own = calls.iter().filter(|call| is_own(call));
        own.any(|call| is_answered(call, statuses) && !is_not_yet_seen(ledger, refresh, call))
    };
    let form = |statuses: &[&str]| {
        let task = ledger.asked_of_task(refresh.command.bank_connection_id, &published.event.context().task_id);
        let ended = task.and_then(|task| task.web_form_ended_at.as_ref());
        let status = task.and_then(|task| task.web_form_status.as_deref());
        let is_over = ended.is_some_and(|ended| ledger.instant_of(ended) <= published.at);
        is_over && status.is_some_and(|status| statuses.contains(&status))
    };
    let task_failed = || {
        let task = ledger.asked_of_task(refresh.command.bank_connection_id, &published.event.context().task_id);
        task.is_some_and(|task| task.status == "COMPLETED_WITH_ERROR")
    };
    match reason {
        FailureReason::BankRejected | FailureReason::UpdateFailed | FailureReason::WebFormFailed => {
            task_failed() || form(&["COMPLETED_WITH_ERROR"])
        }
        FailureReason::UserAborted => {
            let is_cancelled = form(&["CANCELLED"]) && is_cancelled_by_order(ledger, refresh, published);
            form(&["ABORTED"]) || is_cancelled || is_gone(&calls)
        }
        // A status that is new counts as open, until the form's time is over.
        FailureReason::WebFormExpired => form(&["EXPIRED"]) || is_gone(&calls) || is_odd(&calls),
        FailureReason::RequestRejected => says(&[400, 422]),
        FailureReason::NotFound => says(&[404]),
        FailureReason::NotSupported => says(&[422]),
        FailureReason::UserUnauthorized => says(&[400, 401, 403]),
        FailureReason::UserLocked => says(&[423]),
        FailureReason::ClientUnauthorized => says(&[401, 403]),
        FailureReason::ConnectionLocked => says(&[423]),
        // Those are about trouble, time and orders.
        FailureReason::FinapiUnavailable
        | FailureReason::UnexpectedResponse
        | FailureReason::TimedOut
        | FailureReason::Internal
        | FailureReason::Cancelled => true,
        // No command of the simulation names a client.
        FailureReason::WrongClient | FailureReason::Unspecified => false,
    }
}

/// Whether a worker had finAPI cancel the web form of a failure's task, because another command that waited for it was cancelled.
fn is_cancelled_by_order(ledger: &Ledger<'_>, refresh: &Refresh<'_>, published: &Published) -> bool {
    let task = ledger.asked_of_task(refresh.command.bank_connection_id, &published.event.context().task_id);
    let Some(form) = task.and_then(|task| task.web_form_id.as_ref()) else {
        return false;
    };
    let mut calls = ledger.history.calls.iter().filter(|call| call.at <= published.at);
    calls.any(|call| {
        let cancelled = ledger.command_of(call).and_then(|id| ledger.refreshes.get(id));
        call.endpoint == Endpoint::CancelWebForm(form.clone())
            && cancelled.is_some_and(|cancelled| knew_of_cancel(ledger, call, cancelled))
    })
}

/// The calls of a command, and those for its user's tokens, that were answered or given up by then.
fn calls<'a>(ledger: &'a Ledger<'_>, refresh: &'a Refresh<'_>, by: Instant) -> impl Iterator<Item = &'a Call> {
    let calls = ledger.history.calls.iter().filter(move |call| call.sent <= by);
    let user = refresh.command.user_id.as_str();
    calls.filter(move |call| {
        // Whose refresh token it is does not show.
        let is_for_token = call.endpoint == Endpoint::Token && call.password_of.as_deref().is_none_or(|of| of == user);
        is_for_token || ledger.command_of(call) == Some(refresh.id)
    })
}

fn is_answered(call: &Call, statuses: &[u16]) -> bool {
    call.answered.is_some_and(|(_, status)| statuses.contains(&status))
}

/// Whether what arrived is what finAPI says now, whatever happened to the form of it.
fn is_own(call: &Call) -> bool {
    match &call.met {
        None | Some(FaultKind::Status { .. } | FaultKind::Slow { .. }) => true,
        // It is late, and what there is of it is finAPI's.
        Some(FaultKind::Body(BodyFault::Drips { .. })) => true,
        Some(FaultKind::Stale { .. }) => false,
        Some(FaultKind::TokenDies { after_work }) => *after_work || call.endpoint == Endpoint::Token,
        Some(other) => is_readable(other),
    }
}

fn is_not_yet_seen(ledger: &Ledger<'_>, refresh: &Refresh<'_>, call: &Call) -> bool {
    let Endpoint::Task(task) = &call.endpoint else {
        return false;
    };
    let task = ledger.asked_of_task(refresh.command.bank_connection_id, task);
    task.is_some_and(|task| call.at < ledger.instant_of(&task.created_at) + NOT_YET_SEEN)
}

/// Whether finAPI said often enough in a row that the web form is gone.
fn is_gone(calls: &[&Call]) -> bool {
    let of_form = calls
        .iter()
        .filter(|call| matches!(call.endpoint, Endpoint::WebForm(_)));
    let in_a_row = of_form
        .rev()
        .take_while(|call| is_own(call) && is_answered(call, &[404]));
    in_a_row.count() >= GONE
}

/// Whether the last poll of the web form had odd data.
fn is_odd(calls: &[&Call]) -> bool {
    let mut of_form = calls
        .iter()
        .rev()
        .filter(|call| matches!(call.endpoint, Endpoint::WebForm(_)));
    of_form
        .next()
        .is_some_and(|call| matches!(call.met, Some(FaultKind::Odd(_))))
}

/// Fifteen minutes, and the jitter of a wait.
const PASSWORD_LEFT_ALONE: Duration = Duration::from_secs(15 * 60 + 60);

/// How long a refresh may take longer whose user's or connection's calls fail or hang for good: as long as any refresh may, where few users call,
/// and then as long as its attempts, in two phases.
pub(super) fn endured(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> Duration {
    let is_its = |strange: &&Strange| match &strange.means {
        Means::Fault(fault) => {
            let (user, connection) = (fault.user_id.as_ref(), fault.connection_id);
            strange.until.is_none()
                && (user == Some(&refresh.command.user_id) || connection == Some(refresh.command.bank_connection_id))
        }
        Means::Late(_) | Means::Clock => false,
    };
    let mut acts = ledger.scenario.strange.iter();
    let alone = left_alone(ledger, refresh);
    match acts.find(is_its) {
        Some(_) => {
            let policy = &ledger.scenario.policy;
            alone + policy.limits.refresh + 2 * policy.retry.attempts * (policy.retry.max + TIMEOUT)
        }
        None => alone,
    }
}

/// A password that was refused twice with 4xx, and not in finAPI's own words, is left alone for 15 minutes, because finAPI may have counted it.
fn left_alone(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> Duration {
    let user = Some(refresh.command.user_id.as_str());
    let passwords = ledger.history.calls.iter();
    let passwords = passwords.filter(|call| call.endpoint == Endpoint::Token && call.password_of.as_deref() == user);
    let is_foreign = |call: &&Call| {
        let is_refusal = call
            .answered
            .is_some_and(|(_, status)| (400..500).contains(&status) && status != 429);
        let has_other_words = !matches!(call.met, None | Some(FaultKind::Status { .. } | FaultKind::Slow { .. }));
        is_refusal && has_other_words
    };
    let twice = passwords.filter(is_foreign).count() / 2;
    PASSWORD_LEFT_ALONE * u32::try_from(twice).unwrap_or(u32::MAX)
}

/// Whether what a call met can be read all the same.
fn is_readable(met: &FaultKind) -> bool {
    match met {
        FaultKind::Odd(_) | FaultKind::Stale { .. } | FaultKind::TokenDies { .. } => true,
        FaultKind::Body(fault) => matches!(
            fault,
            BodyFault::ContentType(_) | BodyFault::Latin1 | BodyFault::ByteOrderMark | BodyFault::Utf16
        ),
        FaultKind::Status { .. }
        | FaultKind::Slow { .. }
        | FaultKind::Dropped
        | FaultKind::Malformed
        | FaultKind::ResponseLost
        | FaultKind::Gateway(_) => false,
    }
}

/// The failures that are about trouble on the way and not about time, each with how many calls before it met some that can be read, and how
/// many met other trouble.
fn of_trouble<'a>(
    ledger: &'a Ledger<'_>,
    refresh: &'a Refresh<'_>,
) -> impl Iterator<Item = (&'a RefreshFailed, usize, usize)> {
    let of_trouble = failed(refresh).filter(|(_, failed)| {
        use FailureReason::{FinapiUnavailable, UnexpectedResponse};
        matches!(failed.reason(), FinapiUnavailable | UnexpectedResponse) && failed.message != OVERDUE
    });
    of_trouble.map(|(published, failed)| {
        let calls: Vec<&Call> = calls(ledger, refresh, published.at).collect();
        let readable = calls.iter().filter(|call| call.met.as_ref().is_some_and(is_readable));
        let is_trouble = |call: &&&Call| match &call.met {
            Some(met) => !is_readable(met),
            None => call.answered.is_none(),
        };
        (failed, readable.count(), calls.iter().filter(is_trouble).count())
    })
}

fn attempts(ledger: &Ledger<'_>) -> usize {
    ledger.scenario.policy.retry.attempts as usize
}

fn what_can_be_read_is_read(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        for (failed, readable, trouble) in of_trouble(ledger, refresh) {
            if trouble < attempts(ledger) && readable > 0 {
                let (id, message) = (refresh.id, &failed.message);
                findings.push(format!("command {id} failed of what can be read: {message}"));
            }
        }
    }
}

fn trouble_is_endured(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        for (failed, readable, trouble) in of_trouble(ledger, refresh) {
            if trouble < attempts(ledger) && readable == 0 {
                let (id, message) = (refresh.id, &failed.message);
                findings.push(format!(
                    "command {id} met trouble {trouble} times and failed: {message}"
                ));
            }
        }
    }
}

/// The calls of each command that was gone about once, so that one follows the other.
fn one_after_the_other<'a>(ledger: &'a Ledger<'_>) -> BTreeMap<&'a str, Vec<&'a Call>> {
    let mut sorted: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &ledger.history.calls {
        let command = ledger.command_of(call);
        let refresh = command.and_then(|command| ledger.refreshes.get(command));
        if let Some(refresh) = refresh.filter(|refresh| refresh.runs() == 1) {
            sorted.entry(refresh.id).or_default().push(call);
        }
    }
    sorted
}

/// There is one excuse: accounts and transactions are read at once, each to its end, and the read beside the refused one was repeated on a new
/// connection, because its own had been closed.
fn waits_are_obeyed(ledger: &Ledger<'_>, findings: &mut Findings) {
    for (command, calls) in one_after_the_other(ledger) {
        for (number, call) in calls.iter().enumerate() {
            let (Some((answered, _)), Some(wait)) = (call.answered, call.retry_after) else {
                continue;
            };
            let mut after = calls[number..].iter().filter(|next| next.sent > answered);
            if let Some(next) = after.next().filter(|next| next.sent + SECOND < answered + wait) {
                if is_repeated_beside(&calls, call, next, answered) {
                    findings.excuse(REPEATED_BESIDE);
                    continue;
                }
                let (waited, at) = (next.sent - answered, ledger.time(answered));
                findings.push(format!(
                    "command {command} waited for {waited:?} of {wait:?} that finAPI asked for at {at:?}"
                ));
            }
        }
    }
}

/// Whether a call repeats one of its run that was on its way, to another endpoint, when an answer arrived.
fn is_repeated_beside(calls: &[&Call], refused: &Call, next: &Call, answered: Instant) -> bool {
    let mut beside = calls
        .iter()
        .filter(|other| other.run == next.run && other.sent <= answered);
    refused.run == next.run
        && next.endpoint != refused.endpoint
        && beside.any(|other| other.endpoint == next.endpoint && matches!(other.met, Some(FaultKind::Dropped)))
}

fn paging_goes_on(ledger: &Ledger<'_>, findings: &mut Findings) {
    for (command, calls) in one_after_the_other(ledger) {
        let pages = calls
            .iter()
            .filter(|call| matches!(call.endpoint, Endpoint::Transactions(_)));
        let pages: Vec<_> = pages.collect();
        for pair in pages.windows(2) {
            let (refused, next) = (pair[0], pair[1]);
            if is_answered(refused, &[429]) && next.page != refused.page {
                let (page, next) = (refused.page, next.page);
                findings.push(format!(
                    "command {command} went on at page {next} after page {page} was refused"
                ));
            }
        }
    }
}

/// Whoever collects the events of a connection has what was stored late once a later update of it is published.
fn late_storage_is_published(ledger: &Ledger<'_>, findings: &mut Findings) {
    for (id, asked) in &ledger.history.asked.connections {
        let refreshes = ledger.refreshes.values();
        let refreshes: Vec<_> = refreshes
            .filter(|refresh| refresh.command.bank_connection_id == *id)
            .collect();
        let published: BTreeSet<i64> = refreshes.iter().flat_map(|refresh| published_ids(refresh)).collect();
        let late = asked.imports.iter().filter(|import| is_late(&asked.imports, import));
        for import in late.filter(|import| has_later_update(ledger, &refreshes, import)) {
            let missing =
                (import.first_id..import.first_id + i64::from(import.count)).find(|id| !published.contains(id));
            if let Some(missing) = missing {
                findings.push(format!(
                    "connection {id}: transaction {missing} was stored late and is never published"
                ));
            }
        }
    }
}

fn published_ids<'a>(refresh: &'a Refresh<'_>) -> impl Iterator<Item = i64> + 'a {
    let updates = refresh
        .events
        .iter()
        .filter_map(|published| match published.event.kind() {
            EventKind::TransactionsUpdated(updated) => Some(updated),
            EventKind::RefreshFailed(_) | EventKind::UserActionRequired(_) => None,
        });
    updates.flat_map(|updated| updated.transactions.iter().map(|transaction| transaction.id))
}

/// Whether a task that was made after an import was published with success.
fn has_later_update(ledger: &Ledger<'_>, refreshes: &[&Refresh<'_>], import: &Imported) -> bool {
    let stored = ledger.instant_of(&import.imported_at);
    let mut events = refreshes.iter().flat_map(|refresh| &refresh.events);
    events.any(|published| {
        let context = published.event.context();
        let task = ledger.asked_of_task(context.bank_connection_id, &context.task_id);
        matches!(published.event.kind(), EventKind::TransactionsUpdated(_))
            && published.event.is_last()
            && task.is_some_and(|task| ledger.instant_of(&task.created_at) > stored)
    })
}
