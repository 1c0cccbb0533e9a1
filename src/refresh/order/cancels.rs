//! The cancellations that there are.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Cancel, Whose};
use crate::id::{RefreshId, UserId};
use crate::refresh::Refresh;

/// The most that are remembered at a time.
pub(super) const CANCELS_MAX: usize = 100_000;

/// What is cancelled of users and of refreshes.
#[derive(Clone, Debug, Default)]
pub(super) struct Cancels {
    users: HashMap<UserId, Known>,
    refreshes: HashMap<RefreshId, Known>,
}

/// The latest cancellation of a user or of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    /// Only commands that were sent no later than this.
    requested_at: Timestamp,
    /// See [`Cancel::since`].
    since: Timestamp,
}

impl Cancels {
    /// Whether there is room for it. The latest of several counts.
    pub(super) fn cancel(&mut self, cancel: Cancel) -> bool {
        let Cancel {
            whose,
            requested_at,
            since,
        } = cancel;
        let new = Known { requested_at, since };
        let is_full = self.users.len() + self.refreshes.len() >= CANCELS_MAX;
        let known = match &whose {
            Whose::User(id) => self.users.get_mut(id),
            Whose::Refresh(id) => self.refreshes.get_mut(id),
        };
        match (known, whose) {
            (Some(known), _) => *known = new.max(*known),
            (None, _) if is_full => return false,
            (None, Whose::User(id)) => {
                self.users.insert(id, new);
            }
            (None, Whose::Refresh(id)) => {
                self.refreshes.insert(id, new);
            }
        }
        true
    }

    /// The cancellation that a refresh ends by: since when it is known.
    pub(super) fn of(&self, refresh: &Refresh) -> Option<Timestamp> {
        let command = &refresh.command;
        let of_user = self.users.get(command.user_id());
        let of_refresh = self.refreshes.get(command.refresh_id());
        let latest = of_user.into_iter().chain(of_refresh).max()?;
        (refresh.requested_at <= latest.requested_at).then_some(latest.since)
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(Timestamp) -> bool) {
        self.users.retain(|_, known| is_kept(known.requested_at));
        self.refreshes.retain(|_, known| is_kept(known.requested_at));
    }
}
