//! Orders: what operators, and platforms that may, want of all workers. They are checked where they become an [`Order`], and [`Orders`] is
//! what a worker knows of them.

mod cancels;
mod known;
mod parse;
mod pauses;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

pub use known::{Orders, PauseWait};
pub use parse::InvalidOrder;

use super::event::{self, Event};
use super::failure::FailureDetails;
use super::{Lookup, Phase, Refresh};
use crate::id::{BankId, RefreshId, UserId, WebFormId};
use crate::proto::FailureReason;

/// The longest pause. One that nobody ends is over then.
pub const PAUSE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest time that a refresh can have been paused: ten such pauses in a row.
pub(super) const PAUSED_MAX: Duration = PAUSE_MAX.saturating_mul(10);

/// An order that is fit to be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop new starts.
    Pause(Pause),
    /// Allow them again.
    Resume {
        /// What was paused.
        target: Target,
        /// When.
        at: Timestamp,
    },
    /// End refreshes.
    Cancel(Cancel),
}

/// A cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Which refreshes.
    pub whose: Whose,
    /// Only commands that were sent no later than this.
    pub requested_at: Timestamp,
    /// Since when this worker knows: that time, or when it read the order if that is earlier. A sender's clock may be far ahead.
    pub since: Timestamp,
}

/// Which refreshes are cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of a user.
    User(UserId),
    /// One.
    Refresh(RefreshId),
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What is paused.
    pub target: Target,
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself; none: when somebody resumes, or after [`PAUSE_MAX`].
    pub until: Option<Timestamp>,
    /// Who paused it.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// What a pause stops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Every start.
    Everything,
    /// Commands of one lane.
    Lane {
        /// Which one.
        interactive: bool,
    },
    /// Connections to a bank.
    Bank(BankId),
    /// Connections of a user.
    User(UserId),
}

impl Order {
    /// Its name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause(_) => "pause",
            Self::Resume { .. } => "resume",
            Self::Cancel(_) => "cancel",
        }
    }
}

impl Pause {
    /// When it is over if nobody ends it.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.until.unwrap_or_else(|| super::later(self.since, PAUSE_MAX))
    }
}

impl Target {
    /// Whether it has to do with a refresh. A bank that is not known is none.
    fn matches(&self, refresh: &Refresh, bank: Option<BankId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Lane { interactive } => refresh.envelope.interactive == *interactive,
            Self::Bank(id) => bank == Some(*id),
            Self::User(id) => refresh.command.user_id() == id,
        }
    }
}

impl Target {
    /// With the id of a user, for whoever may read orders.
    #[must_use]
    pub fn named(&self) -> String {
        match self {
            Self::User(id) => format!("user {id}"),
            other => other.to_string(),
        }
    }
}

/// For operators. The id of a user is for those alone who may read the orders themselves.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Lane { interactive: true } => f.write_str("lane interactive"),
            Self::Lane { interactive: false } => f.write_str("lane background"),
            Self::Bank(id) => write!(f, "bank {id}"),
            Self::User(_) => f.write_str("a user"),
        }
    }
}

impl Refresh {
    /// Whether an update may have been started for it, or it needs none any more, so that no pause stops it.
    #[must_use]
    pub fn may_have_begun(&self) -> bool {
        !matches!(self.phase, Phase::Locating { asked: None, .. })
    }

    /// Whether it can be cancelled: its outcome is not known to anybody.
    #[must_use]
    pub fn may_be_cancelled(&self) -> bool {
        !self.is_half_published() && self.refusals == 0 && !matches!(self.phase, Phase::Failing { .. })
    }

    /// The web form that its user has, or is about to get.
    #[must_use]
    pub fn web_form(&self) -> Option<&WebFormId> {
        match &self.phase {
            Phase::NotifyingUser { form, .. } => Some(&form.id),
            Phase::AwaitingUser { web_form_id, .. } => Some(web_form_id),
            Phase::Locating { .. }
            | Phase::Updating { .. }
            | Phase::Settling { .. }
            | Phase::Collecting(_)
            | Phase::Failing { .. } => None,
        }
    }

    /// Its outcome when it is cancelled, and whether its web form is, where it has one.
    #[must_use]
    pub fn cancelled(&self, now: Timestamp, is_form_cancelled: bool) -> Event {
        let message = match (self.web_form(), is_form_cancelled) {
            (Some(_), true) => "the refresh was cancelled, and its web form with it",
            (Some(_), false) => "the refresh was cancelled; finAPI did not cancel its web form, which ends by itself",
            (None, _) => "the refresh was cancelled",
        };
        let details = FailureDetails::of(FailureReason::Cancelled, message, false);
        event::failed(self, now, &details)
    }

    /// Before it is started, its connection is read, which says which bank it is to.
    pub fn ask_for_bank(&mut self) {
        if let Phase::Locating { lookup, .. } = &mut self.phase {
            *lookup = Lookup::Check;
        }
    }

    /// It waits because of a pause. Until it is due it does not get older.
    pub fn pause(&mut self, wait: PauseWait, now: Timestamp) {
        self.due_at = super::later(now, wait.wait);
        self.was_paused(wait.paused_for + wait.wait);
        self.interrupted();
    }

    /// Pauses kept it waiting for so long.
    pub fn was_paused(&mut self, paused_for: Duration) {
        self.paused_for = self.paused_for.max(paused_for).min(PAUSED_MAX);
    }
}
