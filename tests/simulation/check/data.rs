//! What an update brought is told.

use bankrefresh::proto::UpdateOrigin;
use bankrefresh::refresh::event::Event;
use tokio::time::Instant;

use super::ledger::Ledger;
use crate::line::{Call, Endpoint};
use crate::scenario::Act;

/// How many updates of a connection there were.
fn updates(ledger: &Ledger<'_>, id: i64) -> usize {
    let started =
        |call: &&Call| matches!(&call.endpoint, Endpoint::Start { connection, made: Some(_), .. } if *connection == id);
    let batch = |(_, act): &&(Instant, Act)| matches!(act, Act::BatchUpdate(connection, _) if *connection == id);
    let history = &ledger.history;
    history.calls.iter().filter(started).count() + history.acts.iter().filter(batch).count()
}

/// An update that succeeded tells at least what it imported, over all its parts.
pub(crate) fn what_an_update_brought_is_told(ledger: &Ledger<'_>, violated: &mut Vec<String>) {
    for refresh in ledger.refreshes.values() {
        let id = refresh.command.bank_connection_id;
        let connections = &ledger.scenario.sandbox.connections;
        let script = connections
            .iter()
            .find(|connection| connection.connection_id == id)
            .map(|c| &c.script);
        let brought = script.map_or(0, |script| script.transactions.per_update);
        let mut told = 0;
        for event in &refresh.events {
            let Event::TransactionsUpdated(event) = &event.event else {
                continue;
            };
            told += event.transactions.len();
            let updated = matches!(event.origin(), UpdateOrigin::Silent | UpdateOrigin::UserActed);
            if updated && event.new_transactions < brought {
                let count = event.new_transactions;
                violated.push(format!(
                    "command {}: {count} new transactions, of {brought} at least",
                    refresh.id
                ));
            }
            let whole = event.part == event.parts && refresh.runs() == 1;
            let count = event.new_transactions as usize;
            // What another update adds meanwhile with lower ids is counted, and told by its own refresh.
            let fits = told == count || told < count && updates(ledger, id) > 1;
            if whole && !fits {
                violated.push(format!(
                    "command {}: {told} transactions in all parts, of {count}",
                    refresh.id
                ));
            }
        }
    }
}
