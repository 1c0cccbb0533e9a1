//! Amounts.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

/// A decimal, read digit by digit and never as binary floating point.
#[derive(Clone, Copy)]
pub(super) struct Amount(pub(super) Decimal);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        Decimal::from_str_exact(raw)
            .or_else(|_| Decimal::from_scientific(raw))
            .map(Self)
            .map_err(|_| D::Error::custom("an amount that is no decimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit() {
        for (json, text) in [
            ("-0.10", "-0.10"),
            ("12345678901234.56", "12345678901234.56"),
            ("1e2", "100"),
        ] {
            let amount: Amount = serde_json::from_str(json).expect("an amount");
            assert_eq!(amount.0.to_string(), text);
        }
        assert!(serde_json::from_str::<Amount>("\"x\"").is_err());
    }
}
