//! bankrefresh keeps the data of finAPI bank connections fresh.
//!
//! A platform sends a [`RefreshConnection`](proto::RefreshConnection) command over RabbitMQ. A worker starts a background update at finAPI,
//! follows it to its end, asks for the user's help where the bank wants it, and publishes the outcome as protobuf events. Workers are
//! stateless: the state of a refresh is the message that the broker keeps. Kill a worker at any moment and another continues, without starting
//! a second update at the bank.
//!
//! # The way of the data
//!
//! ```text
//!              RabbitMQ                                              RabbitMQ
//!   command ──> broker ──> worker ──> refresh ──> worker ──> broker ──> event
//!   or state    delivery   schedules  decides     publishes  confirms   and state
//!                             │  ▲
//!                       query ▼  │ response
//!                            finapi ──> finAPI, or the sandbox
//! ```
//!
//! A step is: take a delivery, ask finAPI one thing, decide, publish what follows, wait for the broker's confirms, acknowledge.
//!
//! The modules stand on floors. A module may import those in the rows above its own and none below; `tests/layout/main.rs` checks that, and
//! that pure modules name no clock, no random source and nothing outside.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`proto`] | the protocol, as generated code |
//! | [`clock`], [`limits`], [`plain`], [`id`], [`lease`], [`rate_limit`], [`secret`], [`setting`] | the ground floor: time, limits of what comes from outside, text that may be printed, ids, proofs that end, rates, secrets, declared settings |
//! | [`http_server`] | serves HTTP within limits on connections and time |
//! | [`sandbox`] | a simulator of finAPI |
//! | [`broker`] | publish with confirms, consume, acknowledge: RabbitMQ, and a broker in this process |
//! | [`refresh`] | the workflow. It is pure: time, jitter and finAPI's responses are arguments |
//! | [`message`] | what a refresh is on the wire: commands, checkpoints, events, dead letters |
//! | [`dead_letters`] | what operators see of a dead letter |
//! | [`orders`] | gives an order to all workers |
//! | [`telemetry`] | what operators see: every name of a log, metric or span |
//! | [`finapi`] | the client: endpoints, tokens, limits, the circuit breaker. It turns responses into facts and classified failures |
//! | [`callbacks`] | what finAPI calls |
//! | [`worker`] | owns the refreshes in flight. Its scheduler is pure, too |
//! | [`admin`], [`console`] | what operators ask, and what they look at |
//! | [`config`], [`cli`] | the settings of all sections, and the program |
//! | `fuzzing` | what reads bytes from outside, for `tests/fuzz`; only with the feature of that name |
//!
//! Words that mean something special here (*poll*, *park*, *lane*, *checkpoint* …) are in `docs/concepts.md`; `docs/architecture.md` says how and
//! why it works.
//!
//! # One refresh by hand
//!
//! The workflow says what to ask finAPI, and decides what follows from the response:
//!
//! ```
//! use bankrefresh::proto::RefreshConnection;
//! use bankrefresh::refresh::query::{Query, Response};
//! use bankrefresh::refresh::{Clocks, Command, Envelope, Next, Policy, Refresh, StepContext};
//!
//! let now = "2026-03-10T09:00:00Z".parse()?;
//! let command = Command::parse(RefreshConnection {
//!     command_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
//!     user_id: "anna".to_owned(),
//!     bank_connection_id: 1,
//!     ..RefreshConnection::default()
//! })?;
//! let refresh = Refresh::new(command, now, Envelope::default(), now);
//!
//! // A task that satisfies the command may exist already.
//! assert_eq!(refresh.query(), Query::FindTask);
//! let context = StepContext { now, jitter: 0.5, next_poll: None, clocks: Clocks::default(), announced: None };
//! let step = refresh.step(Ok(Response::Tasks(Vec::new())), context, &Policy::default());
//!
//! // There is none, so it starts one. Nothing is published yet.
//! assert!(step.events.is_empty());
//! let Next::Continue(refresh) = step.next else { unreachable!("a start follows") };
//! assert_eq!(refresh.query(), Query::Start);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The examples go further: `drive_one_refresh` continues to the events, `send_a_command` and `consume_events` are a platform's two sides.

pub mod admin;
#[cfg(test)]
#[path = "../tests/support/broken.rs"]
mod broken;
pub mod broker;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod dead_letters;
pub mod finapi;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http_server;
pub mod id;
#[cfg(test)]
#[path = "../tests/support/known.rs"]
mod known;
pub mod lease;
pub mod limits;
pub mod message;
pub mod orders;
pub mod plain;
pub mod proto;
pub mod random;
pub mod rate_limit;
pub mod refresh;
pub mod sandbox;
pub mod secret;
pub mod setting;
pub mod telemetry;
pub mod worker;
