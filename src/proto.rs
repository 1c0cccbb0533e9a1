//! The protobuf messages, compiled from `proto/bankrefresh/v1`.

#![allow(missing_docs, reason = "documented in the .proto files")]
#![allow(clippy::all, reason = "generated")]

use jiff::Timestamp;

include!(concat!(env!("OUT_DIR"), "/bankrefresh.v1.rs"));

/// The moment a protobuf timestamp names, if it is within the years -9999 to 9999.
#[must_use]
pub fn timestamp(timestamp: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}

/// A moment as a protobuf timestamp.
#[must_use]
pub fn from_timestamp(timestamp: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: timestamp.as_second(),
        nanos: timestamp.subsec_nanosecond(),
    }
}
