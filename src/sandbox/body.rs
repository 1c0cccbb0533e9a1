//! What happens to the body of an answer on its way.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};

/// What happens to the body of a real answer. The work is done, and the status is finAPI's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BodyFault {
    /// It ends in good order after so many bytes.
    Truncated {
        /// How many bytes arrive.
        at: usize,
    },
    /// The connection drops after so many bytes.
    BreaksOff {
        /// How many bytes arrive.
        at: usize,
    },
    /// Nothing more comes after so many bytes, and the connection stays open.
    Hangs {
        /// How many bytes arrive.
        at: usize,
    },
    /// It comes a few bytes at a time.
    Drips {
        /// How many at a time.
        bytes: usize,
        /// How long each of them takes.
        #[serde(with = "humantime_serde")]
        every: Duration,
    },
    /// White space follows it and never ends.
    Endless,
    /// Its `Content-Type` is another one.
    ContentType(String),
    /// It is UTF-16, with a byte order mark.
    Utf16,
    /// It is Latin-1, with `?` for what that has no letter for.
    Latin1,
    /// UTF-8 with a byte order mark.
    ByteOrderMark,
}

const BYTE_ORDER_MARK: &str = "\u{feff}";
/// So much white space comes at a time.
const SPACES: &[u8] = &[b' '; 16 * 1024];

impl BodyFault {
    /// The `Content-Type`, where it is another one than finAPI's.
    pub(super) fn content_type(&self) -> Option<&str> {
        match self {
            Self::ContentType(content_type) => Some(content_type),
            Self::Utf16 => Some("application/json;charset=UTF-16"),
            Self::Latin1 => Some("application/json;charset=ISO-8859-1"),
            _ => None,
        }
    }

    pub(super) fn apply(&self, mut whole: Vec<u8>) -> Body {
        match self {
            Self::Truncated { at } => {
                whole.truncate(*at);
                Body::from(whole)
            }
            Self::BreaksOff { at } => {
                let broken = io::Error::new(io::ErrorKind::ConnectionReset, "the sandbox breaks off this body");
                let breaks = async {
                    // So that what came before is sent.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Err(broken)
                };
                begun(whole, *at, stream::once(breaks))
            }
            Self::Hangs { at } => begun(whole, *at, stream::pending()),
            Self::Drips { bytes, every } => drips(&whole, *bytes, *every),
            Self::Endless => {
                let all = whole.len();
                begun(whole, all, stream::repeat_with(|| Ok(Bytes::from_static(SPACES))))
            }
            Self::ContentType(_) => Body::from(whole),
            Self::Utf16 => Body::from(utf_16(&text(&whole))),
            Self::Latin1 => Body::from(latin_1(&text(&whole))),
            Self::ByteOrderMark => Body::from([BYTE_ORDER_MARK.as_bytes(), &whole].concat()),
        }
    }
}

/// The first bytes, and what follows them.
fn begun(mut whole: Vec<u8>, at: usize, then: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    whole.truncate(at);
    Body::from_stream(stream::iter([Ok(Bytes::from(whole))]).chain(then))
}

fn drips(whole: &[u8], bytes: usize, every: Duration) -> Body {
    let drops: Vec<Bytes> = whole.chunks(bytes.max(1)).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::iter(drops).then(move |drop| async move {
        tokio::time::sleep(every).await;
        io::Result::Ok(drop)
    }))
}

/// The sandbox writes UTF-8.
fn text(whole: &[u8]) -> String {
    String::from_utf8_lossy(whole).into_owned()
}

fn utf_16(text: &str) -> Vec<u8> {
    let marked = format!("{BYTE_ORDER_MARK}{text}");
    marked.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn latin_1(text: &str) -> Vec<u8> {
    let byte = |letter: char| u8::try_from(u32::from(letter)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}
