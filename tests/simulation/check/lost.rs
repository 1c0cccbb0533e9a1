//! What a worker does that has lost the broker.

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::finapi::breaker::Host;
use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::Ledger;
use crate::line::{Call, Endpoint};

/// The circuit breaker's first wait between two probes of one host.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// A run of a refresh sends nothing to finAPI once its worker has seen that the broker is lost, because its delivery belongs to somebody
/// else from then on.
pub(crate) fn who_lost_the_broker_sends_nothing(ledger: &Ledger<'_>, findings: &mut Findings) {
    for call in &ledger.history.calls {
        let Some(run) = call.run.and_then(|run| ledger.history.runs.get(&run)) else {
            continue;
        };
        let lost = ledger.disconnections(call.life).iter();
        let lost = lost.filter(|lost| run.began < lost.from && lost.from < call.sent || lost.contains(call.sent));
        if let Some(lost) = lost.min_by_key(|lost| lost.from) {
            let (sent, from) = (ledger.time(call.sent), ledger.time(lost.from));
            findings.push(format!(
                "command {}: worker {} sent {:?} at {sent:?}, having lost the broker at {from:?}",
                run.command, call.life, call.endpoint
            ));
        }
    }
}

/// Outside of any run, a worker fetches tokens, and it probes hosts that are down, never more often than the circuit breaker lets it.
pub(crate) fn probes_are_apart(ledger: &Ledger<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<(u64, usize), Instant> = BTreeMap::new();
    let probes = ledger.history.calls.iter();
    for call in probes.filter(|call| ledger.command_of(call).is_none() && !fetches(ledger, call)) {
        let at = ledger.time(call.sent);
        let Some(host) = probed(call) else {
            findings.push(format!(
                "worker {} sent {:?} at {at:?} in no run",
                call.life, call.endpoint
            ));
            continue;
        };
        let before = last.insert((call.life, host as usize), call.sent);
        if before.is_some_and(|before| before + PROBE_INTERVAL > call.sent) {
            findings.push(format!("worker {} probed {host:?} again at {at:?}", call.life));
        }
    }
}

/// Whether it is part of fetching a token.
fn fetches(ledger: &Ledger<'_>, call: &Call) -> bool {
    let is_for_token = matches!(call.endpoint, Endpoint::Token | Endpoint::Credentials);
    is_for_token && call.run.is_some_and(|run| ledger.history.fetches.contains(&run))
}

/// Which host a probe asks. Nothing is started by a probe, and no task is polled.
fn probed(call: &Call) -> Option<Host> {
    match &call.endpoint {
        Endpoint::Token | Endpoint::Connection(_) | Endpoint::Accounts(_) | Endpoint::Transactions(_) => {
            Some(Host::Access)
        }
        Endpoint::FindTask => Some(Host::WebForm),
        Endpoint::Start { .. } | Endpoint::Task(_) | Endpoint::WebForm(_) | Endpoint::Credentials => None,
    }
}
