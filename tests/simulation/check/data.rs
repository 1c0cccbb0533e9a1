//! What an update brought is told.

use bankrefresh::proto::UpdateOrigin;
use bankrefresh::refresh::event::Event;

use super::ledger::Ledger;

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
            if whole && told != event.new_transactions as usize {
                let count = event.new_transactions;
                violated.push(format!(
                    "command {}: {told} transactions in all parts, of {count}",
                    refresh.id
                ));
            }
        }
    }
}
