//! Messages that no honest sender writes and brokers that nobody wants: what they do to a worker, and to everybody else.

mod again;
mod brokers;
mod forged;
mod listeners;
mod names;
mod neighbours;
mod not_utf8;
mod promise;
mod size;

use promise::Promise;

/// Every promise that is checked here.
const PROMISES: [Promise; 7] = [
    forged::CHECKPOINTS,
    forged::COUNTS,
    forged::LANES,
    forged::PRINTED,
    forged::STEPS,
    names::COMMAND_IDS,
    names::USER_IDS,
];
