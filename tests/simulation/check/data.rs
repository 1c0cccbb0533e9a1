//! What an update brought is published.

use std::collections::{BTreeMap, BTreeSet};

use bankrefresh::proto::{RefreshContext, TransactionsUpdated, UpdateOrigin};
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::Imported;
use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use super::outcomes::{incomplete, is_mixed};
use crate::line::Endpoint;

/// An outcome as a consumer has it that remembers the ids of events: of duplicates of a part it has the first one.
struct Consumed<'a> {
    /// The parts in their order.
    parts: Vec<(Instant, &'a RefreshContext, &'a TransactionsUpdated)>,
    ids: Vec<i64>,
}

/// An outcome's transactions are real ones of its connection, each once. What duplicates of a command publish of different updates is apart.
pub(crate) fn transactions_are_real_and_distinct(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values().filter(|refresh| !is_mixed(refresh)) {
        unreal(ledger, refresh).into_iter().for_each(|what| findings.push(what));
    }
}

/// An outcome has all transactions that finAPI imported by the update: by its task, or where it names none by those that the command
/// started. What duplicates of a command publish of different updates is apart.
pub(crate) fn what_an_update_brought_is_published(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values().filter(|refresh| !is_mixed(refresh)) {
        missing(ledger, refresh)
            .into_iter()
            .for_each(|what| findings.push(what));
    }
}

/// Duplicates of a command that follow different updates have one outcome: whoever remembers the ids of events has all of one of them.
pub(crate) fn duplicates_have_one_outcome(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values().filter(|refresh| is_mixed(refresh)) {
        let faults = unreal(ledger, refresh).into_iter().chain(missing(ledger, refresh));
        faults.chain(incomplete(refresh)).for_each(|what| findings.push(what));
    }
}

fn unreal(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> Vec<String> {
    let imports = imports(ledger, refresh);
    let mut before = BTreeSet::new();
    let mut faults = Vec::new();
    for id in consumed(refresh).ids {
        if !before.insert(id) {
            faults.push(format!("command {} published transaction {id} twice", refresh.id));
        }
        if !imports.iter().any(|import| ids(import).contains(&id)) {
            faults.push(format!(
                "command {} published transaction {id}, which finAPI never imported",
                refresh.id
            ));
        }
    }
    faults
}

fn missing(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> Vec<String> {
    let consumed = consumed(refresh);
    let Some((at, context, last)) = consumed.parts.last().filter(|(_, _, last)| last.part >= last.parts) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let published: BTreeSet<i64> = consumed.ids.iter().copied().collect();
    let tasks = match last.origin() {
        UpdateOrigin::Silent | UpdateOrigin::UserActed => vec![context.task_id.as_str()],
        _ => own_tasks(ledger, refresh),
    };
    let by_then = |import: &&Imported| ledger.instant_of(&import.imported_at) <= *at;
    let by_task = |import: &&Imported| import.task_id.as_deref().is_some_and(|task| tasks.contains(&task));
    let imports = imports(ledger, refresh);
    let in_time = imports.iter().filter(|import| !is_late(imports, import));
    let imported = in_time.filter(by_task).filter(by_then);
    let missing: Vec<i64> = imported.flat_map(ids).filter(|id| !published.contains(id)).collect();
    if !missing.is_empty() {
        let origin = last.origin();
        faults.push(format!(
            "command {} ({origin:?}) did not publish {missing:?}",
            refresh.id
        ));
    }
    let (said, count) = (last.new_transactions as usize, published.len());
    if said < count || last.parts == 1 && said != count {
        faults.push(format!(
            "command {} said {said} transactions and published {count}",
            refresh.id
        ));
    }
    faults
}

/// The parts before an end, in the order of their numbers.
fn consumed<'a>(refresh: &'a Refresh<'_>) -> Consumed<'a> {
    let mut first: BTreeMap<&str, (Instant, &Event)> = BTreeMap::new();
    for published in &refresh.events {
        first
            .entry(&published.event.context().event_id)
            .or_insert((published.at, &published.event));
    }
    let numbers = 1..=u32::try_from(refresh.events.len()).unwrap_or(u32::MAX);
    let part = |number: u32| match first.get(refresh.event_id(&format!("outcome/{number}")).as_str()) {
        Some((at, event)) => match event.kind() {
            EventKind::TransactionsUpdated(updated) => Some((*at, event.context(), updated)),
            EventKind::UserActionRequired(_) | EventKind::RefreshFailed(_) => None,
        },
        None => None,
    };
    let parts: Vec<_> = numbers.map_while(part).collect();
    let transactions = parts.iter().flat_map(|(_, _, event)| &event.transactions);
    let ids = transactions.map(|transaction| transaction.id).collect();
    Consumed { parts, ids }
}

fn imports<'a>(ledger: &'a Ledger<'_>, refresh: &Refresh<'_>) -> &'a [Imported] {
    let asked = ledger
        .history
        .asked
        .connections
        .get(&refresh.command.bank_connection_id);
    asked.map(|asked| asked.imports.as_slice()).unwrap_or_default()
}

/// Whether a task had imported something before: what it stores later than its end is a promise of its own.
pub(super) fn is_late(imports: &[Imported], import: &Imported) -> bool {
    let mut of_task = imports.iter().filter(|other| other.task_id == import.task_id);
    import.task_id.is_some() && of_task.next().is_some_and(|first| first.first_id != import.first_id)
}

fn ids(import: &Imported) -> std::ops::Range<i64> {
    import.first_id..import.first_id + i64::from(import.count)
}

fn own_tasks<'a>(ledger: &'a Ledger<'_>, refresh: &Refresh<'_>) -> Vec<&'a str> {
    let own = |call: &'a crate::line::Call| match &call.endpoint {
        Endpoint::Start { command, made, .. } if command == refresh.id => made.as_deref(),
        _ => None,
    };
    ledger.history.calls.iter().filter_map(own).collect()
}
