//! When each poll of a task was sent, and by which worker.
//!
//! The simulator can only say when a poll arrives, and the proxy may delay the first of two by 200 ms. But a worker names each
//! request by a UUIDv7, whose time is the millisecond in which the worker sent it. The proxy reads that name before it delays
//! anything, so what is measured is exactly what is promised.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// finAPI allows one poll of a task in a second.
pub const INTERVAL_MIN_MS: u64 = 1000;

const POLL: &str = "GET /api/tasks/";
const REQUEST_ID: &str = "x-request-id: ";

/// Polls by the id of their task.
#[derive(Default)]
pub struct Polls(Mutex<BTreeMap<String, Vec<Poll>>>);

/// One poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Poll {
    pub sent_ms: u64,
    /// The number of the worker that sent it.
    pub worker: usize,
}

/// Two polls of one task in a row.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub first: Poll,
    pub second: Poll,
}

impl Polls {
    /// Takes down what a worker sends, where that is a poll.
    pub fn read(&self, worker: usize, sent: &[u8]) {
        if let Some((task, sent_ms)) = poll(sent) {
            let mut polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            polls.entry(task).or_default().push(Poll { sent_ms, worker });
        }
    }

    /// The polls of a task in the order in which they were sent.
    pub fn of(&self, task: &str) -> Vec<Poll> {
        let polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut polls = polls.get(task).cloned().unwrap_or_default();
        polls.sort_unstable();
        polls
    }
}

impl Pair {
    pub fn interval_ms(self) -> u64 {
        self.second.sent_ms - self.first.sent_ms
    }

    pub fn by_one_worker(self) -> bool {
        self.first.worker == self.second.worker
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, first, second) = (self.interval_ms(), self.first.worker, self.second.worker);
        write!(f, "worker-{second:04} polled {ms} ms after worker-{first:04}")
    }
}

/// The pairs of polls that are too close: each poll is compared with the one before it, and with the one before it by the same
/// worker.
pub fn too_close(polls: &[Poll]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = pairs(polls).filter(|pair| !pair.by_one_worker()).collect();
    let workers: std::collections::BTreeSet<usize> = polls.iter().map(|poll| poll.worker).collect();
    for worker in workers {
        let own: Vec<Poll> = polls.iter().copied().filter(|poll| poll.worker == worker).collect();
        pairs.extend(self::pairs(&own));
    }
    pairs.retain(|pair| pair.interval_ms() < INTERVAL_MIN_MS);
    pairs
}

/// The pairs of neighbours.
pub fn pairs(polls: &[Poll]) -> impl Iterator<Item = Pair> {
    let pair = |pair: &[Poll]| Pair {
        first: pair[0],
        second: pair[1],
    };
    polls.windows(2).map(pair)
}

/// The task that a request polls, and when it was sent. A request without a body comes in one piece.
fn poll(request: &[u8]) -> Option<(String, u64)> {
    let text = std::str::from_utf8(request).ok()?;
    let (task, _) = text.strip_prefix(POLL)?.split_once(' ')?;
    let (_, id) = text.split_once(REQUEST_ID)?;
    let id = Uuid::parse_str(id.lines().next()?).ok()?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Some((task.to_owned(), 1000 * seconds + u64::from(nanos) / 1_000_000))
}
