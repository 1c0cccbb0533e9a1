//! Passwords as workers speak of them: a keyed hash of the user and the password. The keys are derived from the client's secret, so
//! whoever does not know that can neither guess a password by its hash nor write a message that a worker believes.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::id::UserId;
use crate::secret::Secret;

type HmacSha256 = Hmac<Sha256>;

/// The bytes of a hash: enough that no two passwords share one.
pub(super) const HASH_BYTES: usize = 16;

/// A user's password under one of [`Keys`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PasswordHash {
    /// Which key it is under, by index.
    pub(super) key: usize,
    pub(super) bytes: [u8; HASH_BYTES],
}

/// Without the bytes: whoever had them and the client's secret could try passwords.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A user's password under each of [`Keys`], the current one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashed(pub(super) Vec<PasswordHash>);

impl Hashed {
    /// Under the current key.
    pub(super) fn current(&self) -> PasswordHash {
        self.0[0]
    }
}

/// The keys in use: one, and during a rotation of the client's secret more. A key keeps its index.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    all: Vec<Key>,
    current: usize,
}

/// How many keys there are at most. Then the oldest one that is not in use gives its place away, and what was said by it is forgotten.
const KEYS_MAX: usize = 4;

#[derive(Clone)]
struct Key {
    hashes: HmacSha256,
    signs: HmacSha256,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Keys {
    pub(super) fn new(client_secret: &Secret, previous: Option<&Secret>) -> Self {
        let secrets = std::iter::once(client_secret).chain(previous);
        Self {
            all: secrets.map(Key::new).collect(),
            current: 0,
        }
    }

    /// The same with a key for another secret, which is in use from now on.
    pub(super) fn rotated(&self, client_secret: &Secret) -> Self {
        let mut all = self.all.clone();
        let current = match all.len() {
            KEYS_MAX => (self.current + 1) % KEYS_MAX,
            len => len,
        };
        let key = Key::new(client_secret);
        match all.get_mut(current) {
            Some(place) => *place = key,
            None => all.push(key),
        }
        Self { all, current }
    }

    pub(super) fn hash(&self, user_id: &UserId, password: &SecretString) -> Hashed {
        let hash = |(key, Key { hashes, .. }): (usize, &Key)| {
            let user_id = user_id.as_str().as_bytes();
            let mut mac = hashes.clone();
            // With its length, so that no part of a user's id counts as one of a password.
            mac.update(&(user_id.len() as u64).to_be_bytes());
            mac.update(user_id);
            mac.update(password.expose_secret().as_bytes());
            let mut bytes = [0; HASH_BYTES];
            bytes.copy_from_slice(&mac.finalize().into_bytes()[..HASH_BYTES]);
            PasswordHash { key, bytes }
        };
        let (before, from_current) = (
            self.all.iter().enumerate().take(self.current),
            self.all.iter().enumerate().skip(self.current),
        );
        Hashed(from_current.chain(before).map(hash).collect())
    }

    /// Signs a text with a key.
    pub(super) fn sign(&self, key: usize, text: &[u8]) -> Vec<u8> {
        let mut mac = self.all[key].signs.clone();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }

    /// The key that a text is signed with, if it is one of these.
    pub(super) fn signer(&self, text: &[u8], signature: &[u8]) -> Option<usize> {
        self.all.iter().position(|Key { signs, .. }| {
            let mut mac = signs.clone();
            mac.update(text);
            mac.verify_slice(signature).is_ok()
        })
    }
}

impl Key {
    fn new(client_secret: &Secret) -> Self {
        let derived = |purpose: &str| {
            let mut mac = keyed(client_secret.expose().as_bytes());
            mac.update(purpose.as_bytes());
            keyed(&mac.finalize().into_bytes())
        };
        Self {
            hashes: derived("bankrefresh: hashes of passwords"),
            signs: derived("bankrefresh: messages about passwords"),
        }
    }
}

fn keyed(key: &[u8]) -> HmacSha256 {
    match HmacSha256::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}
