//! Orders: what a worker knows of them, it obeys.

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::broker::memory::What;
use bankrefresh::broker::{Delivery, Message, Tag};
use bankrefresh::id::BankId;
use bankrefresh::message;
use bankrefresh::refresh::order::Orders;
use bankrefresh::refresh::{self, Command, Envelope};
use bankrefresh::sandbox::bank_id;
use jiff::Timestamp;
use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh};
use crate::line::{Call, Endpoint};
use crate::platform::BANK;

/// What each worker knows.
#[derive(Default)]
struct Known(BTreeMap<u64, Orders>);

impl Known {
    /// A worker that connects reads all orders again, from the first.
    fn enter(&mut self, ledger: &Ledger<'_>, at: Instant, what: &What) {
        match what {
            What::Connected { client } => drop(self.0.insert(*client, Orders::default())),
            What::Handed {
                client, queue, message, ..
            } if *queue == ledger.topology.control() => {
                if let Some(order) = order(message, time(ledger, at)) {
                    self.0.entry(*client).or_default().follow(order, time(ledger, at));
                }
            }
            _ => {}
        }
    }
}

/// A worker starts nothing that is paused or cancelled as far as it knew just before and at that moment.
pub(crate) fn nothing_stopped_is_started(ledger: &Ledger<'_>, findings: &mut Findings) {
    let mut known = Known::default();
    let mut seen = ledger.history.broker.iter().peekable();
    let mut calls: Vec<&Call> = ledger.history.calls.iter().collect();
    calls.sort_by_key(|call| call.sent);
    for call in calls {
        let Endpoint::Start { command, .. } = &call.endpoint else {
            continue;
        };
        while let Some(before) = seen.next_if(|seen| seen.at < call.sent) {
            known.enter(ledger, before.at, &before.what);
        }
        let (Some(refresh), Some(orders)) = (ledger.refreshes.get(command), known.0.get(&call.life)) else {
            continue;
        };
        let is_stopped = |orders: &Orders| is_stopped(ledger, orders, refresh, time(ledger, call.sent));
        // What it was handed at this very moment it may have known already.
        let mut then = Known(BTreeMap::from([(call.life, orders.clone())]));
        let moment = seen.clone().take_while(|seen| seen.at == call.sent);
        let knew_better = moment.into_iter().any(|seen| {
            then.enter(ledger, seen.at, &seen.what);
            then.0.get(&call.life).is_some_and(|orders| !is_stopped(orders))
        });
        if is_stopped(orders) && !knew_better {
            let at = ledger.time(call.sent);
            findings.push(format!(
                "command {command} was started at {at:?} by worker {}, and is paused or cancelled",
                call.life
            ));
        }
    }
}

/// Every connection is to one bank. In a strange run its id may be unreadable.
fn is_stopped(ledger: &Ledger<'_>, orders: &Orders, refresh: &Refresh<'_>, now: Timestamp) -> bool {
    let Ok(command) = Command::parse(refresh.command.clone()) else {
        return false;
    };
    let envelope = Envelope {
        interactive: refresh.interactive,
        ..Envelope::default()
    };
    // What a command without a date counts as is not known here.
    let requested_at = command.requested_at().unwrap_or(now);
    let refresh = refresh::Refresh::new(command, requested_at, envelope, now);
    let bank = BankId::from(bank_id(BANK));
    let bank = Some(bank).filter(|_| ledger.scenario.strange.is_empty());
    orders.stop(&refresh, bank, now, 0.0).is_some() || orders.cancel(&refresh).is_some()
}

fn order(message: &Message, now: Timestamp) -> Option<refresh::order::Order> {
    let delivery = Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: String::new(),
        redeliveries: 0,
        flaw: None,
        message: message.clone(),
    };
    message::order(&delivery, now).ok()
}

/// The time of day, by the workers' clock.
fn time(ledger: &Ledger<'_>, at: Instant) -> Timestamp {
    ledger.scenario.start + Duration::from_micros(u64::try_from(ledger.time(at).as_micros()).unwrap_or_default())
}
