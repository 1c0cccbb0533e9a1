//! bankrefresh keeps finAPI bank connections fresh.
//!
//! The modules, in the order data flows through them:
//!
//! ```text
//! command ──> broker ──> worker ──> refresh (decides) ──> broker ──> event
//!                          │  ▲
//!                          ▼  │
//!                         finapi ──> finAPI, or the sandbox
//! ```

pub mod admin;
pub mod broker;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod finapi;
pub mod proto;
pub mod random;
pub mod refresh;
pub mod sandbox;
pub mod telemetry;
pub mod worker;
