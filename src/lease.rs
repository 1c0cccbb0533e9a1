//! Proof that something is still ours, for a short time.
//!
//! A process can stop for any time between two instructions: a live migration, SIGSTOP, a full disk. When it wakes, another worker may
//! have its deliveries already. A lease ends by itself, so nobody who wakes up late believes in it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A lease that is renewed again and again. Cheap to clone; every clone is the same lease.
#[derive(Clone, Debug)]
pub struct Lease(Option<Arc<Renewed>>);

#[derive(Debug)]
struct Renewed {
    valid_for: Duration,
    last: Mutex<Option<Moment>>,
}

/// A moment by both clocks. The monotonic one stands still while a machine sleeps, and the time of day can be set.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    instant: Instant,
    time: SystemTime,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }

    fn elapsed(self) -> Duration {
        self.instant.elapsed().max(self.time.elapsed().unwrap_or_default())
    }
}

impl Lease {
    /// A lease that is not valid yet. Each renewal is valid for this long.
    #[must_use]
    pub fn new(valid_for: Duration) -> Self {
        let last = Mutex::default();
        Self(Some(Arc::new(Renewed { valid_for, last })))
    }

    /// A lease that is always valid.
    #[must_use]
    pub fn endless() -> Self {
        Self(None)
    }

    /// Renews it. `asked` is when the proof was asked for, because whatever happened later is not proved by it.
    pub fn renew(&self, asked: Moment) {
        if let Some(renewed) = &self.0 {
            *renewed.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        }
    }

    /// Whether it is valid now.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Some(renewed) = &self.0 else { return true };
        let last = *renewed.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < renewed.valid_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_valid_for_a_time_from_when_the_proof_was_asked_for() {
        let lease = Lease::new(Duration::from_secs(5));
        assert!(!lease.is_valid());
        let asked = Moment::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        lease.renew(asked);
        assert!(lease.is_valid());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!lease.is_valid());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_time_of_day_jumps_ahead() {
        let lease = Lease::new(Duration::from_secs(5));
        let asked = Moment::now();
        lease.renew(Moment {
            time: asked.time - Duration::from_secs(50),
            ..asked
        });
        assert!(!lease.is_valid());
    }
}
