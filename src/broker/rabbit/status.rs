//! Where the connection stands, as everybody may see it.

/// Where the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none yet or no more, but one is on its way.
    Connecting {
        /// Why the last attempt failed or the last connection was lost. Holds no secret.
        failure: Option<String>,
    },
    /// Everything works.
    Up {
        /// The generation.
        generation: u64,
        /// Why the broker lets publishers wait (`connection.blocked`), while it does. Queues are not consumed meanwhile.
        blocked: Option<String>,
    },
    /// It was closed.
    Closed,
}

impl Status {
    pub(super) fn is_blocked(&self) -> bool {
        matches!(self, Self::Up { blocked: Some(_), .. })
    }
}
