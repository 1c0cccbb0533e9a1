//! Everything that needs more than this process: one binary, so that one broker serves all of it.

#![expect(unreachable_pub, reason = "nothing depends on a test")]

mod broker;
mod dashboards;
mod dead_letters;
mod healthcheck;
mod lanes;
mod support;
mod telemetry;
mod use_cases;
mod workers;
