//! The URLs that finAPI calls back by: each carries an HMAC of its command's id, so it can't be guessed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::request::Callbacks;
use crate::id::CommandId;
use crate::secret::Secret;
use crate::setting::HttpUrl;

type HmacSha256 = Hmac<Sha256>;

/// Makes callback URLs, and recognises them.
#[derive(Clone, Debug)]
pub struct Signer {
    public_url: HttpUrl,
    key: Secret,
    previous_key: Option<Secret>,
}

impl Signer {
    /// Signs with a key, and recognises what the key before it has signed.
    #[must_use]
    pub fn new(public_url: HttpUrl, key: Secret, previous_key: Option<Secret>) -> Self {
        Self {
            public_url,
            key,
            previous_key,
        }
    }

    /// Where finAPI calls back for a command.
    #[must_use]
    pub fn callbacks(&self, command_id: CommandId) -> Callbacks {
        let tag = hex::encode(mac(&self.key.expose(), &command_id.to_string()).finalize().into_bytes());
        let base = self.public_url.as_str().trim_end_matches('/');
        let url = format!("{base}/callbacks/{command_id}/{tag}");
        Callbacks {
            finalised: url.clone(),
            web_form_required: url,
        }
    }

    /// Whether a tag is the one of a command's URL.
    pub(crate) fn recognises(&self, command_id: &str, tag: &str) -> bool {
        let Ok(tag) = hex::decode(tag) else {
            return false;
        };
        // Updates that run when a key is rotated keep their URLs.
        let keys = std::iter::once(self.key.expose())
            .chain(self.key.expose_previous())
            .chain(self.previous_key.as_ref().map(Secret::expose));
        // The comparison takes the same time wherever the tag differs.
        keys.fold(false, |known, key| {
            known | mac(&key, command_id).verify_slice(&tag).is_ok()
        })
    }
}

fn mac(key: &str, command_id: &str) -> HmacSha256 {
    let mut mac = match HmacSha256::new_from_slice(key.as_bytes()) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(command_id.as_bytes());
    mac
}
