//! What one user may have of a worker, so that it keeps nobody else waiting.

use std::collections::HashMap;
use std::time::Duration;

use super::job::{Job, Now};
use super::{First, Scheduler};
use crate::broker::topology::DELAYS;
use crate::id::{RefreshId, UserId};
use crate::refresh::{Phase, later};
use crate::worker::settings::Settings;

/// A user may have this part of what a worker has.
const PART: usize = 8;

/// A worker that has few in flight gives one user so many all the same.
const IN_FLIGHT_MIN: usize = 4;

/// The shortest wait of a command above its user's share.
const LINE_WAIT_MIN: Duration = Duration::from_secs(5);

/// The longest wait.
const LINE_WAIT_MAX: Duration = DELAYS[DELAYS.len() - 1].1;

/// About how long a refresh is in flight. A user's commands come back as often as its share has room for one.
const REFRESH_TIME: Duration = Duration::from_secs(5);

/// The shares of one user.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Shares {
    /// Refreshes in flight, beyond which it begins no more.
    pub(in crate::worker) in_flight: usize,
    /// Runs at once.
    pub(in crate::worker) running: usize,
}

impl Shares {
    pub(in crate::worker) fn of(settings: &Settings, calls_max: usize) -> Self {
        Self {
            in_flight: usize::from(settings.in_flight).div_ceil(PART).max(IN_FLIGHT_MIN),
            running: calls_max.div_ceil(PART),
        }
    }
}

/// What each user has in flight, and until when those that it has no share left for wait in line.
#[derive(Debug, Default)]
pub(super) struct Users {
    in_flight: HashMap<UserId, usize>,
    lines: HashMap<UserId, Duration>,
}

impl Users {
    /// How many the user had in flight before.
    fn enter(&mut self, user_id: &UserId) -> usize {
        let count = self.in_flight.entry(user_id.clone()).or_default();
        *count += 1;
        *count - 1
    }

    fn leave(&mut self, user_id: &UserId) {
        if let Some(count) = self.in_flight.get_mut(user_id) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(user_id);
            }
        }
    }

    /// How long the next one waits: longer with each that waits, up to the longest delay.
    fn line_up(&mut self, user_id: &UserId, share: usize, now: Now) -> Duration {
        let line = self.lines.entry(user_id.clone()).or_default();
        let turn = (*line).max(now.since_start + LINE_WAIT_MIN);
        let apart = REFRESH_TIME / u32::try_from(share).unwrap_or(u32::MAX);
        *line = (turn + apart).min(now.since_start + LINE_WAIT_MAX);
        turn - now.since_start
    }

    pub(super) fn forget_lines(&mut self, now: Now) {
        self.lines.retain(|_, line| *line > now.since_start);
    }
}

impl Scheduler {
    /// A delivery of a command is worked on from now on. Whether its user has its whole share without it.
    pub(super) fn enter(&mut self, job: &Job) -> bool {
        let command = &job.refresh.command;
        let first = First {
            tag: job.receipt.tag(),
            progress: job.refresh.progress(),
        };
        if self.firsts.insert(command.refresh_id().clone(), first).is_some() {
            self.users.leave(command.user_id());
        }
        self.users.enter(command.user_id()) >= self.shares.in_flight
    }

    pub(super) fn leave(&mut self, refresh_id: &RefreshId) {
        if self.firsts.remove(refresh_id).is_some() {
            self.users.leave(&refresh_id.user_id);
        }
    }

    /// Lets a refresh that has not begun wait until its user may have room.
    pub(super) fn park_in_line(&mut self, mut job: Job, now: Now) {
        let user_id = job.refresh.command.user_id().clone();
        let wait = self.users.line_up(&user_id, self.shares.in_flight, now);
        job.refresh.due_at = job.refresh.due_at.max(later(now.time, wait));
        self.park(job);
    }
}

/// Whether nothing is known at finAPI that is to be followed.
pub(super) fn has_begun(job: &Job) -> bool {
    !matches!(job.refresh.phase, Phase::Locating { .. })
}
