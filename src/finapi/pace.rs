//! At most so many requests a second, evenly spread.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Says when the next request may be sent.
#[derive(Debug)]
pub(super) struct Pace {
    /// None: at any time.
    interval: Option<Duration>,
    next: Mutex<Instant>,
}

impl Pace {
    /// None is as fast as it goes.
    #[must_use]
    pub(super) fn new(requests_per_second: Option<u32>) -> Self {
        Self {
            interval: requests_per_second.map(|rate| Duration::from_secs(1) / rate.max(1)),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until a request may be sent. A turn that nobody waits for any more passes unused.
    pub(super) async fn turn(&self) {
        let Some(interval) = self.interval else {
            return;
        };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + interval;
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    #[tokio::test(start_paused = true)]
    async fn requests_are_evenly_spread_and_what_was_not_used_is_not_made_up_for() {
        let pace = Pace::new(Some(10));
        let start = Instant::now();
        let turns = |count: usize| {
            join_all((0..count).map(|_| async {
                pace.turn().await;
                start.elapsed().as_millis()
            }))
        };
        assert_eq!(turns(4).await, [0, 100, 200, 300]);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(turns(3).await, [5300, 5400, 5500]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let pace = Pace::new(None);
        let start = Instant::now();
        for _ in 0..1000 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
