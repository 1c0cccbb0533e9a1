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

#![warn(missing_docs)]

pub mod broker;
pub mod proto;
pub mod sandbox;
