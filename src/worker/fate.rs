//! What becomes of a delivery.

/// The fates of a delivery. Each delivery is held any number of times and then meets exactly one of the others.
///
/// | fate | what the worker does |
/// | --- | --- |
/// | completed | it publishes the outcome, waits for the confirm, then acknowledges |
/// | held | it keeps the delivery unacknowledged, with a timer in memory |
/// | parked | it publishes the checkpoint to a delay queue or to the steps queue, waits for the confirm, then acknowledges |
/// | requeued | it publishes the command to the end of its lane with its `requested_at`, then acknowledges |
/// | duplicate | another delivery of the same command is in flight here and is as far: it acknowledges this one |
/// | dead-lettered | it publishes the message, as it came, with the reason to the dead letters, then acknowledges |
/// | deferred | only a newer release can read it: it publishes the message, unread, to a delay queue, then acknowledges |
/// | quarantined | it came back too often: it publishes the message, unread, to the quarantine, then acknowledges |
/// | abandoned | the connection was lost: nothing, because the broker delivers the message again |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The outcome is published.
    Completed,
    /// The refresh waits here.
    Held,
    /// The refresh waits in a delay queue.
    Parked,
    /// The command is back at the end of its lane.
    Requeued,
    /// Another delivery of the command is in flight here.
    Duplicate,
    /// Nobody can read it, or it killed its workers.
    DeadLettered,
    /// A newer release will read it.
    Deferred,
    /// It is tried apart from the others.
    Quarantined,
    /// The broker delivers it again.
    Abandoned,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::Held,
        Self::Parked,
        Self::Requeued,
        Self::Duplicate,
        Self::DeadLettered,
        Self::Deferred,
        Self::Quarantined,
        Self::Abandoned,
    ];

    /// Its name in logs, spans and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Held => "held",
            Self::Parked => "parked",
            Self::Requeued => "requeued",
            Self::Duplicate => "duplicate",
            Self::DeadLettered => "dead_lettered",
            Self::Deferred => "deferred",
            Self::Quarantined => "quarantined",
            Self::Abandoned => "abandoned",
        }
    }
}
