//! The task that keeps a connection up: it builds everything, waits until anything fails, and builds it anew.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::address::Addresses;
use super::session::{End, Session};
use super::{Settings, Shared, Status};
use crate::broker::topology::Topology;
use crate::broker::{Notice, Subscription};

/// The wait before the first attempt to connect again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// A connection that lasted this long was a good one: the next loss starts with a short wait again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// What stays the same through all generations.
pub(super) struct Plan {
    pub(super) addresses: Addresses,
    pub(super) settings: Settings,
    pub(super) topology: Topology,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) shared: Arc<Shared>,
    pub(super) notices: mpsc::Sender<Notice>,
}

/// Who waits for the connection to be closed; None when it is closed because every handle is gone.
pub(super) type Closer = Option<oneshot::Sender<()>>;

/// Those who want it closed.
pub(super) type Closers = mpsc::UnboundedReceiver<oneshot::Sender<()>>;

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
    // Workers that start together spread over the nodes, and each goes on to the next node when it loses one.
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

/// Tells everyone that the session is over. Some if it is not to be followed by another.
async fn lost(plan: &Plan, closers: &mut Closers, generation: u64, end: End) -> Option<Closer> {
    let reason = match end {
        End::Closed(closer) => return Some(closer),
        End::Lost(reason) => reason,
    };
    tracing::warn!(generation, reason, "lost the connection to RabbitMQ");
    let failure = Some(reason.clone());
    plan.shared.status.send_replace(Status::Connecting { failure });
    plan.notify(Notice::Down { generation, reason }, closers).await.err()
}

impl Plan {
    /// Hands a notice over, unless it is to be closed before there is room for it. Whoever dropped the receiver does not
    /// want it.
    pub(super) async fn notify(&self, notice: Notice, closers: &mut Closers) -> Result<(), Closer> {
        tokio::select! {
            biased;
            _ = self.notices.send(notice) => Ok(()),
            closer = closers.recv() => Err(closer),
        }
    }
}

fn backoff(plan: &Plan) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(plan.settings.reconnect_max)
        .with_jitter()
        .without_max_times()
        .build()
}
