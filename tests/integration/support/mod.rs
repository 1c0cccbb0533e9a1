//! What several tests need.

pub mod rabbitmq;
