//! How often tasks are polled.

use std::collections::BTreeMap;
use std::time::Duration;

use super::findings::Findings;
use super::ledger::Ledger;
use crate::line::{Call, Endpoint};

pub(super) const ON_ITS_WAY: &str = "poll within a second: one of the two was sent before its worker lost the broker";
pub(super) const TWO_DUPLICATES: &str = "poll within a second: by the run of another duplicate of the command";

const SECOND: Duration = Duration::from_secs(1);

/// A refresh polls its task once a second at most. Each poll belongs to one run of one refresh in one life of a worker. There are two
/// excuses. A poll that was on its way when its worker lost the broker may arrive a moment before or after that of whoever has the refresh now.
/// And two duplicates of a command don't know of each other's polls, so there may be as many polls as there are duplicates, by runs of their own.
pub(crate) fn polls_are_a_second_apart(ledger: &Ledger<'_>, findings: &mut Findings) {
    for ((task, command), polls) in polls(ledger) {
        for (index, poll) in polls.iter().enumerate() {
            let from = poll.at.checked_sub(SECOND).unwrap_or(poll.at);
            let before = polls[..index].iter().filter(|before| before.at > from);
            let (lost, before): (Vec<&Call>, Vec<&Call>) = before
                .copied()
                .partition(|before| ledger.lost_the_broker_on_its_way(before));
            (0..lost.len()).for_each(|_| findings.excuse(ON_ITS_WAY));
            if before.is_empty() {
                continue;
            }
            if ledger.lost_the_broker_on_its_way(poll) {
                findings.excuse(ON_ITS_WAY);
                continue;
            }
            let duplicates = ledger
                .refreshes
                .get(command)
                .map_or(0, |refresh| refresh.live_max(from, poll.at));
            let is_run_of_its_own = before.iter().all(|before| before.run != poll.run);
            if is_run_of_its_own && usize::try_from(duplicates).is_ok_and(|duplicates| before.len() < duplicates) {
                findings.excuse(TWO_DUPLICATES);
            } else {
                findings.push(format!(
                    "command {command} polled task {task} {} times in the second before {:?}",
                    before.len() + 1,
                    ledger.time(poll.at)
                ));
                break;
            }
        }
    }
}

/// The polls of each task by each command. One that was refused for a dead token is not followed by a wait but by a new token, so both
/// count as one.
fn polls<'a>(ledger: &'a Ledger<'_>) -> BTreeMap<(&'a str, &'a str), Vec<&'a Call>> {
    let mut polls: BTreeMap<_, Vec<&Call>> = BTreeMap::new();
    for call in &ledger.history.calls {
        let is_refused = call.answered.is_some_and(|(_, status)| status == 401);
        if let (Endpoint::Task(task), Some(command), false) = (&call.endpoint, ledger.command_of(call), is_refused) {
            polls.entry((task.as_str(), command)).or_default().push(call);
        }
    }
    polls
}
