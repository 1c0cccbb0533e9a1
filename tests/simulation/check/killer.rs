//! A message that kills workers ends as a dead letter, and takes no other with it.

use bankrefresh::message::REASON_HEADER;
use bankrefresh::proto::FailureReason;
use bankrefresh::refresh::event::EventKind;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use crate::scenario::Act;

/// Three deaths until it is quarantined, and twenty until a worker gives it up there.
const DEATHS_MIN: usize = 23;
/// It may come back often from its lane as well, before a worker lives long enough to pass it on: 21 times more.
const DEATHS_MAX: usize = DEATHS_MIN + 21;

/// The killer is a dead letter in the end, unless its refresh was over before because of its time.
/// Nobody else is given up.
pub(crate) fn it_takes_no_other_with_it(ledger: &Ledger<'_>, violated: &mut Findings) {
    let Some(killer) = &ledger.scenario.killer else { return };
    let id = &ledger.scenario.commands[killer.command].id;
    let deaths = ledger.history.killed_by_message();
    let Some(refresh) = ledger.refreshes.get(id) else {
        return;
    };
    if !is_given_up(ledger, id) && !timed_out(refresh) {
        violated.push(format!("the killer {id} is no dead letter after {deaths} deaths"));
    }
    // Each message of it ends like the first: a sender repeats one, and a worker that dies may leave two of one. And a worker that is stopped
    // while it has the message parks it, as a new message that never came back.
    let most = DEATHS_MAX * refresh.live_most_ever().max(1) + DEATHS_MIN * stops(ledger);
    if deaths > most {
        violated.push(format!("the killer {id} killed {deaths} workers, of {most} at most"));
    }
    for other in ledger.refreshes.values().filter(|other| other.id != id) {
        if other.given_up {
            violated.push(format!("command {} was given up beside the killer", other.id));
        }
    }
}

/// Whether a worker or the broker made it a dead letter.
fn is_given_up(ledger: &Ledger<'_>, id: &String) -> bool {
    let dead = ledger.topology.dead_letters();
    let mut left = ledger.history.left.iter().filter(|(queue, _)| *queue == dead);
    let mut letters = left.next().into_iter().flat_map(|(_, messages)| messages);
    letters.any(|letter| {
        let headers = &letter.properties.headers;
        let has_reason = [REASON_HEADER, "x-first-death-reason"]
            .iter()
            .any(|name| headers.contains_key(*name));
        letter.properties.message_id.as_ref() == Some(id) && has_reason
    })
}

fn stops(ledger: &Ledger<'_>) -> usize {
    let acts = ledger.history.acts.iter();
    acts.filter(|(_, act)| matches!(act, Act::Stop(_))).count()
}

/// In the quarantine that ends with INTERNAL, and there it is not even run.
fn timed_out(refresh: &Refresh<'_>) -> bool {
    refresh.events.iter().any(|published| match published.event.kind() {
        EventKind::RefreshFailed(failed) => match failed.reason() {
            FailureReason::TimedOut => true,
            FailureReason::Internal => failed.message.contains("kept apart"),
            _ => false,
        },
        _ => false,
    })
}
