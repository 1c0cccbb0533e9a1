//! Every command ends in one outcome, and what can't be read in the dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::broker::Header;
use bankrefresh::message::REASON_HEADER;
use bankrefresh::proto::TransactionsUpdated;
use bankrefresh::refresh::event::EventKind;
use bankrefresh::refresh::order::Target;

use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use super::strange;
use crate::commands::Is;
use crate::scenario::{Act, Scenario};

/// What was published as the outcome of a command: a failure, or the last part of a success.
#[derive(Default)]
struct Ends {
    updated: bool,
    failed: bool,
}

pub(super) const GIVEN_UP: &str = "no outcome: the broker gave up a message that was planned to kill its workers";

pub(super) const DEAD_AS_PLANNED: &str = "dead letter: a message that was planned to kill its workers";

/// Polls, waits for room and retries take no longer than this.
const WHILE: Duration = Duration::from_secs(300);
pub(super) const PAUSED_LONG: &str = "late outcome: the refresh was paused";

/// The longest wait of what was paused, after that is resumed.
const PAUSED: Duration = Duration::from_secs(330);
/// A command takes about as many calls.
const CALLS_EACH: usize = 20;
/// The longest time that an update takes in a scenario, without its web form.
const UPDATE_MAX: Duration = Duration::from_secs(15);

/// What a worker that dies of a message costs the others: it starts again after a second, and consumes the quarantine
/// one and a half later.
const DEATH: Duration = Duration::from_millis(2500);

/// A valid command has an outcome. The only excuse is a message that the scenario lets kill its workers until the broker gives it up.
pub(crate) fn every_command_has_one(ledger: &Ledger<'_>, violated: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        match ends(refresh) {
            Ok(ends) if ends.updated || ends.failed => {}
            Ok(_) if ledger.was_given_up_as_planned(refresh) => violated.excuse(GIVEN_UP),
            Ok(_) => violated.push(format!("command {} has no outcome", refresh.id)),
            Err(what) => violated.push(what),
        }
    }
}

/// Different ends of one command need two runs that did not know of each other.
pub(crate) fn conflicts_need_a_second_run(ledger: &Ledger<'_>, violated: &mut Findings) {
    for refresh in ledger.refreshes.values().filter(|refresh| refresh.runs() <= 1) {
        if conflicts(refresh) {
            violated.push(format!("command {} ended in two ways in one run", refresh.id));
        }
    }
}

/// Whether a command ended in more than one way.
pub(crate) fn conflicts(refresh: &Refresh<'_>) -> bool {
    ends(refresh).is_ok_and(|ends| ends.updated && ends.failed)
}

/// How the outcome ended, each event of it under the id that goes with it.
fn ends(refresh: &Refresh<'_>) -> Result<Ends, String> {
    let mut ends = Ends::default();
    for published in &refresh.events {
        let id = match published.event.kind() {
            EventKind::UserActionRequired(_) => continue,
            EventKind::TransactionsUpdated(part) if !part.last => refresh.event_id(&content(part)),
            EventKind::TransactionsUpdated(_) | EventKind::RefreshFailed(_) => refresh.event_id("outcome"),
        };
        let properties = &published.message.properties;
        let summary = || published.event.summary();
        if published.event.context().event_id != id || properties.message_id.as_ref() != Some(&id) {
            return Err(format!(
                "command {}: {} has another id than its content",
                refresh.id,
                summary()
            ));
        }
        if properties.correlation_id.as_deref() != Some(format!("sender-{}", refresh.id).as_str()) {
            return Err(format!("command {}: {} lost the correlation id", refresh.id, summary()));
        }
        match published.event.kind() {
            EventKind::TransactionsUpdated(event) => ends.updated |= event.last,
            EventKind::RefreshFailed(_) | EventKind::UserActionRequired(_) => ends.failed = true,
        }
    }
    Ok(ends)
}

/// What a part before the last has its id of.
fn content(part: &TransactionsUpdated) -> String {
    let transactions = part.transactions.iter();
    let mut of: Vec<String> = transactions
        .map(|row| format!("{}.{}", row.account_id, row.id))
        .collect();
    if of.is_empty() {
        of = part.accounts.iter().map(|account| account.id.to_string()).collect();
    }
    format!("part/{}", of.join("/"))
}

/// What can't be read is a dead letter with a reason and leads to nothing; what only a newer worker reads is still there.
pub(crate) fn dead_letters_are_what_cant_be_read(ledger: &Ledger<'_>, violated: &mut Findings) {
    let dead = ledger.topology.dead_letters();
    let (letters, others): (Vec<_>, Vec<_>) = ledger.history.left.iter().partition(|(queue, _)| *queue == dead);
    let letters: Vec<_> = letters.into_iter().flat_map(|(_, messages)| messages).collect();
    for command in &ledger.scenario.commands {
        let mine =
            |message: &&&bankrefresh::broker::Message| message.properties.message_id.as_ref() == Some(&command.id);
        let reasons: Vec<bool> = letters
            .iter()
            .filter(mine)
            .map(|letter| {
                let headers = &letter.properties.headers;
                headers
                    .get(REASON_HEADER)
                    .and_then(Header::as_text)
                    .is_some_and(|reason| !reason.is_empty())
            })
            .collect();
        match &command.is {
            Is::Valid(_) => {
                let refresh = ledger.refreshes.get(&command.id);
                let is_planned = refresh.is_some_and(|refresh| ledger.was_given_up_as_planned(refresh));
                if !reasons.is_empty() && is_planned {
                    violated.excuse(DEAD_AS_PLANNED);
                } else if !reasons.is_empty() {
                    violated.push(format!("command {} is valid and a dead letter", command.id));
                }
            }
            Is::Invalid if reasons.is_empty() => {
                violated.push(format!("command {} can't be read and is no dead letter", command.id));
            }
            Is::Invalid => {}
            Is::Newer => {
                let kept = others.iter().flat_map(|(_, messages)| messages);
                let kept = kept
                    .filter(|message| message.properties.message_id.as_ref() == Some(&command.id))
                    .count();
                if kept == 0 && reasons.is_empty() {
                    violated.push(format!("the newer state {} is gone", command.id));
                }
            }
        }
    }
}

/// An event is published again only by a run of its own (another duplicate, or a message that came back), or because publishing it failed.
pub(crate) fn events_repeat_only_with_their_delivery(ledger: &Ledger<'_>, violated: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        for (id, count) in repeats(refresh) {
            if count > refresh.runs() + refresh.published_again {
                let runs = refresh.runs();
                violated.push(format!(
                    "command {}: event {id} was published {count} times in {runs} runs",
                    refresh.id
                ));
            }
        }
    }
}

/// How often each event was published.
pub(crate) fn repeats<'a>(refresh: &'a Refresh<'_>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for context in refresh.events.iter().map(|published| published.event.context()) {
        *counts.entry(context.event_id.as_str()).or_default() += 1;
    }
    counts
}

/// Once all is well, an outcome comes a while after nothing keeps it any more: its command was sent, and no update of its connection
/// runs or waits for a user. Each of the updates that several commands of one connection lead to may wait for its user's web form, one
/// after the other, so no fixed time after the command was sent would do.
pub(crate) fn outcomes_come_in_time(ledger: &Ledger<'_>, violated: &mut Findings) {
    let calm = ledger.history.began + ledger.scenario.calm_at;
    let allowed =
        allowed(ledger.scenario) + DEATH * u32::try_from(ledger.history.killed_by_message()).unwrap_or(u32::MAX);
    for refresh in ledger.refreshes.values() {
        let (Some(since), Some(last)) = (refresh.since, refresh.events.last()) else {
            continue;
        };
        let kept_until = kept_until(ledger, refresh, last.at);
        let late = last.at.saturating_duration_since(calm.max(since).max(kept_until));
        let allowed = allowed + strange::endured(ledger, refresh);
        if late > allowed && late <= allowed + PAUSED && was_paused(ledger, refresh) {
            violated.excuse(PAUSED_LONG);
        } else if late > allowed {
            let late = late.as_secs();
            violated.push(format!(
                "command {}: its last event came after {late} s, {allowed:?} at most",
                refresh.id
            ));
        }
    }
}

/// Few calls at once to a slow finAPI are a bottleneck: where all workers together have one or two, and each call takes a second and a
/// half, 25 commands take ten minutes whatever the worker does.
fn allowed(scenario: &Scenario) -> Duration {
    let at_once = scenario.workers * scenario.calls_max;
    let calls = scenario.commands.len() * CALLS_EACH / at_once.max(1);
    WHILE + scenario.finapi_latency * u32::try_from(calls).unwrap_or(u32::MAX)
}

/// Whether the scenario pauses what a refresh is about. Every connection is to one bank.
fn was_paused(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> bool {
    let mut plan = ledger.scenario.plan.iter();
    plan.any(|(_, act)| match act {
        Act::Pause(Target::Everything | Target::Bank(_), _) => true,
        Act::Pause(Target::Lane { interactive }, _) => refresh.interactive == *interactive,
        Act::Pause(Target::User(id), _) => refresh.command.user_id == id.as_str(),
        _ => false,
    })
}

/// Until when updates of its connection had kept a refresh, before it ended.
fn kept_until(ledger: &Ledger<'_>, refresh: &Refresh<'_>, ended: Instant) -> Instant {
    let id = refresh.command.bank_connection_id;
    let tasks = ledger
        .history
        .asked
        .connections
        .get(&id)
        .map(|asked| asked.tasks.as_slice());
    let ends = tasks.unwrap_or_default().iter().filter_map(|task| {
        let created = ledger.instant_of(&task.created_at);
        let form = task.web_form_ended_at.as_ref().map(|ended| ledger.instant_of(ended));
        (created <= ended).then(|| form.unwrap_or(created + UPDATE_MAX).min(ended))
    });
    ends.max().unwrap_or(ledger.history.began)
}
