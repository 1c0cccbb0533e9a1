//! Orders: what operators publish, and what every worker reads.

use jiff::Timestamp;
use prost::Message as _;

use super::headers::{APP_ID, CONTENT_TYPE};
use crate::broker::topology::Topology;
use crate::broker::{Delivery, Message, Outgoing, Properties};
use crate::limits::ORDER_BYTES_MAX;
use crate::proto::{CancelRefresh, PauseRefreshes, ResumeRefreshes};
use crate::refresh::order::Order;

/// The full names of the messages.
const PAUSE_NAME: &str = "bankrefresh.v1.PauseRefreshes";
const RESUME_NAME: &str = "bankrefresh.v1.ResumeRefreshes";
const CANCEL_NAME: &str = "bankrefresh.v1.CancelRefresh";

/// Reads an order.
///
/// # Errors
///
/// Why it can't be followed.
pub fn order(delivery: &Delivery, now: Timestamp) -> Result<Order, String> {
    let message = &delivery.message;
    if let Some(flaw) = &delivery.flaw {
        return Err(flaw.clone());
    }
    let size = message.body.len();
    if size > ORDER_BYTES_MAX {
        return Err(format!("body: must have at most {ORDER_BYTES_MAX} bytes, has {size}"));
    }
    let body = message.body.clone();
    let order = match message.properties.kind.as_deref() {
        Some(PAUSE_NAME) => PauseRefreshes::decode(body).map(|order| Order::pause(order, now)),
        Some(RESUME_NAME) => ResumeRefreshes::decode(body).map(|order| Order::resume(order, now)),
        Some(CANCEL_NAME) => CancelRefresh::decode(body).map(|order| Order::cancel(order, now)),
        kind => return Err(format!("type: {:?} is no order", kind.unwrap_or_default())),
    };
    let order = order.map_err(|error| error.to_string())?;
    order.map_err(|invalid| invalid.to_string())
}

/// A pause on its way to all workers.
#[must_use]
pub fn pause(topology: &Topology, order: &PauseRefreshes, now: Timestamp) -> Outgoing {
    outgoing(topology, PAUSE_NAME, order.encode_to_vec(), now)
}

/// A resume on its way to all workers.
#[must_use]
pub fn resume(topology: &Topology, order: &ResumeRefreshes, now: Timestamp) -> Outgoing {
    outgoing(topology, RESUME_NAME, order.encode_to_vec(), now)
}

/// A cancellation on its way to all workers.
#[must_use]
pub fn cancel(topology: &Topology, order: &CancelRefresh, now: Timestamp) -> Outgoing {
    outgoing(topology, CANCEL_NAME, order.encode_to_vec(), now)
}

fn outgoing(topology: &Topology, name: &str, body: Vec<u8>, now: Timestamp) -> Outgoing {
    Outgoing {
        exchange: topology.control(),
        routing_key: String::new(),
        message: Message {
            body: body.into(),
            properties: Properties {
                content_type: Some(CONTENT_TYPE.to_owned()),
                kind: Some(name.to_owned()),
                timestamp: u64::try_from(now.as_second()).ok(),
                app_id: Some(APP_ID.to_owned()),
                ..Properties::default()
            },
        },
    }
}
