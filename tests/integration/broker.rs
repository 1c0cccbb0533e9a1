//! What a broker promises.

mod memory;
mod promises;
mod rabbit;
mod subject;
