//! Orders: what a worker knows of them, it obeys, and nothing is cancelled without one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bankrefresh::broker::memory::What;
use bankrefresh::broker::{Delivery, Message, Tag};
use bankrefresh::id::BankId;
use bankrefresh::message;
use bankrefresh::proto::{CancelRefresh, FailureReason, timestamp};
use bankrefresh::refresh::event::EventKind;
use bankrefresh::refresh::order::Orders;
use bankrefresh::refresh::{self, Command, Envelope};
use bankrefresh::sandbox::bank_id;
use jiff::Timestamp;
use prost::Message as _;
use tokio::time::Instant;

use super::findings::Findings;
use super::ledger::{Ledger, Refresh, decode};
use crate::line::{Call, Endpoint};
use crate::platform::BANK;

pub(super) const AT_ONCE: &str = "start of what was stopped: an order that allows it came at the same moment";
pub(super) const KNOWN: &str = "start by a worker that knew of an order";

/// What each worker knows.
#[derive(Default)]
struct Known {
    orders: BTreeMap<u64, Orders>,
    /// Those that were handed any order.
    knowing: BTreeSet<u64>,
}

impl Known {
    /// A worker that connects reads all orders again, from the first.
    fn enter(&mut self, ledger: &Ledger<'_>, at: Instant, what: &What) {
        match what {
            What::Connected { client } => drop(self.orders.insert(*client, Orders::default())),
            What::Handed {
                client, queue, message, ..
            } if *queue == ledger.topology.control() => {
                if let Some(order) = order(message, time(ledger, at)) {
                    self.orders.entry(*client).or_default().follow(order, time(ledger, at));
                    self.knowing.insert(*client);
                }
            }
            _ => {}
        }
    }
}

/// The cancellations that each worker was handed. Which refresh one is about is decided here, and not by the workers' own code.
#[derive(Default)]
struct Cancels(BTreeMap<u64, Vec<CancelRefresh>>);

impl Cancels {
    fn enter(&mut self, ledger: &Ledger<'_>, what: &What) {
        match what {
            What::Connected { client } => drop(self.0.remove(client)),
            What::Handed {
                client, queue, message, ..
            } if *queue == ledger.topology.control()
                && message.properties.kind.as_deref() == Some("bankrefresh.v1.CancelRefresh") =>
            {
                let cancel = CancelRefresh::decode(message.body.clone());
                self.0.entry(*client).or_default().extend(cancel.ok());
            }
            _ => {}
        }
    }

    /// Whether a worker has one that is about a command. What has no date counts as very old: a command without one gets a date when it is
    /// first read, and nothing here says when that was.
    fn has(&self, client: u64, refresh: &Refresh<'_>) -> bool {
        let date = |date: &Option<prost_types::Timestamp>| date.as_ref().and_then(timestamp).unwrap_or_default();
        let command = refresh.command;
        let is_of = |cancel: &CancelRefresh| {
            let is_one = cancel.command_id == refresh.id && cancel.bank_connection_id == command.bank_connection_id;
            cancel.user_id == command.user_id
                && (cancel.command_id.is_empty() || is_one)
                && date(&command.requested_at) <= date(&cancel.requested_at)
        };
        self.0.get(&client).is_some_and(|cancels| cancels.iter().any(is_of))
    }
}

/// Whether the worker that made a call knew then, or learned at that moment, that a command is cancelled.
pub(super) fn knew_of_cancel(ledger: &Ledger<'_>, call: &Call, refresh: &Refresh<'_>) -> bool {
    let mut cancels = Cancels::default();
    for seen in ledger.history.broker.iter().take_while(|seen| seen.at <= call.sent) {
        cancels.enter(ledger, &seen.what);
    }
    cancels.has(call.life, refresh)
}

/// A worker publishes that a refresh was cancelled, and cancels a web form, only where it was handed an order that says so.
pub(crate) fn only_orders_cancel(ledger: &Ledger<'_>, findings: &mut Findings) {
    let mut cancels = Cancels::default();
    for seen in &ledger.history.broker {
        cancels.enter(ledger, &seen.what);
        let What::Sent { client, outgoing } = &seen.what else {
            continue;
        };
        let event = decode(&outgoing.message).filter(|_| outgoing.exchange == ledger.topology.events());
        let Some(event) = event else { continue };
        let is_cancelled =
            matches!(event.kind(), EventKind::RefreshFailed(failed) if failed.reason() == FailureReason::Cancelled);
        let Some(refresh) = ledger.refreshes.get(&event.context().command_id) else {
            continue;
        };
        if is_cancelled && !cancels.has(*client, refresh) {
            let at = ledger.time(seen.at);
            findings.push(format!(
                "command {} was cancelled at {at:?} by worker {client}, which had no such order",
                refresh.id
            ));
        }
    }
    for call in &ledger.history.calls {
        let Endpoint::CancelWebForm(form) = &call.endpoint else {
            continue;
        };
        let refresh = ledger.command_of(call).and_then(|id| ledger.refreshes.get(id));
        if !refresh.is_some_and(|refresh| knew_of_cancel(ledger, call, refresh)) {
            let at = ledger.time(call.sent);
            findings.push(format!(
                "worker {} cancelled web form {form} at {at:?}, and had no such order",
                call.life
            ));
        }
    }
}

/// A worker starts nothing that is paused or cancelled as far as it knew just before. There is one excuse: an order came at that very moment
/// that allows it, and the worker may have known that already.
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
        let (Some(refresh), Some(orders)) = (ledger.refreshes.get(command), known.orders.get(&call.life)) else {
            continue;
        };
        if known.knowing.contains(&call.life) {
            findings.meet(KNOWN);
        }
        let is_stopped = |orders: &Orders| is_stopped(ledger, orders, refresh, time(ledger, call.sent));
        // What it was handed at this very moment it may have known already.
        let mut then = Known::default();
        then.orders.insert(call.life, orders.clone());
        let moment = seen.clone().take_while(|seen| seen.at == call.sent);
        let knew_better = moment.into_iter().any(|seen| {
            then.enter(ledger, seen.at, &seen.what);
            then.orders.get(&call.life).is_some_and(|orders| !is_stopped(orders))
        });
        if is_stopped(orders) && knew_better {
            findings.excuse(AT_ONCE);
        } else if is_stopped(orders) {
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
