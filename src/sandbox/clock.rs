//! The sandbox's time, which follows tokio's clock so that a paused clock moves it, and finAPI's ways of writing a time.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::config::ApiVersion;
use crate::clock::GERMANY;

/// A wall clock that starts where it is set to and runs with `tokio::time`.
#[derive(Debug)]
pub(super) struct Clock {
    start: Timestamp,
    began: Instant,
}

impl Clock {
    pub(super) fn new(start: Timestamp) -> Self {
        Self {
            start,
            began: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        later(self.start, self.began.elapsed())
    }

    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.began + Duration::try_from(at.duration_since(self.start)).unwrap_or_default()
    }
}

/// A time some while after another one.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A time some while before another one.
pub(super) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// As Web Form 2.0 writes it: `2021-03-09T08:36:15.000+0000`.
pub(super) fn web_form_time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::UTC)
        .strftime("%Y-%m-%dT%H:%M:%S.%3f%z")
        .to_string()
}

/// As Access writes it, in German local time: `2021-03-09 09:36:15.000`, or `2021-03-09T09:36:15.000+01:00`.
pub(super) fn access_time(at: Timestamp, version: ApiVersion) -> String {
    let format = match version {
        ApiVersion::V1 => "%Y-%m-%d %H:%M:%S.%3f",
        ApiVersion::V2 => "%Y-%m-%dT%H:%M:%S.%3f%:z",
    };
    at.to_zoned_datetime(GERMANY.clone()).strftime(format).to_string()
}

/// As Access writes a day: `2021-03-09 00:00:00.000`, or `2021-03-09`.
pub(super) fn access_date(date: Date, version: ApiVersion) -> String {
    match version {
        ApiVersion::V1 => format!("{date} 00:00:00.000"),
        ApiVersion::V2 => date.to_string(),
    }
}

/// As HTTP writes it: `Mon, 08 Mar 2021 08:36:45 GMT`.
pub(super) fn http_time(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The day it is in Germany.
pub(super) fn german_date(at: Timestamp) -> Date {
    at.to_zoned_datetime(GERMANY.clone()).date()
}

/// When that day began.
pub(super) fn german_midnight(at: Timestamp) -> Timestamp {
    at.to_zoned_datetime(GERMANY.clone())
        .start_of_day()
        .map_or(at, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_the_contract() {
        let at: Timestamp = "2021-03-09T08:36:15Z".parse().expect("a timestamp");
        assert_eq!(web_form_time(at), "2021-03-09T08:36:15.000+0000");
        assert_eq!(access_time(at, ApiVersion::V1), "2021-03-09 09:36:15.000");
        assert_eq!(access_time(at, ApiVersion::V2), "2021-03-09T09:36:15.000+01:00");
        assert_eq!(http_time(at), "Tue, 09 Mar 2021 08:36:15 GMT");
        let summer: Timestamp = "2021-07-31T23:30:00.0079Z".parse().expect("a timestamp");
        assert_eq!(access_time(summer, ApiVersion::V1), "2021-08-01 01:30:00.007");
        assert_eq!(access_time(summer, ApiVersion::V2), "2021-08-01T01:30:00.007+02:00");
        assert_eq!(german_date(summer).to_string(), "2021-08-01");
        assert_eq!(
            access_date(german_date(summer), ApiVersion::V1),
            "2021-08-01 00:00:00.000"
        );
        assert_eq!(access_date(german_date(summer), ApiVersion::V2), "2021-08-01");
        assert_eq!(german_midnight(summer).to_string(), "2021-07-31T22:00:00Z");
    }
}
