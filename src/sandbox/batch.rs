//! Transactions that were imported together. They are not stored: all about one follows from its id.

use jiff::Timestamp;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

/// What one update brought. Transaction number `n` has id `first_id + n` and belongs to account number `n % accounts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first_id: i64,
    pub(super) count: u32,
    pub(super) imported: Timestamp,
    /// Until then only the first half shows.
    pub(super) whole: Timestamp,
    /// How many of the connection's accounts there were.
    pub(super) accounts: usize,
    /// The task that imported it; none where that was no task.
    pub(super) task: Option<Uuid>,
}

impl Batch {
    /// The ids that show, with the number of the account of each, lowest id first.
    pub(super) fn shown(&self, now: Timestamp) -> impl Iterator<Item = (i64, usize)> + use<> {
        let count = match () {
            () if now < self.imported => 0,
            () if now < self.whole => self.count / 2,
            () => self.count,
        };
        let (first_id, accounts) = (self.first_id, self.accounts.max(1));
        (0..count).map(move |number| (first_id + i64::from(number), number as usize % accounts))
    }
}

/// An amount in hundredths, written as a JSON number with two decimals and no detour through a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cents(pub(super) i64);

impl Cents {
    pub(super) fn text(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        format!("{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.text())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

/// Well-spread bits of an id (splitmix64).
pub(super) const fn bits(id: i64) -> u64 {
    let mut z = id.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A transaction's amount. Some are such that a float gets them wrong.
pub(super) const fn amount(id: i64) -> Cents {
    let bits = bits(id);
    Cents(match bits % 10 {
        0 => 10,
        1 => -30,
        2 => 123_456_789,
        3 => -9_007_199_254_740_993,
        _ => -((bits >> 8) % 100_000).cast_signed() - 1,
    })
}

/// What an account holds after this many imports.
pub(super) const fn balance(account: i64, imports: usize) -> Cents {
    Cents((bits(account ^ ((imports as i64) << 40)) % 1_000_000).cast_signed() - 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_exactly() {
        for (cents, text) in [
            (10, "0.10"),
            (-30, "-0.30"),
            (0, "0.00"),
            (-5, "-0.05"),
            (-9_007_199_254_740_993, "-90071992547409.93"),
        ] {
            assert_eq!(serde_json::to_string(&Cents(cents)).expect("a number"), text);
        }
    }
}
