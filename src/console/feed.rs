//! Takes in what the broker brings.

use std::sync::Arc;

use jiff::Timestamp;

use super::memory::Feed;
use super::{Shared, event};
use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvent, BrokerEvents, Delivery};
use crate::limits::STATUS_BYTES_MAX;
use crate::message;
use crate::plain::plain;
use crate::worker::{REPORT_NAME, Report};

/// Takes in what comes, until the broker client ends.
pub(super) async fn run(shared: Arc<Shared>, broker: Broker, mut broker_events: BrokerEvents, topology: Topology) {
    while let Some(broker_event) = broker_events.recv().await {
        let now = Timestamp::now();
        match broker_event {
            BrokerEvent::Connected { .. } => shared.change(|memory| {
                memory.feed = Feed::Up { since: now };
                memory.orders.begin(broker.consumes(&topology.control()));
            }),
            BrokerEvent::Disconnected { reason, .. } => {
                let reason = plain(&reason).into_owned();
                shared.change(|memory| memory.feed = memory.feed.lost(reason, now));
            }
            BrokerEvent::CaughtUp { .. } => shared.change(|memory| memory.orders.caught_up()),
            BrokerEvent::Delivery(delivery) => take(&shared, &delivery, &topology, now),
        }
    }
    let reason = "the broker client has ended".to_owned();
    shared.change(|memory| memory.feed = memory.feed.lost(reason, Timestamp::now()));
}

fn take(shared: &Shared, delivery: &Delivery, topology: &Topology, now: Timestamp) {
    let taken = if delivery.queue == topology.status() {
        let report = report(delivery);
        shared.change(|memory| memory.reported(report, now))
    } else if delivery.queue == topology.control() {
        let order = message::order(delivery, now).ok();
        shared.change(|memory| memory.ordered(order, now))
    } else {
        // Of what has a flaw, the body may be left out.
        let seen = match delivery.flaw {
            None => event::read(&delivery.message),
            Some(_) => None,
        };
        shared.change(|memory| memory.seen(seen, now))
    };
    shared.metrics.taken(taken);
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
    fn what_cannot_be_read_is_counted() {
        let (shared, topology) = (Shared::new(&Settings::default()), Topology::new("bankrefresh"));
        let mut delivery = Delivery {
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
        let counted = || {
            let memory = shared.memory();
            (memory.unreadable_events, memory.unreadable_reports)
        };
        assert_eq!(counted(), (0, 1));
        delivery.queue = topology.events();
        take(&shared, &delivery, &topology, Timestamp::UNIX_EPOCH);
        assert_eq!(counted(), (1, 1), "no type");
        delivery.message.properties.kind = Some("bankrefresh.v1.RefreshFailed".to_owned());
        let failed = crate::proto::RefreshFailed {
            refresh: Some(crate::proto::RefreshContext::default()),
            ..Default::default()
        };
        delivery.message.body = prost::Message::encode_to_vec(&failed).into();
        take(&shared, &delivery, &topology, Timestamp::UNIX_EPOCH);
        assert_eq!(counted(), (2, 1), "of no command");
        // As the broker client brings what it could not read all of.
        let context = crate::proto::RefreshContext {
            command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            ..Default::default()
        };
        let failed = crate::proto::RefreshFailed {
            refresh: Some(context),
            ..failed
        };
        delivery.message.body = prost::Message::encode_to_vec(&failed).into();
        delivery.flaw = Some("a header is not UTF-8".to_owned());
        take(&shared, &delivery, &topology, Timestamp::UNIX_EPOCH);
        assert_eq!(counted(), (3, 1));
        delivery.flaw = None;
        take(&shared, &delivery, &topology, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (counted(), shared.memory().refreshes.count()),
            ((3, 1), 1),
            "it is fine"
        );
    }
}
