//! Whether the secrets in use are those that the settings name now.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Gauge;

use super::Maker;

/// What is shown of secrets.
#[derive(Clone, Debug)]
pub struct SecretMetrics {
    unused: Gauge<u64>,
}

impl Default for SecretMetrics {
    fn default() -> Self {
        Self::new(&Maker::of(&super::meter()))
    }
}

impl SecretMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            unused: make.gauge(
                "bankrefresh.secrets.unused",
                "",
                "1 while what a setting's file has now is not in use: it can't be read, or finAPI refuses it",
            ),
        }
    }

    pub(crate) fn unused(&self, setting: &'static str, is_unused: bool) {
        let labels = [KeyValue::new("setting", setting)];
        self.unused.record(u64::from(is_unused), &labels);
    }
}
