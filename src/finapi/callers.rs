//! Who called a host lately, and how it ended: is it the trouble of one user, or of the host. Pure: the time is an argument.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::StatusCode;
use lru::LruCache;
use tokio::time::Instant;

use super::error::is_foreign;
use super::transport::HttpResponse;
use crate::id::UserId;

/// Users that called within this time count, and if these are too few, those that called before them.
const RECENT: Duration = Duration::from_secs(30);

/// Whoever called longer ago says nothing of the host.
pub(super) const LATELY: Duration = Duration::from_secs(600);

/// The most users that are remembered, so that a judgement takes few microseconds.
const USERS_MAX: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// How a call ended, as far as its host is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The host answered, whatever it said.
    Answered,
    /// The host refused it for load (429).
    Refused,
    /// A server error, what somebody else says in finAPI's place, a lost connection, or no answer in time.
    Failed,
    /// No connection could be made.
    NoConnection,
}

impl CallEnd {
    /// By the status, and by the body where all of it came.
    pub(super) fn of(status: StatusCode, read: Option<&HttpResponse>) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::Refused,
            status if status.is_server_error() || read.is_some_and(is_foreign) => Self::Failed,
            _ => Self::Answered,
        }
    }

    /// Whether the host may be down.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::NoConnection)
    }

    /// Whether the host may have too much to do.
    #[must_use]
    pub fn is_strain(self) -> bool {
        self != Self::Answered
    }
}

/// The users that called a host, each with its last call. However often one user fails, it is one user.
#[derive(Debug)]
pub(super) struct Callers {
    users: LruCache<UserId, (Instant, CallEnd)>,
    /// So many users have to fail before that says something of the host.
    enough: usize,
}

impl Callers {
    pub(super) fn new(enough: usize) -> Self {
        Self {
            users: LruCache::new(USERS_MAX),
            enough,
        }
    }

    pub(super) fn record(&mut self, user_id: &UserId, end: CallEnd, now: Instant) {
        self.users.put(user_id.clone(), (now, end));
    }

    /// The share of the users whose last call was such a one, if these are several.
    pub(super) fn share(&self, is_meant: impl Fn(CallEnd) -> bool, now: Instant) -> Option<f64> {
        let (mut all, mut meant) = (0_u32, 0_u32);
        // The last ones come first.
        for (_, (at, end)) in &self.users {
            let age = now.saturating_duration_since(*at);
            if age > LATELY || age > RECENT && all as usize >= self.enough {
                break;
            }
            all += 1;
            meant += u32::from(is_meant(*end));
        }
        (meant as usize >= self.enough).then(|| f64::from(meant) / f64::from(all))
    }

    /// Whether too few users called lately to know whose trouble it is.
    pub(super) fn are_few(&self, now: Instant) -> bool {
        let is_late = |at: Instant| now.saturating_duration_since(at) <= LATELY;
        let lately = self.users.iter().take(self.enough);
        lately.filter(|(_, (at, _))| is_late(*at)).count() < self.enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        format!("user-{number}").parse().expect("a user's id")
    }

    fn callers(ends: &[CallEnd], now: Instant) -> Callers {
        let mut callers = Callers::new(3);
        for (number, end) in ends.iter().enumerate() {
            callers.record(&user(number), *end, now);
        }
        callers
    }

    use CallEnd::{Answered, Failed, Refused};

    #[tokio::test]
    async fn one_user_counts_once_and_by_its_last_call() {
        let now = Instant::now();
        let mut callers = callers(&[Failed, Failed], now);
        (0..100).for_each(|_| callers.record(&user(0), Failed, now));
        assert_eq!(callers.share(CallEnd::is_failure, now), None);
        callers.record(&user(2), Failed, now);
        assert_eq!(callers.share(CallEnd::is_failure, now), Some(1.0));
        callers.record(&user(1), Answered, now);
        assert_eq!(callers.share(CallEnd::is_failure, now), None);
    }

    #[tokio::test]
    async fn the_share_is_of_those_who_called_in_the_last_half_minute() {
        let now = Instant::now();
        let mut callers = callers(&[Answered; 9], now);
        (9..12).for_each(|number| callers.record(&user(number), Refused, now));
        assert_eq!(callers.share(CallEnd::is_strain, now), Some(0.25));
        assert_eq!(callers.share(CallEnd::is_failure, now), None, "429 is no outage");
        let later = now + RECENT + Duration::from_secs(1);
        assert_eq!(callers.share(CallEnd::is_strain, later), Some(1.0), "the last three");
        (0..4).for_each(|number| callers.record(&user(number), Answered, later));
        assert_eq!(callers.share(CallEnd::is_strain, later), None);
    }

    #[tokio::test]
    async fn who_called_ten_minutes_ago_says_nothing() {
        let now = Instant::now();
        let callers = callers(&[Failed; 3], now);
        assert!(!callers.are_few(now + LATELY));
        assert_eq!(callers.share(CallEnd::is_failure, now + LATELY), Some(1.0));
        let later = now + LATELY + Duration::from_secs(1);
        assert!(callers.are_few(later));
        assert_eq!(callers.share(CallEnd::is_failure, later), None);
    }
}
