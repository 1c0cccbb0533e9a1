//! Amounts. They are read digit by digit, and never as binary floating point.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

/// More digits than any number needs that a decimal can hold.
const DIGITS_MAX: usize = 1000;

/// A decimal, from a number or a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Amount {
    pub(super) value: Decimal,
    /// It has more digits than a decimal can hold.
    pub(super) is_rounded: bool,
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(value) = Decimal::from_str_exact(text) {
            let is_rounded = false;
            return Some(Self { value, is_rounded });
        }
        let plain = without_exponent(text)?;
        let exact = Decimal::from_str_exact(&plain);
        Some(Self {
            value: exact.clone().or_else(|_| plain.parse()).ok()?,
            is_rounded: exact.is_err(),
        })
    }
}

/// A number with its digits where its exponent puts them: `1.25e2` is `125.`.
fn without_exponent(text: &str) -> Option<String> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || digits.len() > DIGITS_MAX {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    if digits.bytes().all(|digit| digit == b'0') {
        return Some("0".to_owned());
    }
    // Beyond these it is more than a decimal can hold, or nothing at all.
    let point = usize::try_from(point.clamp(-40, 40) + 40).ok()?;
    let padded = format!("{}{digits}{}", "0".repeat(40), "0".repeat(80));
    let (whole, fraction) = padded.split_at_checked(point)?;
    let plain = format!("{sign}0{whole}.{}", fraction.trim_end_matches('0'));
    Some(plain.trim_end_matches('.').to_owned())
}

/// The text of a number, or of a text that holds one.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    let quoted = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    Ok(quoted.map_or(raw, str::trim))
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(number(deserializer)?).ok_or_else(|| D::Error::custom("an amount that is no decimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit_that_a_decimal_can_hold() {
        for (json, text) in [
            ("-0.10", "-0.10"),
            ("12345678901234.56", "12345678901234.56"),
            ("\"12.50\"", "12.50"),
            ("\" -7 \"", "-7"),
            ("1e2", "100"),
            ("-1.25E+1", "-12.5"),
            ("125e-4", "0.0125"),
            ("0e999", "0"),
            ("79228162514264337593543950335", "79228162514264337593543950335"),
            ("1.0000000000000000000000000001", "1.0000000000000000000000000001"),
        ] {
            let amount: Amount = serde_json::from_str(json).expect(json);
            assert_eq!(
                (amount.value.to_string().as_str(), amount.is_rounded),
                (text, false),
                "{json}"
            );
        }
    }

    #[test]
    fn what_a_decimal_cant_hold_is_rounded() {
        for (json, text) in [
            (
                "0.1234567890123456789012345678901234567890123456789",
                "0.1234567890123456789012345679",
            ),
            (
                "-12.345678901234567890123456789012345678901234567890",
                "-12.345678901234567890123456789",
            ),
            ("1e-30", "0.0000000000000000000000000000"),
            ("5e-999", "0.0000000000000000000000000000"),
        ] {
            let amount: Amount = serde_json::from_str(json).expect(json);
            assert_eq!(
                (amount.value.to_string().as_str(), amount.is_rounded),
                (text, true),
                "{json}"
            );
        }
    }

    #[test]
    fn what_is_no_amount_is_not_read() {
        let long = "1".repeat(45);
        for json in [
            "\"x\"",
            "\"12,50\"",
            "\"\"",
            "\"-\"",
            "\".\"",
            "\"1e\"",
            "1e400",
            "1e29",
            "true",
            "[]",
            "{}",
            &long,
            "1e99999999999",
        ] {
            assert!(serde_json::from_str::<Amount>(json).is_err(), "{json}");
        }
    }
}
