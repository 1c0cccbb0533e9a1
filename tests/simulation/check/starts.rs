//! Which updates finAPI was asked to start.

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::broker::memory::What;
use bankrefresh::refresh::Command;
use tokio::task::Id;
use tokio::time::Instant;
use uuid::Uuid;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use crate::line::{Call, Endpoint};

pub(super) const UNOPENED_FORM: &str = "second start: the first task's form was unopened";
pub(super) const WITHOUT_DATE: &str = "second start: the command has no date of any kind";
pub(super) const DATED_AHEAD: &str = "second start: the command's date was ahead when it was first read";
pub(super) const NOT_HEARD: &str = "second start: one of two workers had not heard of the other one";
pub(super) const WANTS_MORE: &str = "start although a task runs: the command asks for more";
pub(super) const OLDER_LIST: &str = "start although a task runs: it began after the list was read";
pub(super) const CHANGED_LIST: &str = "start although a task runs: the list was changed on its way";

/// A task that was made.
struct Made<'a> {
    /// The number of the call that made it.
    index: usize,
    run: Option<Id>,
    life: u64,
    sent: Instant,
    at: Instant,
    connection: i64,
    task: &'a str,
}

/// A command starts one task. There are three excuses. Two runs that don't know of each other may both find no task, and finAPI accepts
/// the second start where the first one led to a web form that nobody has opened, because that locks nothing. And nobody can know
/// whether a task is older than a command that has no date of any kind, once such a command has come back or come twice. The same goes
/// for a command whose only date was ahead of the clock of the worker that read it first.
pub(crate) fn a_command_starts_one_task(ledger: &Ledger<'_>, findings: &mut Findings) {
    for (command, tasks) in made(ledger) {
        let Some(refresh) = ledger.refreshes.get(command) else {
            findings.push(format!("a task was started for {command}, which is no valid command"));
            continue;
        };
        for pair in tasks.windows(2) {
            if has_unopened_form(ledger, &pair[0], pair[1].at) {
                findings.excuse(UNOPENED_FORM);
            } else if has_no_date(refresh) && refresh.runs() > 1 {
                findings.excuse(WITHOUT_DATE);
            } else if is_dated_ahead(ledger, refresh) && refresh.runs() > 1 {
                findings.excuse(DATED_AHEAD);
            } else if !read_its_list_before(ledger, &pair[1], &pair[0]) {
                let at = ledger.time(pair[1].at);
                findings.push(format!("command {command} started a second task at {at:?}"));
            }
        }
    }
}

/// Two duplicates of a command that meet at finAPI start one task between them, also where the first task is over before the second start
/// arrives. There is one excuse: one of the two workers had not been handed the other's announcement before it asked.
pub(crate) fn duplicates_start_one_task_between_them(ledger: &Ledger<'_>, findings: &mut Findings) {
    for (command, tasks) in made(ledger) {
        let Some(refresh) = ledger.refreshes.get(command) else {
            continue;
        };
        for pair in tasks.windows(2) {
            let is_excused = has_unopened_form(ledger, &pair[0], pair[1].at)
                || (has_no_date(refresh) || is_dated_ahead(ledger, refresh)) && refresh.runs() > 1;
            if is_excused || !read_its_list_before(ledger, &pair[1], &pair[0]) {
                continue;
            }
            if !pair.iter().all(|made| has_heard(ledger, refresh, made)) {
                findings.excuse(NOT_HEARD);
            } else {
                let at = ledger.time(pair[1].at);
                findings.push(format!(
                    "command {command} started a second task at {at:?}, beside its other duplicate"
                ));
            }
        }
    }
}

/// Whether the worker that made a task had heard before that another one was about to.
fn has_heard(ledger: &Ledger<'_>, refresh: &Refresh<'_>, made: &Made<'_>) -> bool {
    let id = Some(refresh.event_id("start"));
    let before = || ledger.history.broker.iter().take_while(|seen| seen.at < made.sent);
    let own = before().filter_map(|seen| match &seen.what {
        What::Sent { client, outgoing } if *client == made.life && outgoing.message.properties.message_id == id => {
            Some(&outgoing.message.body)
        }
        _ => None,
    });
    let own: Vec<_> = own.collect();
    before().any(|seen| match &seen.what {
        What::Handed { client, message, .. } if *client == made.life && message.properties.message_id == id => {
            !own.contains(&&message.body)
        }
        _ => false,
    })
}

/// Whether the run that made a task had read the list of tasks before the other task was made, by another run.
fn read_its_list_before(ledger: &Ledger<'_>, made: &Made<'_>, other: &Made<'_>) -> bool {
    let calls = ledger.history.calls[..made.index].iter().enumerate();
    let list = list_of(ledger, &calls.collect::<Vec<_>>(), &ledger.history.calls[made.index]);
    made.run != other.run && list.is_some_and(|list| list < other.index)
}

fn made<'a>(ledger: &'a Ledger<'_>) -> BTreeMap<&'a str, Vec<Made<'a>>> {
    let mut made: BTreeMap<&str, Vec<Made<'_>>> = BTreeMap::new();
    for (index, call) in ledger.history.calls.iter().enumerate() {
        if let Endpoint::Start {
            command,
            connection,
            made: Some(task),
        } = &call.endpoint
        {
            made.entry(command).or_default().push(Made {
                index,
                run: call.run,
                life: call.life,
                sent: call.sent,
                at: call.at,
                connection: *connection,
                task,
            });
        }
    }
    made
}

/// Whether a task had led to a web form by then, which its user had not opened and which was not over.
fn has_unopened_form(ledger: &Ledger<'_>, made: &Made<'_>, at: Instant) -> bool {
    let by_then = |moment: &Option<String>| moment.as_ref().is_some_and(|moment| ledger.instant_of(moment) <= at);
    ledger.asked_of_task(made.connection, made.task).is_some_and(|task| {
        by_then(&task.web_form_created_at) && !by_then(&task.web_form_opened_at) && !by_then(&task.web_form_ended_at)
    })
}

fn wants_more(refresh: &Refresh<'_>) -> bool {
    Command::parse(refresh.command.clone()).is_ok_and(|command| command.asks_for_more())
}

/// A command that says in no way when it was sent: no `requested_at`, no timestamp of its message, no UUIDv7.
pub(super) fn has_no_date(refresh: &Refresh<'_>) -> bool {
    let made_at = Uuid::parse_str(refresh.id).ok().and_then(|id| id.get_timestamp());
    refresh.command.requested_at.is_none() && refresh.timestamp().is_none() && made_at.is_none()
}

/// A command whose only date is the timestamp of its message, which was in the future when the broker first had it.
fn is_dated_ahead(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> bool {
    let (None, Some(stamp), Some(since)) = (refresh.command.requested_at, refresh.timestamp(), refresh.since) else {
        return false;
    };
    let start = ledger.scenario.start.as_second();
    let ahead = i64::try_from(stamp).unwrap_or(i64::MAX).saturating_sub(start);
    u64::try_from(ahead).is_ok_and(|ahead| Duration::from_secs(ahead) > ledger.time(since))
}

/// Who can know that a task of a connection runs does not ask for another one: neither the run that has read the list of tasks, nor
/// any other in the same worker. There are three excuses. A task that runs does not serve a command that asks for more. The run that starts
/// may have read its list before the other one's task was made. And what it read of a list that was changed on its way, nobody here knows.
pub(crate) fn who_knows_of_a_running_task_starts_none(ledger: &Ledger<'_>, findings: &mut Findings) {
    let calls = ledger.history.calls.iter().enumerate();
    let made = calls.filter_map(|(index, call)| match &call.endpoint {
        Endpoint::Start { made: Some(task), .. } => Some((task.as_str(), index)),
        _ => None,
    });
    let made: BTreeMap<&str, usize> = made.collect();
    for (index, call) in ledger.history.calls.iter().enumerate() {
        let Endpoint::Start {
            command, connection, ..
        } = &call.endpoint
        else {
            continue;
        };
        // finAPI shows nobody the tasks of another user's connection.
        let refresh = ledger.refreshes.get(command);
        if !refresh.is_some_and(|refresh| ledger.owns_connection(refresh)) {
            continue;
        }
        let calls = ledger.history.calls[..index].iter().enumerate();
        let seen: Vec<(usize, &Call)> = calls.filter(|(_, seen)| seen.is_answered_by(call.sent)).collect();
        let mut lists = seen.iter().rev().filter(|(_, seen)| is_list_of(ledger, seen, call));
        let is_list_changed = lists.next().is_some_and(|(_, list)| list.is_changed());
        let list = list_of(ledger, &seen, call);
        for task in running(&seen, call.life, *connection) {
            let began_after_list = matches!((list, made.get(task)), (Some(list), Some(made)) if *made > list);
            if is_list_changed {
                findings.excuse(CHANGED_LIST);
            } else if refresh.is_some_and(wants_more) {
                findings.excuse(WANTS_MORE);
            } else if began_after_list {
                findings.excuse(OLDER_LIST);
            } else {
                let at = ledger.time(call.sent);
                findings.push(format!(
                    "command {command} asked for a start at {at:?} although its worker knew that task {task} runs"
                ));
            }
        }
    }
}

/// The number of the call by which the refresh that starts read the list of tasks last. finAPI answers calls of one moment in their order.
fn list_of(ledger: &Ledger<'_>, seen: &[(usize, &Call)], start: &Call) -> Option<usize> {
    let is_read = |call: &Call| !call.is_changed() && call.answered.is_some_and(|(_, status)| status == 200);
    let mut lists = seen.iter().rev();
    let read = lists.find(|(_, call)| is_list_of(ledger, call, start) && is_read(call));
    read.map(|(index, _)| *index)
}

/// Whether the refresh that starts asked for the list by a call, in this life of its worker: in the run that starts, or in the one before it, which
/// was followed by the announcement.
fn is_list_of(ledger: &Ledger<'_>, call: &Call, start: &Call) -> bool {
    let refresh = |call: &Call| Some(&ledger.history.runs.get(&call.run?)?.refresh);
    let is_own = call.life == start.life && refresh(call).is_some() && refresh(call) == refresh(start);
    is_own && call.endpoint == Endpoint::FindTask
}

/// The tasks of a connection that run, as far as a worker's life can know from the responses it has seen. Of several responses the one
/// that finAPI made last counts.
fn running<'a>(seen: &[(usize, &'a Call)], life: u64, connection: i64) -> Vec<&'a str> {
    let mut last: BTreeMap<&str, bool> = BTreeMap::new();
    for (_, call) in seen.iter().filter(|(_, call)| call.life == life) {
        for shown in call.shows.iter().filter(|shown| shown.connection == connection) {
            last.insert(&shown.task, shown.is_running);
        }
    }
    let running = last.into_iter().filter(|(_, is_running)| *is_running);
    running.map(|(task, _)| task).collect()
}
