//! The limits of a sweep, per 1,000 seeds. Whoever adds a scenario or an excuse adds a line.

use super::{outcomes, polls, starts, user};

/// What is counted and has no limit.
pub(super) const FIGURES: &[&str] = &[
    "commands",
    "calls of finAPI",
    "tasks started",
    "virtual minutes",
    "well ones beside a bad neighbour",
];

/// How often each scenario must happen. About half of what is usual.
pub(super) const SCENARIOS: &[(&str, u64)] = &[
    ("worker killed", 632),
    ("worker killed right after an effect", 1033),
    ("worker asked to stop", 266),
    ("outage of the broker", 228),
    ("confirm lost", 279),
    ("finAPI down: both hosts", 29),
    ("finAPI down: the access host", 33),
    ("finAPI down: the web form host", 32),
    ("finAPI down: a part of the access host", 28),
    ("token revoked", 132),
    ("batch update", 101),
    ("command sent again", 859),
    ("command requeued", 859),
    ("delivery came back from a lost connection", 3483),
    ("delivery quarantined", 296),
    ("refresh parked", 39523),
    ("wake-up after a callback", 1396),
    ("dead letter", 432),
    ("state of a newer release", 77),
    ("message that kills workers", 8),
    ("worker killed by a message", 240),
    ("publish refused", 150),
    ("publish timed out: not taken", 40),
    ("publish timed out: taken", 40),
    ("publish timed out: taken late", 80),
    ("part before the last", 1179),
    ("UserActionRequired", 1978),
    ("TransactionsUpdated already fresh", 311),
    ("TransactionsUpdated silent", 1028),
    ("TransactionsUpdated user acted", 773),
    ("RefreshFailed bank rejected", 169),
    ("RefreshFailed connection locked", 0),
    ("RefreshFailed finapi unavailable", 122),
    ("RefreshFailed not found", 12),
    ("RefreshFailed timed out", 106),
    ("RefreshFailed unexpected response", 3),
    ("RefreshFailed update failed", 180),
    ("RefreshFailed user aborted", 316),
    ("RefreshFailed user locked", 71),
    ("RefreshFailed user unauthorized", 175),
    ("RefreshFailed web form expired", 352),
    ("RefreshFailed web form failed", 99),
    ("neighbour: a user whose token requests answer 500", 5),
    ("neighbour: a user whose lists of tasks answer 500", 5),
    ("neighbour: a connection that answers 500", 5),
    ("neighbour: a user whose calls are never answered", 5),
    ("neighbour: a user whose credentials never come", 5),
    ("neighbour: a connection with very many transactions", 5),
    ("neighbour: a message that kills workers", 5),
    ("neighbour: a user who sends 600 commands at once", 5),
    ("neighbour: 600 messages that can't be read", 5),
];

/// How often each excuse may be needed. Up to half as much again as what is usual, and more where it is rare.
pub(super) const EXCUSED: &[(&str, u64)] = &[
    (starts::UNOPENED_FORM, 25),
    (starts::WITHOUT_DATE, 50),
    (starts::DATED_AHEAD, 4),
    (starts::WANTS_MORE, 800),
    (starts::OLDER_LIST, 18),
    (polls::ON_ITS_WAY, 7),
    (polls::TWO_DUPLICATES, 750),
    (outcomes::GIVEN_UP, 30),
    (outcomes::DEAD_AS_PLANNED, 30),
    (user::GAVE_UP, 26),
    ("given up after killing workers", 5),
    ("command with conflicting outcomes", 140),
    ("event published again", 3500),
];

/// The most that one has of another: a name, what is divided, by what, and the limit.
pub(super) const MEANS: &[(&str, &str, &str, f64)] = &[("calls per command", "calls of finAPI", "commands", 21.0)];
