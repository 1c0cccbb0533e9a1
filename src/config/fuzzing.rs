//! Settings as `tests/fuzz` reads them: without files.

use super::sources::check_toml;
use super::{Config, ConfigError};

/// Reads settings from TOML.
pub(crate) fn toml(text: &str) -> Result<Config, ConfigError> {
    check_toml(text).map_err(ConfigError::File)?;
    Config::read(Some(text), std::iter::empty())
}

/// Reads settings from variables of the environment. None of them names a file, because that would be read.
pub(crate) fn environment(variables: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    Config::read(None, variables.filter(|(name, _)| !name.ends_with("_FILE")))
}
