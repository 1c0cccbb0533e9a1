//! Where settings come from: a file, and variables of the environment.

use std::collections::BTreeMap;
use std::path::Path;

use super::ConfigError;

/// What the names of our variables begin with.
pub(super) const PREFIX: &str = "BANKREFRESH__";
const FILE_SUFFIX: &str = "_FILE";

/// Settings that name a file by themselves: what it holds is not their value.
const FILES: [&str; 3] = [
    "AMQP__CA_FILE",
    "AMQP__CLIENT_CERTIFICATE_FILE",
    "AMQP__CLIENT_KEY_FILE",
];

/// What a settings file holds, if it is TOML. The parser's own words would show the line, which may be one with a secret.
pub(super) fn text(file: &Path) -> Result<String, ConfigError> {
    let wrong = |what: String| ConfigError::File(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    check_toml(&text).map_err(wrong)?;
    Ok(text)
}

/// Whether a text is TOML with plain sections, else the line and what is wrong there.
pub(super) fn check_toml(text: &str) -> Result<(), String> {
    let error = match text.parse::<toml::Table>() {
        Ok(sections) => return sections.iter().try_for_each(check_section),
        Err(error) => error,
    };
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Err(format!("line {line}: {}", error.message()))
}

/// A section has settings, each with a value or a list of values. The config crate takes 150 MB for 64 KiB of tables in tables.
fn check_section((name, section): (&String, &toml::Value)) -> Result<(), String> {
    check_plain(name)?;
    let is_nested = |value: &toml::Value| match value {
        toml::Value::Table(_) => true,
        toml::Value::Array(values) => values.iter().any(|value| value.is_table() || value.is_array()),
        _ => false,
    };
    match section {
        toml::Value::Table(settings) => settings.iter().try_for_each(|(key, value)| {
            check_plain(key)?;
            match is_nested(value) {
                true => Err(format!("{name}.{key} is no setting: a section has no tables")),
                false => Ok(()),
            }
        }),
        value if is_nested(value) => Err(format!("{name} is no section")),
        _ => Ok(()),
    }
}

/// The longest name of a setting, in bytes. The longest that there is has half of that.
const NAME_MAX: usize = 100;

/// The config crate makes a list with a billion values of the name `worker[999999999]`, and takes 200 MB for a name of 9 KB with many `__`.
fn check_plain(name: &str) -> Result<(), String> {
    if name.len() > NAME_MAX {
        return Err(format!(
            "a name of {} bytes is no setting: one has at most {NAME_MAX}",
            name.len()
        ));
    }
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        true => Ok(()),
        false => Err(format!("{name:?} is no setting: a name has only letters, digits and _")),
    }
}

/// The variables of ours, without their prefix, those that name files replaced by what the files hold.
pub(super) fn variables(
    environment: impl Iterator<Item = (String, String)>,
) -> Result<::config::Map<String, String>, ConfigError> {
    let ours: BTreeMap<String, String> = environment
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
        .collect();
    let mut variables = ::config::Map::new();
    for (name, value) in ours {
        check_plain(&name).map_err(ConfigError::Type)?;
        let from_file = name
            .strip_suffix(FILE_SUFFIX)
            .filter(|_| !FILES.contains(&name.as_str()));
        let (name, value) = match from_file {
            Some(setting) => {
                let variable = format!("{PREFIX}{name}");
                let text =
                    std::fs::read_to_string(&value).map_err(|error| ConfigError::SecretFile { variable, error })?;
                (setting.to_owned(), text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => (name, value),
        };
        variables.insert(name, value);
    }
    Ok(variables)
}
