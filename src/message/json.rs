//! The protocol's messages as JSON.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// Every message of the protocol. Decoding it takes far longer than decoding a message.
static DESCRIPTORS: LazyLock<Result<DescriptorPool, prost_reflect::DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice()));

/// Why a body can't be shown as JSON. Holds nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum NoJson {
    /// The type is unknown.
    #[error("{0:?} is no message of this release")]
    Unknown(String),
    /// The body is no such message.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    /// A value has no form in JSON, such as a time beyond the year 9999.
    #[error(transparent)]
    Serialize(#[from] serde_json::Error),
}

/// A protobuf message in its canonical JSON, with the names of the .proto files.
///
/// # Errors
///
/// It is none of this release.
pub fn json(message_name: &str, body: &[u8]) -> Result<Value, NoJson> {
    let message = DynamicMessage::decode(descriptor(message_name)?, body)?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// What the .proto files say of a message.
///
/// # Errors
///
/// It is none of this release.
pub fn descriptor(message_name: &str) -> Result<MessageDescriptor, NoJson> {
    let pool = DESCRIPTORS.as_ref();
    let pool = pool.unwrap_or_else(|error| unreachable!("the build wrote them: {error}"));
    let unknown = || NoJson::Unknown(message_name.to_owned());
    pool.get_message_by_name(message_name).ok_or_else(unknown)
}
