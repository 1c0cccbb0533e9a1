//! What an update brought is published.

use std::collections::BTreeSet;

use bankrefresh::proto::{RefreshContext, Transaction, TransactionsUpdated, UpdateOrigin};
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::Imported;
use jiff::Timestamp;
use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use crate::line::Endpoint;

/// An outcome as a consumer has it that remembers the ids of events: each event once, up to the first one that ends the outcome.
struct Consumed<'a> {
    rows: Vec<&'a Transaction>,
    /// The last part, where it was a success.
    last: Option<(Instant, &'a RefreshContext, &'a TransactionsUpdated)>,
}

/// An outcome's transactions are real ones of its connection, each once where no second run began again.
pub(crate) fn transactions_are_real_and_distinct(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        unreal(ledger, refresh).into_iter().for_each(|what| findings.push(what));
    }
}

/// An outcome has all transactions that finAPI imported by the update (by its task, or where it names none by those that the command started),
/// and all of the interval that it says it covers.
pub(crate) fn what_an_update_brought_is_published(ledger: &Ledger<'_>, findings: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        missing(ledger, refresh)
            .into_iter()
            .for_each(|what| findings.push(what));
    }
}

fn unreal(ledger: &Ledger<'_>, refresh: &Refresh<'_>) -> Vec<String> {
    let imports = imports(ledger, refresh);
    let mut before = BTreeSet::new();
    let mut faults = Vec::new();
    for id in consumed(refresh).rows.iter().map(|row| row.id) {
        if !before.insert(id) && refresh.runs() <= 1 {
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
    let Some((at, context, last)) = consumed.last else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let published: BTreeSet<i64> = consumed.rows.iter().map(|row| row.id).collect();
    let tasks = match last.origin() {
        UpdateOrigin::Silent | UpdateOrigin::UserActed => vec![context.task_id.as_str()],
        _ => own_tasks(ledger, refresh),
    };
    let by_then = |import: &Imported| ledger.instant_of(&import.imported_at) <= at;
    let by_task = |import: &Imported| import.task_id.as_deref().is_some_and(|task| tasks.contains(&task));
    let covered = |import: &Imported| {
        let imported_at: Timestamp = import.imported_at.parse().expect("a time of the sandbox");
        let covers = last.covered_from.zip(last.covered_until);
        let second = imported_at.as_second();
        covers.is_some_and(|(from, until)| from.seconds < second && second < until.seconds)
    };
    let imports = imports(ledger, refresh);
    let of_update = |import: &&Imported| !is_late(imports, import) && by_task(import) && by_then(import);
    let due = imports.iter().filter(|import| of_update(import) || covered(import));
    let missing: Vec<i64> = due.flat_map(ids).filter(|id| !published.contains(id)).collect();
    if !missing.is_empty() {
        let origin = last.origin();
        faults.push(format!(
            "command {} ({origin:?}) did not publish {missing:?}",
            refresh.id
        ));
    }
    let (said, count) = (last.new_transactions as usize, published.len());
    if said > count {
        faults.push(format!(
            "command {} said {said} transactions and published {count}",
            refresh.id
        ));
    }
    faults
}

fn consumed<'a>(refresh: &'a Refresh<'_>) -> Consumed<'a> {
    let mut seen = BTreeSet::new();
    let mut consumed = Consumed {
        rows: Vec::new(),
        last: None,
    };
    for published in &refresh.events {
        let context = published.event.context();
        if !seen.insert(context.event_id.as_str()) {
            continue;
        }
        match published.event.kind() {
            EventKind::TransactionsUpdated(part) => {
                consumed.rows.extend(&part.transactions);
                consumed.last = part.last.then_some((published.at, context, part));
            }
            EventKind::RefreshFailed(_) | EventKind::UserActionRequired(_) => {}
        }
        if published.event.is_last() {
            break;
        }
    }
    consumed
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
