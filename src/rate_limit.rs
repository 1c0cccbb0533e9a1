//! The rate limiter: so many things a second, evenly spread or in bursts, waiting or refusing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Limits how much happens a second. Time that nobody uses is saved up for a burst, up to a bound.
///
/// It keeps one moment: when everything that was admitted would be paid for, at one interval each. What is admitted may run ahead of that
/// payment by the burst (the "generic cell rate algorithm").
#[derive(Debug)]
pub struct RateLimiter {
    interval: Duration,
    /// How far the payment may be behind: the intervals of a burst but for its last.
    credit: Duration,
    paid_at: Mutex<Instant>,
}

impl RateLimiter {
    /// Admits one after the other, an interval apart.
    #[must_use]
    pub fn even(per_second: u32) -> Self {
        Self::with_burst(per_second, 1)
    }

    /// Admits up to a second's worth at once.
    #[must_use]
    pub fn bursting(per_second: u32) -> Self {
        Self::with_burst(per_second, per_second)
    }

    fn with_burst(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            credit: interval.saturating_mul(burst.saturating_sub(1)),
            paid_at: Mutex::new(Instant::now()),
        }
    }

    /// Whether one more would be admitted now. It takes nothing.
    #[must_use]
    pub fn would_admit(&self) -> bool {
        let paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_at <= Instant::now() + self.credit
    }

    /// Whether one more is admitted now. One that is not takes nothing from the others.
    #[must_use]
    pub fn try_admit(&self) -> bool {
        let now = Instant::now();
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_admitted = *paid_at <= now + self.credit;
        if is_admitted {
            *paid_at = (*paid_at).max(now) + self.interval;
        }
        is_admitted
    }

    /// Waits until one more is admitted, in the order of the calls. Whoever stops waiting leaves its turn unused.
    pub async fn admit(&self) {
        let turn = {
            let now = Instant::now();
            let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            let from = (*paid_at).max(now);
            *paid_at = from + self.interval;
            // Nothing is before `now`, so a credit that reaches back further is no credit.
            from.checked_sub(self.credit).unwrap_or(now).max(now)
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::advance;

    use super::*;

    async fn turns(limiter: &RateLimiter, start: Instant, count: usize) -> Vec<u128> {
        join_all((0..count).map(|_| async {
            limiter.admit().await;
            start.elapsed().as_millis()
        }))
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn an_even_limiter_spreads_and_saves_nothing_up() {
        let start = Instant::now();
        let limiter = RateLimiter::even(10);
        assert_eq!(turns(&limiter, start, 4).await, [0, 100, 200, 300]);
        advance(Duration::from_secs(5)).await;
        assert_eq!(turns(&limiter, start, 3).await, [5300, 5400, 5500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bursting_limiter_saves_up_a_second_and_no_more() {
        let start = Instant::now();
        let limiter = RateLimiter::bursting(4);
        assert_eq!(turns(&limiter, start, 6).await, [0, 0, 0, 0, 250, 500]);
        advance(Duration::from_secs(60)).await;
        assert_eq!(
            turns(&limiter, start, 5).await,
            [60_500, 60_500, 60_500, 60_500, 60_750]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_takes_nothing_from_the_others() {
        let limiter = RateLimiter::bursting(3);
        let admitted = |count: usize| (0..count).filter(|_| limiter.try_admit()).count();
        assert!(limiter.would_admit() && limiter.would_admit());
        assert_eq!(admitted(100), 3);
        assert!(!limiter.would_admit());
        advance(Duration::from_millis(334)).await;
        assert_eq!(admitted(100), 1);
        advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(100), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_never_admits_more_than_its_rate_and_the_burst() {
        for rate in [1, 7, 2000] {
            let limiter = RateLimiter::bursting(rate);
            let mut admitted = 0;
            for _ in 0..1000 {
                admitted += (0..3 * rate / 100 + 1).filter(|_| limiter.try_admit()).count();
                advance(Duration::from_millis(10)).await;
            }
            let rate = usize::try_from(rate).expect("a rate");
            assert!(
                (10 * rate..=11 * rate).contains(&admitted),
                "{admitted} at {rate} a second"
            );
        }
    }
}
