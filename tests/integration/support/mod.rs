//! What the tests stand on.

pub mod collector;
pub mod gate;
pub mod guard;
pub mod platform;
pub mod rabbitmq;
