//! The types of settings, and how their values are shown.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use humantime_serde::re::humantime;

use super::{DAY, HttpUrl};
use crate::secret::{HIDDEN, Secret};

/// The type of a setting.
pub trait Value {
    /// What the reference calls the type.
    const KIND: &'static str;

    /// The value, as it is written in a settings file; [`HIDDEN`] if it is secret.
    fn show(&self) -> String;
}

macro_rules! shown_as_text {
    ($($kind:literal: $($type:ty),+;)+) => {$($(
        impl Value for $type {
            const KIND: &'static str = $kind;

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+)+};
}

shown_as_text! {
    "number": u16, u32, usize, NonZeroUsize;
    "`true` or `false`": bool;
    "text": String;
    "address": SocketAddr;
}

macro_rules! shown_with_a_point {
    ($($type:ty),+) => {$(
        impl Value for $type {
            const KIND: &'static str = "number";

            fn show(&self) -> String {
                format!("{self:?}")
            }
        }
    )+};
}

shown_with_a_point!(f32, f64);

impl Value for Duration {
    const KIND: &'static str = "time";

    fn show(&self) -> String {
        // `humantime` counts in months and years of fractions of days.
        let days = self.as_secs() / DAY.as_secs();
        match days {
            2.. if DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)) == *self => format!("{days}days"),
            _ => humantime::format_duration(*self).to_string(),
        }
    }
}

impl Value for HttpUrl {
    const KIND: &'static str = "URL";

    fn show(&self) -> String {
        self.shown()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret";

    fn show(&self) -> String {
        HIDDEN.to_owned()
    }
}

/// May be left out.
impl<V: Value> Value for Option<V> {
    const KIND: &'static str = V::KIND;

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Value::show)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_they_are_written() {
        let times = ["0s", "1s 500ms", "5m", "1day", "90days", "365days", "1day 1h"];
        for time in times {
            assert_eq!(humantime::parse_duration(time).expect("a time").show(), time);
        }
    }
}
