//! Everything that needs more than this process: one binary, so that one broker serves all of it.

#![expect(unreachable_pub, reason = "nothing depends on a test")]

mod batch;
#[path = "../support/broken.rs"]
mod broken;
mod broker;
mod browser;
mod clients;
mod cluster;
mod console;
mod dashboards;
mod dead_letters;
mod definitions;
mod doctor;
mod ends;
mod finapi;
mod healthcheck;
mod hostile;
mod image;
#[path = "../support/known.rs"]
mod known;
mod life;
mod memory;
mod neighbours;
mod notifications;
mod operators;
mod paused;
mod rotation;
mod secrets;
mod sending;
mod support;
mod telemetry;
mod tls;
mod unworkable;
mod upgrade;
mod use_cases;
mod versions;
