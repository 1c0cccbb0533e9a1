//! What is known of finAPI's clocks.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How far the clocks of finAPI's two hosts are ahead of the worker's; none where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Of the host of connections, accounts and transactions.
    pub access: Option<ClockOffset>,
    /// Of the host of tasks and web forms.
    pub web_form: Option<ClockOffset>,
}

/// How far a clock is ahead of the worker's: something between two bounds, which are negative where it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// At least so far.
    pub least: SignedDuration,
    /// At most so far.
    pub most: SignedDuration,
}

impl ClockOffset {
    /// That of a clock that may be wrong by so much.
    #[must_use]
    pub fn within(apart: Duration) -> Self {
        let most = SignedDuration::try_from(apart).unwrap_or(SignedDuration::MAX);
        Self { least: -most, most }
    }

    /// The same, uncertain by at least so much.
    #[must_use]
    pub fn uncertain_by(self, apart: Duration) -> Self {
        let Self { least, most } = Self::within(apart);
        let middle = self.least + (self.most - self.least) / 2;
        Self {
            least: self.least.min(middle + least),
            most: self.most.max(middle + most),
        }
    }

    /// What the clock shows at a moment of the worker's clock, as near to it as can be.
    #[must_use]
    pub fn nearest(self, at: Timestamp) -> Timestamp {
        let offset = SignedDuration::ZERO.max(self.least).min(self.most);
        at.saturating_add(offset).unwrap_or(at)
    }

    /// The earliest that the clock may show at a moment of the worker's clock.
    #[must_use]
    pub fn earliest(self, at: Timestamp) -> Timestamp {
        at.saturating_add(self.least).unwrap_or(at)
    }

    /// The latest that the clock may show at a moment of the worker's clock.
    #[must_use]
    pub fn latest(self, at: Timestamp) -> Timestamp {
        at.saturating_add(self.most).unwrap_or(at)
    }
}
