//! The protobuf messages, compiled from `proto/bankrefresh/v1`.

#![allow(missing_docs, reason = "documented in the .proto files")]

include!(concat!(env!("OUT_DIR"), "/bankrefresh.v1.rs"));
