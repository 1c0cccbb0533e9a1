//! Starts that may have been made.

use jiff::Timestamp;

use super::{Lookup, Phase, Refresh};

/// When a start was asked for whose answer was lost, by this worker or by one that lost the refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Not before this.
    pub first: Timestamp,
    /// Not after this.
    pub last: Timestamp,
}

impl Asked {
    /// At one moment.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self {
            first: moment,
            last: moment,
        }
    }

    /// From the first to the last moment of two.
    #[must_use]
    pub fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Self {
                first: one.first.min(other.first),
                last: one.last.max(other.last),
            }),
            (one, other) => one.or(other),
        }
    }
}

impl Refresh {
    /// Something came between two of its queries. Whoever continues it searches for a task before it starts one, because another worker may have
    /// started one meanwhile, and looks for the page of transactions that it was at.
    pub fn interrupted(&mut self) {
        if let Phase::Locating { lookup, .. } = &mut self.phase
            && *lookup == Lookup::Start
        {
            *lookup = Lookup::Find;
        }
        if let Phase::Collecting(collecting) = &mut self.phase {
            collecting.reading.interrupt();
        }
    }

    /// It came back, so another worker may have asked for a start until now.
    pub fn came_back(&mut self, now: Timestamp) {
        let requested_at = self.requested_at;
        self.may_have_started(requested_at, now);
    }

    /// A start may have been made between these moments.
    pub(super) fn may_have_started(&mut self, first: Timestamp, last: Timestamp) {
        if let Phase::Locating { asked, .. } = &mut self.phase {
            *asked = Asked::both(Some(Asked { first, last }), *asked);
        }
    }
}
