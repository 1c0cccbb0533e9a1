//! What finAPI was asked.

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::broker::memory::What;
use bankrefresh::finapi::breaker::Host;
use tokio::time::Instant;

use super::ledger::Ledger;
use crate::line::{Call, Endpoint};
use crate::scenario::Act;

/// Not sooner is a host that is down asked again whether it is back.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

const SECOND: Duration = Duration::from_secs(1);
/// The longest one question to finAPI takes, with waiting for its turn, a token, and a second try.
const ONE_QUESTION: Duration = Duration::from_secs(40);

/// A command starts one task. Two copies of it that are under way together on two workers may both find none and start one each,
/// where the first one does not lock the connection; and a copy of a command that does not say when it was sent, or that command when it
/// comes back, is a new one, for nobody can tell that the task of the first copy began later.
pub(crate) fn a_command_starts_one_task(ledger: &Ledger<'_>, violated: &mut Vec<String>) {
    let mut made: BTreeMap<&str, Vec<Instant>> = BTreeMap::new();
    for call in &ledger.history.calls {
        if let Endpoint::Start {
            command, made: Some(_), ..
        } = &call.endpoint
        {
            made.entry(command).or_default().push(call.at);
        }
    }
    for (command, times) in made {
        let Some(refresh) = ledger.refreshes.get(command) else {
            violated.push(format!("a task was started for {command}, which is no valid command"));
            continue;
        };
        for pair in times.windows(2) {
            let together = refresh.live_max(pair[0], pair[1]) > 1 && pair[0] + ONE_QUESTION > pair[1];
            let undated = refresh.command.requested_at.is_none() && refresh.runs() > 1;
            if !together && !undated {
                let at = ledger.time(pair[1]);
                violated.push(format!("command {command} started a second task at {at:?}"));
            }
        }
    }
}

/// finAPI had one update of a connection at a time, unless a web form was waiting for its user.
pub(crate) fn one_update_runs_at_a_time(ledger: &Ledger<'_>, violated: &mut Vec<String>) {
    for (id, connection) in &ledger.history.asked.connections {
        let forms = connection
            .tasks
            .iter()
            .filter(|task| task.web_form_id.is_some())
            .count();
        if forms == 0 && connection.open_max > 1 {
            violated.push(format!("connection {id} had {} updates at a time", connection.open_max));
        }
    }
}

/// In any second a task is looked at once by each copy of each refresh that follows it. A question that was on its way when
/// its worker lost the broker may come a moment before another worker's.
pub(crate) fn looks_are_a_second_apart(ledger: &Ledger<'_>, violated: &mut Vec<String>) {
    for (task, mut looks) in looks(ledger) {
        looks.retain(|look| !has_lost_the_broker(ledger, look));
        let followers = ledger.followers(task);
        for (index, look) in looks.iter().enumerate() {
            let from = look.at.checked_sub(SECOND).unwrap_or(look.at);
            let lately = looks[..=index].iter().filter(|other| other.at > from).count();
            let copies: i32 = followers.iter().map(|refresh| refresh.live_max(from, look.at)).sum();
            if lately > usize::try_from(copies).unwrap_or_default() {
                let at = ledger.time(look.at);
                violated.push(format!(
                    "task {task} had {lately} looks in the second before {at:?}, of {copies} copies"
                ));
                break;
            }
        }
    }
}

/// Whether messages came back from the worker when the question was on its way.
fn has_lost_the_broker(ledger: &Ledger<'_>, call: &Call) -> bool {
    let lately = |at: Instant| at <= call.at && at + ledger.scenario.finapi_latency >= call.at;
    let mut seen = ledger.history.broker.iter();
    seen.any(|seen| match seen.what {
        // A client's number is that of its worker's life.
        What::Returned { client, .. } => client == call.life && lately(seen.at),
        _ => false,
    })
}

/// The looks at each task. One that was refused for a dead token is not followed by a wait but by a new token, so it counts as the
/// same look.
fn looks<'a>(ledger: &'a Ledger<'_>) -> BTreeMap<&'a str, Vec<&'a Call>> {
    let mut looks: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &ledger.history.calls {
        let refused = call.answered.is_some_and(|(_, status)| status == 401);
        if let (Endpoint::Task(task), false) = (&call.endpoint, refused) {
            looks.entry(task).or_default().push(call);
        }
    }
    looks
}

/// Which host is asked, if that may be to find out whether it is back.
fn probed(endpoint: &Endpoint) -> Option<Host> {
    match endpoint {
        Endpoint::Token | Endpoint::Connection(_) | Endpoint::Accounts(_) | Endpoint::Transactions(_) => {
            Some(Host::Access)
        }
        Endpoint::FindTask => Some(Host::WebForm),
        Endpoint::Start { .. } | Endpoint::Task(_) | Endpoint::WebForm(_) | Endpoint::Credentials => None,
    }
}

/// Who has lost the broker finishes what it has asked and asks nothing more: its deliveries are another's.
pub(crate) fn who_lost_the_broker_goes_no_further(ledger: &Ledger<'_>, violated: &mut Vec<String>) {
    let mut down = None;
    let mut times = Vec::new();
    for (at, act) in &ledger.history.acts {
        match act {
            Act::BrokerDown(true) => down = down.or(Some(*at)),
            Act::BrokerDown(false) => times.extend(down.take().map(|down| (down, *at))),
            _ => {}
        }
    }
    for (from, to) in times {
        let during = |call: &&Call| (from..to).contains(&call.at);
        let mut probes: BTreeMap<(u64, usize), Instant> = BTreeMap::new();
        for call in ledger.history.calls.iter().filter(during) {
            if call.at > from + ONE_QUESTION {
                // Whoever saw one of finAPI's hosts go down asks now and then whether it is back.
                if let Some(host) = probed(&call.endpoint) {
                    let before = probes.insert((call.life, host as usize), call.at);
                    if before.is_none_or(|before| before + PROBE_INTERVAL <= call.at) {
                        continue;
                    }
                }
                let at = ledger.time(call.at);
                violated.push(format!(
                    "{:?} was asked at {at:?}, long after the broker was lost",
                    call.endpoint
                ));
                return;
            }
        }
        for (task, looks) in looks(ledger) {
            let mut by_life: BTreeMap<u64, i32> = BTreeMap::new();
            for look in looks.into_iter().filter(during) {
                *by_life.entry(look.life).or_default() += 1;
            }
            let followers = ledger.followers(task).into_iter();
            let copies: i32 = followers.map(|refresh| refresh.live_max(from, to)).sum();
            if by_life.values().any(|count| *count > copies) {
                violated.push(format!(
                    "task {task} was looked at again and again while the broker was lost"
                ));
            }
        }
    }
}

/// A refresh costs few calls, and then one a second at most while it waits; three where it begins anew with the connection, as it does
/// while a part of a host is down that does not count as down by that.
pub(crate) fn calls_are_bounded(ledger: &Ledger<'_>, violated: &mut Vec<String>) {
    const FOR_EACH_RUN: usize = 60;
    let end = ledger.history.quiet_at.unwrap_or(ledger.history.began);
    let mut acts = ledger.history.acts.iter();
    let in_part = acts.any(|(_, act)| matches!(act, Act::FinapiDown(Some((_, endpoints))) if endpoints.len() == 2));
    let each_second = if in_part { 3 } else { 1 };
    let mut allowed = 0;
    for refresh in ledger.refreshes.values() {
        let last = refresh.events.last().map_or(end, |told| told.at);
        let lasted = refresh
            .since
            .map(|since| last.saturating_duration_since(since))
            .unwrap_or_default();
        let seconds = usize::try_from(lasted.as_secs()).unwrap_or(usize::MAX);
        allowed += refresh.runs() * (FOR_EACH_RUN + seconds * each_second);
    }
    let calls = ledger.history.calls.len();
    if calls > allowed {
        violated.push(format!("{calls} calls, of {allowed} at most"));
    }
}
