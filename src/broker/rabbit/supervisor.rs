//! The task that keeps a connection up: it builds everything, waits until anything fails, and builds it again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::session::{Closer, Closers, End, Plan, Session};
use super::status::Status;
use crate::broker::BrokerEvent;

/// The wait before the first attempt to connect again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// A connection that lasted this long was a good one: the next loss starts with a short wait again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// Keeps a connection up until it is closed or every handle is gone.
pub(super) async fn run(plan: Plan, mut closers: Closers) {
    let closer = live(&plan, &mut closers).await;
    plan.shared.status.send_replace(Status::Closed);
    if let Some(closer) = closer {
        // Who does not wait any more needs no answer.
        let _ = closer.send(());
    }
}

async fn live(plan: &Plan, closers: &mut Closers) -> Closer {
    let mut generation = 1;
    let mut backoff = backoff(plan);
    // Workers that start together spread over the nodes, and each connects to the next node when it loses one.
    let mut turn = fastrand::usize(..1 << 16);
    loop {
        let opened = tokio::select! {
            closer = closers.recv() => return closer,
            opened = Session::open(plan, generation, turn) => opened,
        };
        turn += 1;
        let since = Instant::now();
        match opened {
            Err(error) => plan.shared.failed(&error),
            Ok(session) => {
                let end = session.run(plan, closers).await;
                if let Some(closer) = lost(plan, closers, generation, end).await {
                    return closer;
                }
                generation += 1;
            }
        }
        if since.elapsed() >= GOOD_AFTER {
            backoff = self::backoff(plan);
        }
        tokio::select! {
            closer = closers.recv() => return closer,
            () = sleep(backoff.next().unwrap_or(plan.settings.reconnect_max)) => {}
        }
    }
}

/// Notifies everyone that the session is over. Some if it is not to be followed by another.
async fn lost(plan: &Plan, closers: &mut Closers, generation: u64, end: End) -> Option<Closer> {
    let reason = match end {
        End::Closed(closer) => return Some(closer),
        End::Lost(reason) => reason,
    };
    tracing::warn!(generation, reason, "lost the connection to RabbitMQ");
    let failure = Some(reason.clone());
    plan.shared.status.send_replace(Status::Connecting { failure });
    plan.notify(BrokerEvent::Disconnected { generation, reason }, closers).await.err()
}

fn backoff(plan: &Plan) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(plan.settings.reconnect_max)
        .with_jitter()
        .without_max_times()
        .build()
}
