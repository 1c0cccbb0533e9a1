//! Takes in what the broker brings.

use std::sync::Arc;

use jiff::Timestamp;

use super::memory::Feed;
use super::{Shared, event};
use crate::broker::topology::Topology;
use crate::broker::{BrokerEvent, BrokerEvents, Delivery};
use crate::limits::STATUS_BYTES_MAX;
use crate::plain::plain;
use crate::worker::{REPORT_NAME, Report};

/// Takes in what comes, until the broker client ends.
pub(super) async fn run(shared: Arc<Shared>, mut broker_events: BrokerEvents, topology: Topology) {
    while let Some(broker_event) = broker_events.recv().await {
        let now = Timestamp::now();
        match broker_event {
            BrokerEvent::Connected { .. } => shared.change(|memory| memory.feed = Feed::Up { since: now }),
            BrokerEvent::Disconnected { reason, .. } => {
                let reason = plain(&reason).into_owned();
                shared.change(|memory| memory.feed = memory.feed.lost(reason, now));
            }
            BrokerEvent::CaughtUp { .. } => {}
            BrokerEvent::Delivery(delivery) => take(&shared, &delivery, &topology, now),
        }
    }
    let reason = "the broker client has ended".to_owned();
    shared.change(|memory| memory.feed = memory.feed.lost(reason, Timestamp::now()));
}

fn take(shared: &Shared, delivery: &Delivery, topology: &Topology, now: Timestamp) {
    if delivery.queue == topology.status() {
        let report = report(delivery);
        shared
            .metrics
            .taken(if report.is_some() { "report" } else { "unreadable" });
        shared.change(|memory| match report {
            Some(report) => memory.reported(report, now),
            None => memory.unreadable += 1,
        });
        return;
    }
    let seen = match delivery.flaw {
        None => event::read(&delivery.message),
        Some(_) => None,
    };
    shared
        .metrics
        .taken(if seen.is_some() { "event" } else { "unreadable" });
    shared.change(|memory| match seen {
        Some(seen) => memory.seen(seen, now),
        None => memory.unreadable += 1,
    });
}

fn report(delivery: &Delivery) -> Option<Report> {
    let message = &delivery.message;
    let is_report = message.properties.kind.as_deref() == Some(REPORT_NAME);
    if !is_report || message.body.len() > STATUS_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&message.body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Message, Tag};
    use crate::console::Settings;

    #[test]
    fn what_is_no_report_is_counted() {
        let (shared, topology) = (Shared::new(&Settings::default()), Topology::new("bankrefresh"));
        let delivery = Delivery {
            tag: Tag {
                generation: 1,
                subscription: 1,
                number: 1,
            },
            queue: topology.status(),
            redeliveries: 0,
            flaw: None,
            message: Message::default(),
        };
        take(&shared, &delivery, &topology, Timestamp::UNIX_EPOCH);
        assert_eq!(shared.memory().unreadable, 1);
    }
}
