//! What a worker knows of orders. Those that came later count more.

use std::time::Duration;

use jiff::Timestamp;

use super::cancels::Cancels;
use super::pauses::Pauses;
use super::{Order, Pause, Target};
use crate::id::BankId;
use crate::refresh::{Refresh, earlier, later};

/// The shortest and the longest wait of what is paused. A quarter of the time that it has waited is between them.
const WAIT_MIN: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// As long as the stream keeps them.
const PAUSES_KEPT: Duration = Duration::from_secs(31 * 24 * 3600);

/// All orders that are known.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    pauses: Pauses,
    cancels: Cancels,
}

/// How long a refresh waits because of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseWait {
    /// How long it has waited for pauses.
    pub paused_for: Duration,
    /// How long it waits now.
    pub wait: Duration,
}

impl Orders {
    /// The next order in the order in which they were given. False where there is no room for it.
    pub fn follow(&mut self, order: Order, now: Timestamp) -> bool {
        match order {
            Order::Pause(pause) => self.pauses.pause(pause, now),
            Order::Resume { target, at } => {
                self.pauses.resume(&target, at);
                true
            }
            Order::Cancel(cancel) => self.cancels.cancel(cancel),
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Timestamp) {
        self.pauses.end_overdue(now);
    }

    /// Forgets pauses that were over 31 days ago, as the stream does, and cancellations when what they are about is over. That takes as much longer
    /// as anything was paused in those 31 days.
    pub fn forget(&mut self, now: Timestamp, refresh_max: Duration) {
        let kept_since = earlier(now, PAUSES_KEPT);
        self.pauses.forget(kept_since);
        let paused = self.pauses.kept_any_waiting(kept_since, now);
        let kept = refresh_max.saturating_add(paused);
        self.cancels.retain(|requested_at| now <= later(requested_at, kept));
    }

    /// Since when it is known that a refresh is to be cancelled, where it is: when that was asked for, or when it was read, if that is earlier.
    #[must_use]
    pub fn cancel(&self, refresh: &Refresh) -> Option<Timestamp> {
        self.cancels.of(refresh).filter(|_| refresh.may_be_cancelled())
    }

    /// The pauses in force.
    pub fn pauses(&self, now: Timestamp) -> impl Iterator<Item = &Pause> {
        self.pauses.in_force(now)
    }

    /// When the next pause ends by itself.
    #[must_use]
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.pauses.next_end(now)
    }

    /// Whether a lane is not to be consumed.
    #[must_use]
    pub fn stop_lane(&self, interactive: bool, now: Timestamp) -> bool {
        let lane = Target::Lane { interactive };
        self.pauses(now)
            .any(|pause| pause.target == Target::Everything || pause.target == lane)
    }

    /// Whether it matters which bank a connection is to.
    #[must_use]
    pub fn ask_for_banks(&self, now: Timestamp) -> bool {
        self.pauses(now).any(|pause| matches!(pause.target, Target::Bank(_)))
    }

    /// Whether it knows of any pause, in force or over.
    #[must_use]
    pub fn knows_pauses(&self) -> bool {
        !self.pauses.is_empty()
    }

    /// How long pauses have kept a refresh from being started.
    #[must_use]
    pub fn paused_for(&self, refresh: &Refresh, bank: Option<BankId>, now: Timestamp) -> Duration {
        self.pauses.kept_waiting(refresh, bank, refresh.requested_at, now)
    }

    /// How long a refresh waits now where it may not be started, up to a tenth of it longer by the jitter.
    #[must_use]
    pub fn stop(&self, refresh: &Refresh, bank: Option<BankId>, now: Timestamp, jitter: f64) -> Option<PauseWait> {
        let pauses = self.pauses(now).filter(|pause| pause.target.matches(refresh, bank));
        let last = pauses.map(Pause::ends_at).max()?;
        let paused_for = self.paused_for(refresh, bank, now);
        let left = Duration::try_from(last.duration_since(now)).unwrap_or_default();
        let wait = (paused_for / 4).clamp(WAIT_MIN, WAIT_MAX).min(left);
        let wait = wait + wait.mul_f64(jitter / 10.0);
        Some(PauseWait { paused_for, wait })
    }
}
