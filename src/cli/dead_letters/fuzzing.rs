//! What an operator sees of a dead letter, for `tests/fuzz`.

use super::redact::whole;
use crate::broker::rabbit::DeadLetter;
use crate::broker::topology::Topology;
use crate::dead_letters::Row;

/// A dead letter as it is listed, and all of it.
pub(crate) fn shown(letter: &DeadLetter, topology: &Topology) -> [String; 2] {
    let row = Row::of(letter, topology);
    [row.line(), whole(&row, letter).to_string()]
}
