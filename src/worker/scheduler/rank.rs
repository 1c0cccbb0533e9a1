//! Which of several runnable refreshes runs first.

use crate::refresh::Refresh;
use crate::refresh::query::Query;

/// Interactive refreshes run first, and then whatever is closest to its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    interactive: bool,
    stage: Stage,
}

/// How far a refresh is; the first runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reads what the update brought.
    Finish,
    /// Starts an update. It has found no task, which is true for a while only.
    Start,
    /// Searches for a task.
    Find,
    /// Polls something that may not be over.
    Poll,
}

impl Rank {
    pub(super) const COUNT: usize = 8;

    pub(super) fn of(refresh: &Refresh) -> Self {
        Self {
            interactive: refresh.envelope.interactive,
            stage: match refresh.query() {
                Query::Connection | Query::Collect(_) => Stage::Finish,
                Query::Start => Stage::Start,
                Query::FindTask => Stage::Find,
                Query::Task(_) | Query::WebForm(_) => Stage::Poll,
            },
        }
    }

    /// How many ranks go before it.
    pub(super) fn index(self) -> usize {
        let before = if self.interactive { 0 } else { Self::COUNT / 2 };
        before + self.stage as usize
    }
}
