//! What finAPI calls, as `tests/fuzz` reads it.

use jiff::Timestamp;

use super::notification::follows;
use crate::broker::Outgoing;
use crate::broker::topology::Topology;

/// Reads the body of a notification.
pub(crate) fn notification(topology: &Topology, body: &[u8], now: Timestamp) -> Result<Option<Outgoing>, &'static str> {
    follows(topology, body, now)
}
