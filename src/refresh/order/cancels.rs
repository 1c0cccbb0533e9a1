//! The cancellations that there are.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Cancel, Whose};
use crate::id::{RefreshId, UserId};
use crate::refresh::Refresh;

/// The most that are remembered at a time.
pub(super) const CANCELS_MAX: usize = 100_000;

/// Up to when commands are cancelled, of users and of refreshes.
#[derive(Clone, Debug, Default)]
pub(super) struct Cancels {
    users: HashMap<UserId, Timestamp>,
    refreshes: HashMap<RefreshId, Timestamp>,
}

impl Cancels {
    /// Whether there is room for it. The latest of several counts.
    pub(super) fn cancel(&mut self, cancel: Cancel) -> bool {
        let Cancel { whose, requested_at } = cancel;
        let is_full = self.users.len() + self.refreshes.len() >= CANCELS_MAX;
        let known = match &whose {
            Whose::User(id) => self.users.get_mut(id),
            Whose::Refresh(id) => self.refreshes.get_mut(id),
        };
        match (known, whose) {
            (Some(known), _) => *known = requested_at.max(*known),
            (None, _) if is_full => return false,
            (None, Whose::User(id)) => {
                self.users.insert(id, requested_at);
            }
            (None, Whose::Refresh(id)) => {
                self.refreshes.insert(id, requested_at);
            }
        }
        true
    }

    /// The cancellation that a refresh ends by: when it was asked for.
    pub(super) fn of(&self, refresh: &Refresh) -> Option<Timestamp> {
        let command = &refresh.command;
        let of_user = self.users.get(command.user_id());
        let of_refresh = self.refreshes.get(command.refresh_id());
        let latest = of_user.into_iter().chain(of_refresh).max();
        latest.copied().filter(|latest| refresh.requested_at <= *latest)
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(Timestamp) -> bool) {
        self.users.retain(|_, requested_at| is_kept(*requested_at));
        self.refreshes.retain(|_, requested_at| is_kept(*requested_at));
    }
}
