//! What a worker consumes.

use super::settings::Settings;
use super::trials::TRIALS_MAX;
use crate::broker::Subscription;
use crate::broker::topology::Topology;

/// Deliveries of the steps queue that may be unacknowledged beyond the refreshes that are held.
const STEPS_HEADROOM: u16 = 256;

/// What a worker consumes. It takes no command before it has read which lanes are paused.
#[must_use]
pub fn subscriptions(topology: &Topology, settings: &Settings) -> Vec<Subscription> {
    let queue = |name, prefetch, paused| Subscription::Queue { name, prefetch, paused };
    let lane = |name| queue(name, settings.in_flight, true);
    vec![
        queue(
            topology.steps(),
            settings.in_flight.saturating_add(STEPS_HEADROOM),
            false,
        ),
        lane(topology.interactive()),
        lane(topology.background()),
        Subscription::Queue {
            name: topology.quarantine(),
            prefetch: TRIALS_MAX,
            // The scheduler resumes it.
            paused: true,
        },
        Subscription::Ephemeral {
            exchange: topology.wake(),
            keys: vec![String::new()],
            optional: true,
        },
        Subscription::Stream {
            name: topology.control(),
        },
    ]
}

/// Where a subscription's messages come from, by the name that traces and metrics have for it: the exchange, the key, and the queue where
/// that has another name than the key.
pub(super) fn destination(topology: &Topology, subscription: &Subscription) -> String {
    let name = subscription.name();
    if name == topology.interactive() || name == topology.background() {
        let key = name.rsplit('.').next().unwrap_or_default();
        format!("{}:{key}:{name}", topology.commands())
    } else if name == topology.steps() || name == topology.quarantine() {
        format!("{}:{name}", topology.steps())
    } else {
        name.to_owned()
    }
}
