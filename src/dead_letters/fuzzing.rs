//! What an operator sees of a dead letter, for `tests/fuzz`.

use super::{Hidden, Row, whole};
use crate::broker::rabbit::DeadLetter;
use crate::broker::topology::Topology;

/// A dead letter as it is listed, and all of it as the command line tool and the console show it.
pub(crate) fn shown(letter: &DeadLetter, topology: &Topology) -> [String; 3] {
    let row = Row::of(letter, topology);
    let shown = |hidden| whole(&row, letter, hidden).to_string();
    [row.line(), shown(Hidden::Secrets), shown(Hidden::SecretsAndAccounts)]
}
