//! How soon something happens, on a real RabbitMQ. A binary of its own, because cargo runs test binaries one after the other: beside other
//! tests a latency says nothing.

#![expect(unreachable_pub, reason = "nothing depends on a test")]

mod lanes;
#[path = "../integration/support/mod.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod support;
