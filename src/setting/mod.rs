//! What a setting is: a name, a type, what it may be and what it means.
//!
//! Each section declares its settings once, next to its struct, by [`Section::declare`]. The check at start and `docs/reference/settings.md` are both
//! made from these declarations, so neither can say what the other does not.
//!
//! A table in plain code, not a derive macro: `schemars` knows neither ranges of times nor rules between two settings, and would leave the check
//! to a second crate; `documented` would only spare us to write the meaning outside of a doc comment.

mod http_url;
mod networks;
mod value;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use http_url::{HttpUrl, NotHttp};
pub use networks::{Networks, NotNetworks};
pub use value::Value;

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);
/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);
/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A section of the settings.
pub trait Section {
    /// Its name: what stands in front of the dot.
    const NAME: &'static str;
    /// What it is about, in a few words.
    const TITLE: &'static str;
    /// What else there is to know, as Markdown.
    const NOTE: &'static str = "";

    /// Lists every setting of the section.
    fn declare(&self, list: &mut Declared);
}

/// The settings of one section.
#[derive(Debug)]
pub struct Declared {
    section: &'static str,
    settings: Vec<Setting>,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    name: String,
    kind: &'static str,
    value: String,
    default: Option<String>,
    allowed: Vec<String>,
    is_allowed: bool,
    meaning: &'static str,
}

/// A setting that is not allowed. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}; it must be {allowed}")]
pub struct NotAllowed {
    /// The setting.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

impl Declared {
    /// All settings of a section.
    #[must_use]
    pub fn by<S: Section>(section: &S) -> Vec<Setting> {
        let mut list = Self {
            section: S::NAME,
            settings: Vec::new(),
        };
        section.declare(&mut list);
        list.settings
    }

    /// A setting whose type says all that it may be, or that [`Setting::and`] limits.
    pub fn any<V: Value>(&mut self, key: &str, value: &V, meaning: &'static str) -> &mut Setting {
        let name = format!("{}.{key}", self.section);
        self.settings.push(Setting {
            name,
            kind: V::KIND,
            value: value.show(),
            default: None,
            allowed: Vec::new(),
            is_allowed: true,
            meaning,
        });
        let last = self.settings.len() - 1;
        &mut self.settings[last]
    }

    /// A setting with bounds.
    pub fn within<V: Value + PartialOrd>(
        &mut self,
        key: &str,
        value: V,
        range: RangeInclusive<V>,
        meaning: &'static str,
    ) -> &mut Setting {
        let allowed = format!("{} to {}", range.start().show(), range.end().show());
        let is_allowed = range.contains(&value);
        self.any(key, &value, meaning).and(is_allowed, allowed)
    }

    /// A setting with bounds that may be left out.
    pub fn within_if_set<V: Value + PartialOrd + Copy>(
        &mut self,
        key: &str,
        value: Option<V>,
        range: RangeInclusive<V>,
        meaning: &'static str,
    ) -> &mut Setting {
        let allowed = format!("{} to {}", range.start().show(), range.end().show());
        let is_allowed = value.is_none_or(|value| range.contains(&value));
        self.any(key, &value, meaning).and(is_allowed, allowed)
    }
}

impl Setting {
    /// Something else that has to hold, for instance with regard to another setting.
    pub fn and(&mut self, holds: bool, allowed: impl Into<String>) -> &mut Self {
        self.allowed.push(allowed.into());
        self.is_allowed &= holds;
        self
    }

    /// Says that there is no default.
    pub fn required(&mut self) -> &mut Self {
        self.default("required")
    }

    /// Says what the default is, where the value itself does not show it.
    pub fn default(&mut self, default: &str) -> &mut Self {
        self.default = Some(default.to_owned());
        self
    }

    /// Its name, for instance `worker.in_flight`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its value.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its default, if it was declared by a section with nothing but defaults.
    #[must_use]
    pub fn default_value(&self) -> &str {
        self.default.as_ref().unwrap_or(&self.value)
    }

    /// What it may be, apart from its type.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.allowed.join(", ")
    }

    /// What it means.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// Whether it is what it may be.
    ///
    /// # Errors
    ///
    /// Names the setting, what it is and what is allowed.
    pub fn check(&self) -> Result<(), NotAllowed> {
        if self.is_allowed {
            return Ok(());
        }
        Err(NotAllowed {
            name: self.name.clone(),
            value: self.value.clone(),
            allowed: self.allowed(),
        })
    }
}
