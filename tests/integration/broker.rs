//! What a broker promises.

mod held;
mod memory;
mod promises;
mod rabbit;
mod subject;
