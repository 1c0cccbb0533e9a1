//! What becomes of a refresh when its run or its publication has ended.

use super::job::{Job, Now};
use super::{Action, Busy, PublishEnd, RunEnd, RunId, Scheduler, UNPROVEN_WAIT};
use crate::id::RefreshId;
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Refresh, later};

impl Scheduler {
    /// A run ended, and gave its permit back.
    pub(in crate::worker) fn on_run_end(&mut self, id: RunId, end: RunEnd, now: Now) {
        let Some(Busy {
            receipt,
            refresh_id,
            runs_for,
        }) = self.busy.remove(&id)
        else {
            return;
        };
        if let Some(user_id) = runs_for {
            self.runnable.on_run_end(&user_id);
        }
        let is_woken = self.take_wake_up(refresh_id.as_ref());
        if !self.owns(&receipt) {
            self.forget(refresh_id.as_ref(), receipt.tag());
            self.actions.push_back(Action::ReportAbandoned(1));
        } else {
            match end {
                RunEnd::Waits(mut refresh) => {
                    poll_soon(&mut refresh, is_woken, now);
                    self.place(Job::tried(refresh, receipt), now);
                }
                RunEnd::Blocked(refresh) => {
                    let is_blocked = true;
                    let job = Job::tried(refresh, receipt);
                    self.place(Job { is_blocked, ..job }, now);
                }
                RunEnd::Publishes(publication) => {
                    self.keep_wake_up(refresh_id.as_ref(), is_woken);
                    self.publish(receipt, refresh_id, publication);
                }
                RunEnd::NeedsToken(mut refresh, renewals) => {
                    // A token may take long, and the list of tasks that the run has read is old then.
                    refresh.interrupted();
                    let renewals = renewals.saturating_add(1);
                    self.await_token(Job {
                        renewals,
                        ..Job::tried(refresh, receipt)
                    });
                }
                RunEnd::Stopped(mut refresh) => {
                    refresh.interrupted();
                    if !self.draining {
                        refresh.due_at = refresh.due_at.max(later(now.time, UNPROVEN_WAIT));
                    }
                    self.place(Job::tried(refresh, receipt), now);
                }
            }
        }
        self.admit_backlog(now);
    }

    /// A publication ended.
    pub(in crate::worker) fn on_publish_end(&mut self, id: RunId, end: PublishEnd, now: Now) {
        let Some(Busy {
            receipt, refresh_id, ..
        }) = self.busy.remove(&id)
        else {
            return;
        };
        self.publishing -= 1;
        let is_woken = self.take_wake_up(refresh_id.as_ref());
        if receipt.came_back_too_often() {
            self.forwards -= 1;
            self.on_forward(now);
        }
        if !self.owns(&receipt) || matches!(end, PublishEnd::Lost) {
            self.forget(refresh_id.as_ref(), receipt.tag());
            self.actions.push_back(Action::ReportAbandoned(1));
        } else {
            match end {
                PublishEnd::Continues(mut refresh) => {
                    poll_soon(&mut refresh, is_woken, now);
                    self.place(Job::tried(refresh, receipt), now);
                }
                PublishEnd::Refused(refresh) => self.park(Job::tried(refresh, receipt)),
                PublishEnd::Again(publication) => {
                    self.keep_wake_up(refresh_id.as_ref(), is_woken);
                    self.publish(receipt, refresh_id, publication);
                }
                PublishEnd::Done | PublishEnd::Lost => {
                    self.forget(refresh_id.as_ref(), receipt.tag());
                    self.actions.push_back(Action::Acknowledge(receipt));
                }
            }
        }
        self.admit_backlog(now);
    }

    fn take_wake_up(&mut self, refresh_id: Option<&RefreshId>) -> bool {
        refresh_id.is_some_and(|refresh_id| self.woken.remove(refresh_id))
    }

    /// It continues only after a publication.
    fn keep_wake_up(&mut self, refresh_id: Option<&RefreshId>, is_woken: bool) {
        self.woken.extend(refresh_id.filter(|_| is_woken).cloned());
    }
}

/// A wake-up that came while the refresh was busy: what it has read may be older. As for a held one, a wait after a failure stays.
fn poll_soon(refresh: &mut Refresh, is_woken: bool, now: Now) {
    if is_woken && refresh.failures == 0 {
        refresh.due_at = refresh.due_at.min(later(now.time, POLL_INTERVAL_MIN));
    }
}
