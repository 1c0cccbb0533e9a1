//! What the tests stand on.

pub mod amqp;
pub mod cgroup;
pub mod collector;
pub mod dead_letters;
pub mod gate;
pub mod guard;
pub mod platform;
pub mod rabbitmq;
