//! finAPI, call by call: asks what the workflow wants to know, and turns every answer into a fact or a classified failure.

pub mod body_budget;
pub mod breaker;
pub mod callback_url;
pub(crate) mod callers;
pub mod client;
pub mod client_secret;
pub mod concurrency;
mod connections;
pub mod credentials;
mod endpoints;
mod error;
mod form_url;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod grant;
mod host_clock;
pub mod passwords;
mod pipeline;
pub mod probe;
pub mod request;
mod settings;
pub mod tokens;
pub mod transport;
mod urls;
mod verdict;
pub mod version;
mod wire;

#[cfg(test)]
mod tests;

pub use breaker::Outage;
pub use client::{Control, FinApi, Outcome};
pub use concurrency::Permit;
pub use endpoints::FormCancel;
pub use settings::Settings;
pub use version::Proof;
