//! What operators see of a process.

pub mod logs;
pub mod metrics;
