//! What a worker does that has lost the broker.

use super::findings::Findings;
use super::ledger::Ledger;
use crate::line::{Call, Endpoint};

/// A run of a refresh sends nothing to finAPI once its worker has seen that the broker is lost, because its delivery belongs to somebody
/// else from then on.
pub(crate) fn who_lost_the_broker_sends_nothing(ledger: &Ledger<'_>, findings: &mut Findings) {
    // What the client asks for itself is about no delivery.
    for call in ledger
        .history
        .calls
        .iter()
        .filter(|call| call.endpoint != Endpoint::Client)
    {
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

/// Outside of any run, a worker fetches tokens, finds out its version of finAPI, and sends nothing else.
pub(crate) fn outside_of_runs_only_tokens_are_fetched(ledger: &Ledger<'_>, findings: &mut Findings) {
    let outside = ledger.history.calls.iter();
    for call in outside.filter(|call| ledger.command_of(call).is_none() && !fetches(ledger, call)) {
        let at = ledger.time(call.sent);
        findings.push(format!(
            "worker {} sent {:?} at {at:?} in no run",
            call.life, call.endpoint
        ));
    }
}

/// Whether it is part of fetching a token, or the client's own.
fn fetches(ledger: &Ledger<'_>, call: &Call) -> bool {
    if call.endpoint == Endpoint::Client {
        return true;
    }
    let is_for_token = matches!(call.endpoint, Endpoint::Token | Endpoint::Credentials);
    is_for_token && call.run.is_some_and(|run| ledger.history.fetches.contains(&run))
}
