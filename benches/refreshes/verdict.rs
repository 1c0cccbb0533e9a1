//! Whether what was measured has done its work. A benchmark that does nothing is fast.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::options::{AmqpPlan, Options};
use crate::protocol::Protocol;
use crate::run::Run;
use crate::simulator::Heard;
use crate::support::rabbitmq::RabbitMq;

/// How long the broker may take to count what it was sent.
const COUNTED_IN: Duration = Duration::from_secs(10);

/// Each refresh has an outcome of its own, each had a task of its own, and all requests came by the protocol asked for.
pub fn run(options: &Options, run: &Run, outcomes: &BTreeSet<String>) {
    // A run takes as many outcomes as there are commands, so two of one command leave another without.
    assert_eq!(outcomes.len(), options.refreshes, "commands with an outcome");
    assert_eq!(run.heard.tasks, options.refreshes, "tasks that were started");
    spoken(&run.heard, run.simulator.protocol);
}

/// The bare client has made the calls of the run.
pub fn http_floor(run: &Run, endpoints: &[&str], heard: &Heard) {
    for endpoint in endpoints {
        let count = |heard: &Heard| heard.calls.get(*endpoint).copied().unwrap_or_default();
        assert_eq!(count(heard), count(&run.heard), "calls of {endpoint} by the floor");
    }
    spoken(heard, run.simulator.protocol);
}

/// The bare client has taken and published as many messages as the run.
pub async fn amqp_floor(plan: &AmqpPlan, rabbit: &RabbitMq, [commands, events]: [&str; 2]) {
    let wanted = [0, plan.published];
    let until = Instant::now() + COUNTED_IN;
    loop {
        let ((left, _), (published, _)) = (rabbit.depth(commands).await, rabbit.depth(events).await);
        let counted = [left as usize, published as usize];
        if counted == wanted {
            return;
        }
        assert!(
            Instant::now() < until,
            "left and published by the floor: {counted:?}, not {wanted:?}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// Nothing came by another protocol, and no fewer requests than calls.
fn spoken(heard: &Heard, wanted: Protocol) {
    let others = heard.spoken.iter().filter(|(protocol, _)| **protocol != wanted);
    for (protocol, count) in others {
        assert_eq!(*count, 0, "requests over {protocol} where {wanted} was asked for");
    }
    let calls: usize = heard.calls.values().sum();
    let requests = heard.spoken.get(&wanted).copied().unwrap_or_default();
    assert!(requests >= calls, "{requests} requests over {wanted} for {calls} calls");
}
