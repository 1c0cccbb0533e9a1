//! The limits of a sweep, per 1,000 seeds. Whoever adds a scenario or an excuse adds a line.

use super::{outcomes, polls, starts, user};

/// What is counted and has no limit.
pub(super) const FIGURES: &[&str] = &["commands", "calls of finAPI", "tasks started", "virtual minutes"];

/// How often each scenario must happen. About half of what is usual.
pub(super) const SCENARIOS: &[(&str, u64)] = &[
    ("worker killed", 1),
];

/// How often each excuse may be needed. A little more than what is usual.
pub(super) const EXCUSED: &[(&str, u64)] = &[
    (starts::UNOPENED_FORM, 1),
    (starts::UNDATED, 1),
    (starts::WANTS_MORE, 1),
    (starts::OLDER_LIST, 1),
    (polls::ON_ITS_WAY, 1),
    (polls::TWO_COPIES, 1),
    (outcomes::GIVEN_UP, 1),
    (outcomes::DEAD_AS_PLANNED, 1),
    (user::GAVE_UP, 1),
];

/// The most that one has of another: a name, what is divided, by what, and the limit.
pub(super) const MEANS: &[(&str, &str, &str, f64)] = &[("calls per command", "calls of finAPI", "commands", 22.0)];
