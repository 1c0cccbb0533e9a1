//! Times and dates, as finAPI's two surfaces write them.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::AmbiguousOffset;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::clock::GERMANY;

/// Reads text where it stands in the response, without a copy of it.
fn read_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<F>(&'static str, F);

    impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::custom(format_args!("not {}", self.0)))
        }
    }

    deserializer.deserialize_str(Text(expected, parse))
}

/// A time as Web Form 2.0 writes it: `2021-03-09T08:36:15.000+0000`.
#[derive(Clone, Copy)]
pub(super) struct TaskTime(pub(super) Timestamp);

impl<'de> Deserialize<'de> for TaskTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, "a time as finAPI writes it", |text| {
            text.parse().ok().map(Self)
        })
    }
}

/// A time as Access writes it: `2021-03-09T08:36:15.000+01:00` in V2, `2021-03-09 08:36:15.000` in V1, which is German local time and names
/// two moments in the hour that comes twice a year.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GermanTime {
    pub(super) earliest: Timestamp,
    latest: Timestamp,
}

impl GermanTime {
    fn parse(text: &str) -> Result<Self, jiff::Error> {
        if let Ok(moment) = text.parse() {
            return Ok(Self {
                earliest: moment,
                latest: moment,
            });
        }
        let local: DateTime = text.parse()?;
        let ambiguous = GERMANY.to_ambiguous_timestamp(local);
        let (earliest, latest) = match ambiguous.offset() {
            AmbiguousOffset::Fold { .. } => (ambiguous.earlier()?, ambiguous.later()?),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => {
                let moment = ambiguous.compatible()?;
                (moment, moment)
            }
        };
        Ok(Self { earliest, latest })
    }

    pub(super) fn is_since(&self, since: Timestamp) -> bool {
        self.latest >= since
    }
}

impl<'de> Deserialize<'de> for GermanTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, "a time as finAPI writes it", |text| {
            Self::parse(text).ok()
        })
    }
}

/// A date, with or without a time after it.
pub(super) struct GermanDate(pub(super) Date);

impl<'de> Deserialize<'de> for GermanDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, "a date as finAPI writes it", |text| {
            text.get(..10).unwrap_or(text).parse().ok().map(Self)
        })
    }
}

/// The day a moment falls on in Germany, as finAPI's import dates count.
pub(in crate::finapi) fn german_day(moment: Timestamp) -> Date {
    GERMANY.to_datetime(moment).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn german(text: &str) -> GermanTime {
        GermanTime::parse(text).expect("a German time")
    }

    #[test]
    fn times_are_read_as_access_writes_them() {
        assert_eq!(german("2021-03-09 08:36:15.000").earliest, at("2021-03-09T07:36:15Z"));
        assert_eq!(german("2021-07-09 08:36:15.000").earliest, at("2021-07-09T06:36:15Z"));
    }

    #[test]
    fn an_offset_goes_before_german_time() {
        for text in [
            "2026-10-25T02:30:00.000+01:00",
            "2026-10-25T01:30:00Z",
            "2026-10-25T01:30:00.000+0000",
            "2026-10-24 19:30:00.000000-06:00",
        ] {
            let time = german(text);
            assert_eq!(
                (time.earliest, time.latest),
                (at("2026-10-25T01:30:00Z"), at("2026-10-25T01:30:00Z")),
                "{text}"
            );
        }
    }

    #[test]
    fn the_hour_that_comes_twice_counts_in_either_meaning() {
        let twice = german("2026-10-25 02:30:00.000");
        assert!(twice.is_since(at("2026-10-25T00:29:00Z")));
        assert!(twice.is_since(at("2026-10-25T00:31:00Z")), "it may be the second one");
        assert!(twice.is_since(at("2026-10-25T01:30:00Z")));
        assert!(!twice.is_since(at("2026-10-25T01:30:01Z")));
        let never = german("2026-03-29 02:30:00.000");
        assert_eq!(never.earliest, never.latest);
    }

    #[test]
    fn the_german_day_begins_before_that_of_utc() {
        assert_eq!(german_day(at("2026-07-01T22:30:00Z")).to_string(), "2026-07-02");
        assert_eq!(german_day(at("2026-01-01T22:30:00Z")).to_string(), "2026-01-01");
    }
}
