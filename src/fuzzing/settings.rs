//! What an operator writes.

use toml::Value;

use super::{SECRET, assert_hides_secrets};
use crate::broker::rabbit::Addresses;
use crate::config::{Config, ConfigError, fuzzing as config};
use crate::setting::HttpUrl;

/// A settings file.
pub(super) fn toml(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let read = config::toml(text);
    if !text
        .parse::<toml::Table>()
        .is_ok_and(|table| has_secret_elsewhere(&table))
    {
        assert_hides(&read);
    }
}

/// Variables of the environment, one a line: the name without its prefix, `=` and the value.
pub(super) fn environment(lines: &[u8]) {
    let Ok(lines) = std::str::from_utf8(lines) else { return };
    let variables: Vec<(&str, &str)> = lines.lines().filter_map(|line| line.split_once('=')).collect();
    let named = variables
        .iter()
        .map(|(name, value)| (format!("BANKREFRESH__{name}"), (*value).to_owned()));
    let has_secret_elsewhere = |(name, value): &(&str, &str)| {
        name.contains(SECRET) || is_elsewhere(&name.to_lowercase().replace("__", "."), value)
    };
    let read = config::environment(named);
    if !variables.iter().any(has_secret_elsewhere) {
        assert_hides(&read);
    }
}

/// The addresses of the broker's nodes.
pub(super) fn amqp_url(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match text.parse::<Addresses>() {
        Ok(addresses) if !is_elsewhere("url", text) => assert_hides_secrets(&format!("{addresses:?}")),
        Ok(_) => {}
        Err(error) => assert_hides_secrets(&format!("{error} {error:?}")),
    }
}

/// The URL of a service.
pub(super) fn http_url(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match text.parse::<HttpUrl>() {
        Ok(url) => {
            assert!(url.password().is_none() && url.has_host());
            if let Some(longer) = url.with_segment(text) {
                assert_eq!(longer.host(), url.host());
                assert!(longer.path().starts_with(url.path().trim_end_matches('/')));
            }
            let _ = url.is_loopback();
        }
        Err(error) => assert_hides_secrets(&format!("{error} {error:?}")),
    }
}

/// The directives of `telemetry.log_level`.
pub(super) fn log_level(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let line = format!("TELEMETRY__LOG_LEVEL={text}");
    environment(line.as_bytes());
}

fn assert_hides(read: &Result<Config, ConfigError>) {
    match read {
        Ok(settings) => assert_hides_secrets(&format!("{settings:?}")),
        Err(error) => assert_hides_secrets(&format!("{error} {error:?}")),
    }
}

/// Whether a value has a secret where none belongs, so that it may be shown.
fn is_elsewhere(name: &str, value: &str) -> bool {
    let in_place = match name.rsplit('.').next() {
        // A password stands before the last `@` of the authority. Hosts and paths are shown.
        Some("url") => {
            let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
            let count = |text: &str| text.matches(SECRET.trim_end_matches(':')).count();
            count(user) == count(value)
        }
        Some("client_secret" | "bearer" | "key" | "previous_key" | "notification_secret") => true,
        _ => false,
    };
    value.contains(SECRET.trim_end_matches(':')) && !in_place
}

fn has_secret_elsewhere(table: &toml::Table) -> bool {
    table.iter().any(|(name, value)| {
        name.contains(SECRET)
            || match value {
                Value::String(text) => is_elsewhere(name, text),
                Value::Table(table) => has_secret_elsewhere(table),
                Value::Array(values) => values.iter().any(|value| value.to_string().contains(SECRET)),
                _ => false,
            }
    })
}
