//! bankrefresh keeps finAPI bank connections fresh.
//!
//! The way of the data: a command comes in, the worker asks finAPI what the workflow wants to know, the workflow decides,
//! the worker publishes what follows, and then it acknowledges.
//!
//! ```text
//! command ──> broker ──> worker ──> refresh (decides) ──> broker ──> event
//!                          │  ▲
//!                          ▼  │
//!                         finapi ──> finAPI, or the sandbox
//! ```
//!
//! The modules stand on floors. A module may import those in the rows above its own and none below. `tests/layout/main.rs`
//! checks that, and that pure modules name no clock, no random source and nothing outside.
//!
//! | module | what is in it | what it may import |
//! | --- | --- | --- |
//! | [`proto`] | the protocol, as generated code | nothing of ours |
//! | [`clock`] | the system's time or a simulation's | nothing of ours |
//! | [`lease`] | proof that something is still ours | nothing of ours |
//! | [`sandbox`] | finAPI's simulator | nothing of ours |
//! | [`broker`] | publish, consume, acknowledge; the topology | nothing of ours |
//! | [`refresh`] | the workflow. Pure: no I/O, no clock, no randomness | `proto` |
//! | [`message`] | what a refresh is on the wire: commands, checkpoints, events, dead letters | `broker`, `refresh` |
//! | [`telemetry`] | logs, metrics and spans: every name of them | `broker`, `refresh` |
//! | [`finapi`] | one method per endpoint; classifies what comes back | `refresh`, `telemetry` |
//! | [`callbacks`] | what finAPI calls | `message`, `finapi` and below |
//! | [`worker`] | the loop that owns every delivery | `message`, `finapi` and below |
//! | [`admin`] | the operators' own listener | `worker` and below |
//! | [`config`] | the settings, read and checked | every module that has settings |
//! | [`cli`] | the subcommands | everything |

pub mod admin;
pub mod broker;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod finapi;
pub mod lease;
pub mod message;
pub mod proto;
pub mod refresh;
pub mod sandbox;
pub mod telemetry;
pub mod worker;
