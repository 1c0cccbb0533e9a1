//! A worker's status as a message, every few seconds, for whoever looks on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::status::{Handle, Status};
use crate::broker::topology::{DELAYS, Topology};
use crate::broker::{Broker, Message, Outgoing, Properties, PublishError};

/// The `type` of such a message.
pub const REPORT_NAME: &str = "bankrefresh.status";

/// How often a worker reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The longest wait of a worker that may not report: each refusal costs the broker connection, so its waits double.
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(600);

/// What a worker says of itself and of the queues. Nothing in it is personal.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Report {
    /// Distinguishes this process from others.
    pub worker: Uuid,
    /// The machine, or the pod.
    pub host: String,
    /// The release.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How it is.
    pub status: Status,
    /// How many messages wait in the queues, by their names without the prefix; those that park refreshes together. A queue whose depth
    /// nobody can know now is missing.
    pub queues: BTreeMap<Cow<'static, str>, u32>,
}

/// Publishes a worker's status every few seconds, until its process ends.
pub async fn report(worker: Handle, broker: Broker, topology: Topology) {
    let mut report = Report {
        worker: Uuid::now_v7(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Timestamp::now(),
        ..Report::default()
    };
    let mut wait = REPORT_INTERVAL;
    loop {
        tokio::time::sleep(wait).await;
        if broker.is_ready().is_err() {
            continue;
        }
        let Some(status) = worker.status().await else { continue };
        report.status = status;
        report.queues = depths(&broker, &topology).await;
        let published = broker.publish(vec![message(&topology, &report)]).await;
        wait = next_wait(wait, &published);
        if let (true, Err(error)) = (wait > REPORT_INTERVAL, published) {
            tracing::warn!(%error, "could not publish this worker's status to {:?}", topology.status());
        }
    }
}

/// How long to wait after a wait and what came of it.
fn next_wait(wait: Duration, published: &Result<(), PublishError>) -> Duration {
    match published {
        // Nobody looks on.
        Ok(()) | Err(PublishError::Unroutable { .. }) => REPORT_INTERVAL,
        Err(_) => REFUSED_WAIT_MAX.min(wait * 2),
    }
}

fn message(topology: &Topology, report: &Report) -> Outgoing {
    let body = serde_json::to_vec(report).unwrap_or_else(|_| unreachable!("all keys are text"));
    Outgoing {
        exchange: topology.status(),
        routing_key: String::new(),
        message: Message {
            body: body.into(),
            properties: Properties {
                kind: Some(REPORT_NAME.to_owned()),
                content_type: Some("application/json".to_owned()),
                ..Properties::default()
            },
        },
    }
}

async fn depths(broker: &Broker, topology: &Topology) -> BTreeMap<Cow<'static, str>, u32> {
    let queues = [
        ("commands.interactive", vec![topology.interactive()]),
        ("commands.background", vec![topology.background()]),
        ("quarantine", vec![topology.quarantine()]),
        ("dead-letters", vec![topology.dead_letters()]),
        ("delay", DELAYS.map(|(delay, _)| topology.delay_queue(delay)).into()),
    ];
    let mut depths = BTreeMap::new();
    for (name, queues) in queues {
        if let Some(depth) = depth(broker, &queues).await {
            depths.insert(name.into(), depth);
        }
    }
    depths
}

/// Of some queues together; none where that of one is not known.
async fn depth(broker: &Broker, queues: &[String]) -> Option<u32> {
    let mut sum = 0;
    for queue in queues {
        sum += broker.ready(queue).await?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_after_failures_and_are_short_again_after_a_success() {
        let mut wait = REPORT_INTERVAL;
        let waits = [(); 9].map(|()| {
            wait = next_wait(wait, &Err(PublishError::Down));
            wait.as_secs()
        });
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(next_wait(wait, &Ok(())), REPORT_INTERVAL);
        let nobody = Err(PublishError::Unroutable {
            exchange: String::new(),
            routing_key: String::new(),
        });
        assert_eq!(next_wait(wait, &nobody), REPORT_INTERVAL, "nobody looks on");
    }
}
