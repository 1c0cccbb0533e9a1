//! What the tests stand on.

pub mod guard;
pub mod platform;
pub mod rabbitmq;
