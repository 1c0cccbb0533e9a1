//! The task that keeps a connection up: it builds everything, waits until anything fails, and builds it again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::session::{CloseRequest, CloseRequests, End, Session, SessionConfig};
use super::status::Status;
use crate::broker::BrokerEvent;

/// The wait before the first attempt to connect again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// A connection that lasted this long was a good one: the next loss starts with a short wait again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// Keeps a connection up until it is closed or every handle is gone.
pub(super) async fn run(config: SessionConfig, mut close_requests: CloseRequests) {
    let close_request = live(&config, &mut close_requests).await;
    config.shared.status.send_replace(Status::Closed);
    if let Some(close_request) = close_request {
        // Who does not wait any more needs no answer.
        let _ = close_request.send(());
    }
}

async fn live(config: &SessionConfig, close_requests: &mut CloseRequests) -> CloseRequest {
    let mut generation = 1;
    let mut backoff = backoff(config);
    // Workers that start together spread over the nodes, and each connects to the next node when it loses one.
    let mut turn = fastrand::usize(..1 << 16);
    loop {
        let opened = tokio::select! {
            close_request = close_requests.recv() => return close_request,
            opened = Session::open(config, generation, turn) => opened,
        };
        turn += 1;
        let since = Instant::now();
        match opened {
            Err(error) => config.shared.failed(&error),
            Ok(session) => {
                let end = session.run(config, close_requests).await;
                if let Some(close_request) = lost(config, close_requests, generation, end).await {
                    return close_request;
                }
                generation += 1;
            }
        }
        if since.elapsed() >= GOOD_AFTER {
            backoff = self::backoff(config);
        }
        tokio::select! {
            close_request = close_requests.recv() => return close_request,
            () = sleep(backoff.next().unwrap_or(config.settings.reconnect_max)) => {}
        }
    }
}

/// Notifies everyone that the session is over. Some if it is not to be followed by another.
async fn lost(
    config: &SessionConfig,
    close_requests: &mut CloseRequests,
    generation: u64,
    end: End,
) -> Option<CloseRequest> {
    let reason = match end {
        End::Closed(close_request) => return Some(close_request),
        End::Lost(reason) => reason,
    };
    let connection = &config.settings.connection_name;
    tracing::warn!(connection, generation, reason, "lost the connection to RabbitMQ");
    let failure = Some(reason.clone());
    config.shared.status.send_replace(Status::Connecting { failure });
    config
        .notify(BrokerEvent::Disconnected { generation, reason }, close_requests)
        .await
        .err()
}

fn backoff(config: &SessionConfig) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(config.settings.reconnect_max)
        .with_jitter()
        .without_max_times()
        .build()
}
