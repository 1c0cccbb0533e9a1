//! What a refresh costs in calls.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use crate::scenario::Act;

/// A refresh costs few calls, some for each part of its outcome, and then one a second at most while it waits; three where it begins again with the connection, as it does
/// while a part of a host is down that does not count as down by that.
pub(crate) fn calls_are_bounded(ledger: &Ledger<'_>, findings: &mut Findings) {
    let mut calls: BTreeMap<&str, (usize, Option<Instant>)> = BTreeMap::new();
    for call in &ledger.history.calls {
        if let Some(command) = ledger.command_of(call) {
            let (count, last) = calls.entry(command).or_default();
            *count += 1;
            *last = (*last).max(Some(call.sent));
        }
    }
    for refresh in ledger.refreshes.values() {
        let (calls, last) = calls.get(refresh.id).copied().unwrap_or_default();
        let most = most(ledger, refresh, last);
        if calls > most {
            findings.push(format!("command {} took {calls} calls, of {most} at most", refresh.id));
        }
    }
}

/// A second message of a command may wait for long after the first one's outcome, so its last call counts, too.
fn most(ledger: &Ledger<'_>, refresh: &Refresh<'_>, last_call: Option<Instant>) -> usize {
    const FOR_EACH_RUN: usize = 30;
    // The connection, its accounts, and the transactions by pages of twenty.
    const FOR_EACH_PART: usize = 8;
    let end = ledger.history.quiet_at.unwrap_or(ledger.history.began);
    let mut acts = ledger.history.acts.iter();
    let in_part = acts.any(|(_, act)| matches!(act, Act::FinapiDown(Some((_, endpoints))) if endpoints.len() == 2));
    let each_second = if in_part { 3 } else { 1 };
    let last = refresh
        .events
        .last()
        .map_or(end, |published| published.at)
        .max(last_call.unwrap_or(ledger.history.began));
    let lasted = refresh.since.map(|since| last.saturating_duration_since(since));
    let seconds = usize::try_from(lasted.unwrap_or_default().as_secs()).unwrap_or(usize::MAX);
    refresh.runs() * FOR_EACH_RUN + refresh.events.len() * FOR_EACH_PART + seconds * each_second
}
