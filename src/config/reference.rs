//! The reference of all settings, `docs/reference/settings.md`: made from what the sections declare.

use std::fmt::Write as _;

use super::{Config, Described, sources};
use crate::finapi::{self, credentials::Credentials};
use crate::secret::Secret;
use crate::setting::{Declared, HttpUrl, Setting};

/// What the page says before the sections.
const HEAD: &str = include_str!("reference_head.md");

const COLUMNS: &str = "| setting | type | default | allowed | environment variable | meaning |\n\
                       | --- | --- | --- | --- | --- | --- |\n";

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in sections() {
        page += &format!("\n## {}: {}\n\n", section.name, section.title);
        if !section.note.is_empty() {
            page += &format!("{}\n\n", section.note);
        }
        page += COLUMNS;
        for setting in &section.settings {
            row(&mut page, setting);
        }
    }
    page
}

/// Every section with its defaults. Where a setting has none, or belongs to one of several variants, an example stands in.
pub(super) fn sections() -> Vec<Described> {
    let config = Config {
        finapi: Some(finapi::Settings::new(url(), url(), "id", secret())),
        ..Config::default()
    };
    let mut sections = config.sections();
    for section in sections.iter_mut().filter(|section| section.name == "credentials") {
        section.settings.extend(sources_of_credentials());
    }
    sections
}

/// The settings of each source of credentials, without the one that names the source.
fn sources_of_credentials() -> impl Iterator<Item = Setting> {
    let directory = Credentials::Directory {
        directory: "users".into(),
    };
    let all = [directory, Credentials::http(url())];
    all.into_iter()
        .flat_map(|source| Declared::by(&source).into_iter().skip(1))
}

fn url() -> HttpUrl {
    match "https://service.example".parse() {
        Ok(url) => url,
        Err(_) => unreachable!("the example is a URL"),
    }
}

fn secret() -> Secret {
    match "secret".parse() {
        Ok(secret) => secret,
        Err(_) => unreachable!("the example is not empty"),
    }
}

fn row(page: &mut String, setting: &Setting) {
    let (name, kind, meaning) = (setting.name(), setting.kind(), setting.meaning());
    let default = match setting.default_value() {
        missing @ ("none" | "required") => missing.to_owned(),
        default => format!("`{default}`"),
    };
    let (allowed, variable) = (setting.allowed(), variable_of(name));
    let row = format!("| `{name}` | {kind} | {default} | {allowed} | `{variable}` | {meaning} |");
    let _ = writeln!(page, "{row}");
}

/// The variable that sets a setting.
pub(super) fn variable_of(name: &str) -> String {
    let key = name.replace('.', "__").to_uppercase();
    format!("{}{key}", sources::PREFIX)
}
