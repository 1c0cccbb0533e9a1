//! What the broker was given.

use bankrefresh::broker::memory::What;

use super::findings::Findings;
use super::ledger::Ledger;
use crate::commands::Is;

/// In the end there are events and dead letters, and states that only a newer worker reads.
pub(crate) fn all_is_quiet_in_the_end(ledger: &Ledger<'_>, violated: &mut Findings) {
    if ledger.history.quiet_at.is_none() {
        let quiet_max = ledger.scenario.quiet_max;
        violated.push(format!("not all was done {quiet_max:?} after the last trouble"));
    }
    if !ledger.history.left_well {
        violated.push("a worker panicked".to_owned());
    }
    let newer: Vec<&String> = ledger
        .scenario
        .commands
        .iter()
        .filter(|command| matches!(command.is, Is::Newer))
        .map(|command| &command.id)
        .collect();
    for (queue, messages) in ledger
        .history
        .left
        .iter()
        .filter(|(queue, _)| ledger.is_for_work(queue))
    {
        let strange = messages.iter().filter(|message| {
            let id = message.properties.message_id.as_ref();
            !id.is_some_and(|id| newer.contains(&id))
        });
        let strange = strange.count();
        if strange > 0 {
            violated.push(format!("{strange} messages are left in {queue}"));
        }
    }
    for (_, line) in &ledger.history.logs {
        if line.trim_start().starts_with("ERROR") || line.contains("a panic") {
            violated.push(format!("logged: {line}"));
        }
    }
}

/// The most messages of one command at a time, beyond those that its sender published. Each worker that dies at the wrong moment makes one more
/// of each that it publishes, until they meet in a worker: five deaths in one moment made 26 of two (seed 51618). Where they multiplied, there were
/// hundreds.
const MULTIPLIED_MAX: usize = 40;

/// A command has about as many messages as its sender published.
pub(crate) fn messages_do_not_multiply(ledger: &Ledger<'_>, violated: &mut Findings) {
    for refresh in ledger.refreshes.values() {
        let (most, sent) = (refresh.live_most_ever(), refresh.duplicates);
        if most > sent + MULTIPLIED_MAX {
            violated.push(format!(
                "command {} had {most} messages, of {sent} that were sent",
                refresh.id
            ));
        }
    }
}

/// A delivery is acknowledged once, and what is sent again has none of the broker's own headers.
pub(crate) fn deliveries_are_acknowledged_once(ledger: &Ledger<'_>, violated: &mut Findings) {
    for seen in &ledger.history.broker {
        match &seen.what {
            What::Acked {
                client,
                tag,
                message: None,
            } => {
                let at = ledger.time(seen.at);
                violated.push(format!("client {client} acknowledged {tag:?} twice, at {at:?}"));
            }
            What::Sent { outgoing, .. } => {
                let headers = &outgoing.message.properties.headers;
                if let Some(name) = headers.keys().find(|name| name.starts_with("x-")) {
                    violated.push(format!("a message to {} was sent with {name}", outgoing.exchange));
                }
            }
            _ => {}
        }
    }
}

/// The most bytes of a message to a worker.
pub(crate) const STATE_MAX: usize = 2048;

/// No message is long, and no refresh needs many.
pub(crate) fn messages_are_bounded(ledger: &Ledger<'_>, violated: &mut Findings) {
    const FOR_EACH_RUN: usize = 30;
    let events = ledger.topology.events();
    // One transaction more than fits is published all the same.
    let event_max = ledger.scenario.policy.events.size_max + 1024;
    for seen in &ledger.history.broker {
        if let What::Sent { outgoing, .. } = &seen.what {
            let most = if outgoing.exchange == events {
                event_max
            } else {
                STATE_MAX
            };
            let length = outgoing.message.body.len();
            if length > most {
                violated.push(format!(
                    "a message of {length} bytes to {}, of {most} at most",
                    outgoing.exchange
                ));
            }
        }
    }
    let end = ledger.history.quiet_at.unwrap_or(ledger.history.began);
    for refresh in ledger.refreshes.values() {
        let last = refresh.events.last().map_or(end, |published| published.at);
        let lasted = refresh
            .since
            .map(|since| last.saturating_duration_since(since))
            .unwrap_or_default();
        let seconds = usize::try_from(lasted.as_secs()).unwrap_or(usize::MAX);
        let most = refresh.runs() * (FOR_EACH_RUN + seconds);
        if refresh.sent > most {
            violated.push(format!(
                "command {} took {} messages, of {most} at most",
                refresh.id, refresh.sent
            ));
        }
    }
}
