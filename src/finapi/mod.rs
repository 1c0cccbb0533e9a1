//! finAPI, call by call: asks what the workflow wants to know, and turns every answer into a fact or a classified failure.

pub mod breaker;
pub mod client;
pub mod credentials;
mod error;
pub mod gate;
pub mod request;
mod settings;
pub mod tokens;
pub mod transport;
mod wire;

#[cfg(test)]
mod tests;

pub use client::FinApi;
pub use settings::Settings;
