//! What workers say of passwords, and its form on the wire: a version, what is said, the worker, the hash, and an HMAC of all that.
//! What has another length, another version or another signature is nobody's word.

use super::hash::{HASH_BYTES, Keys, PasswordHash};
use crate::limits::PASSWORD_MESSAGE_BYTES;

/// The first byte. A release with another form takes another number, and is not understood by this one.
const VERSION: u8 = 1;

/// Where the parts of a message begin.
const WORKER_AT: usize = 2;
const HASH_AT: usize = WORKER_AT + 8;
const SIGNATURE_AT: usize = HASH_AT + HASH_BYTES;

/// A worker, by a number that is random and its own for as long as its process lives.
pub(super) type WorkerNumber = u64;

/// What a worker says of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) worker: WorkerNumber,
    pub(super) hash: PasswordHash,
    pub(super) says: Says,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is about to send the password, if nobody objects.
    Announces,
    /// It is sending it now.
    Sends,
    /// It does not send it any more, and has learned nothing.
    Withdraws,
    /// What finAPI said.
    Judged(Judgement),
}

/// What finAPI said of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::finapi) enum Judgement {
    /// It gave a token.
    Granted,
    /// The user id or the password is wrong.
    Wrong,
    /// The user may not have a token: it is not verified.
    Forbidden,
    /// The user is locked until it has another password.
    Locked,
    /// Something else answered 4xx in finAPI's place, so nobody knows whether finAPI counted the password.
    Doubtful,
    /// The same once more.
    DoubtfulAgain,
}

const ALL: [(u8, Says); 9] = [
    (1, Says::Announces),
    (2, Says::Sends),
    (3, Says::Withdraws),
    (4, Says::Judged(Judgement::Granted)),
    (5, Says::Judged(Judgement::Wrong)),
    (6, Says::Judged(Judgement::Forbidden)),
    (7, Says::Judged(Judgement::Locked)),
    (8, Says::Judged(Judgement::Doubtful)),
    (9, Says::Judged(Judgement::DoubtfulAgain)),
];

impl Message {
    pub(super) fn write(&self, keys: &Keys) -> Vec<u8> {
        let code = ALL
            .iter()
            .find(|(_, says)| *says == self.says)
            .map_or(0, |(code, _)| *code);
        let mut body = vec![VERSION, code];
        body.extend(self.worker.to_be_bytes());
        body.extend(self.hash.bytes);
        let signature = keys.sign(self.hash.key, &body);
        body.extend(signature);
        body
    }

    pub(super) fn read(keys: &Keys, body: &[u8]) -> Option<Self> {
        let (text, signature) = body.split_at_checked(SIGNATURE_AT)?;
        if body.len() != PASSWORD_MESSAGE_BYTES || text[0] != VERSION {
            return None;
        }
        let (_, says) = *ALL.iter().find(|(code, _)| *code == text[1])?;
        let key = keys.signer(text, signature)?;
        Some(Self {
            worker: WorkerNumber::from_be_bytes(text[WORKER_AT..HASH_AT].try_into().ok()?),
            hash: PasswordHash {
                key,
                bytes: text[HASH_AT..].try_into().ok()?,
            },
            says,
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::secret::Secret;

    fn keys(secret: &str, previous: Option<&str>) -> Keys {
        let secret_of = |text: &str| text.parse::<Secret>().expect("a secret");
        Keys::new(&secret_of(secret), previous.map(secret_of).as_ref())
    }

    fn hash(keys: &Keys, user: &str, password: &str) -> Vec<PasswordHash> {
        let user = user.parse().expect("a user's id");
        keys.hash(&user, &SecretString::from(password)).0
    }

    #[test]
    fn what_is_written_reads_the_same_and_nothing_else_is_read() {
        let keys = keys("s1", None);
        let hash = hash(&keys, "anna", "p")[0];
        for (_, says) in ALL {
            let message = Message { worker: 7, hash, says };
            let body = message.write(&keys);
            assert_eq!(body.len(), PASSWORD_MESSAGE_BYTES);
            assert_eq!(Message::read(&keys, &body), Some(message));
            for at in 0..body.len() {
                let mut forged = body.clone();
                forged[at] ^= 1;
                assert_eq!(Message::read(&keys, &forged), None, "byte {at}");
                assert_eq!(Message::read(&keys, &body[..at]), None, "cut at {at}");
            }
            assert_eq!(Message::read(&keys, &[body, vec![0]].concat()), None);
        }
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let keys = keys("s1", None);
        let message = Message {
            worker: 7,
            hash: hash(&keys, "anna", "p")[0],
            says: Says::Sends,
        };
        for (at, byte) in [(0, VERSION + 1), (1, 99)] {
            let mut text = message.write(&keys)[..SIGNATURE_AT].to_vec();
            text[at] = byte;
            let signature = keys.sign(0, &text);
            assert_eq!(Message::read(&keys, &[text, signature].concat()), None);
        }
    }

    #[test]
    fn whoever_has_another_secret_says_nothing_and_knows_no_hash() {
        let (ours, theirs) = (keys("s1", None), keys("s2", None));
        let message = Message {
            worker: 7,
            hash: hash(&theirs, "anna", "p")[0],
            says: Says::Judged(Judgement::Wrong),
        };
        assert_eq!(Message::read(&ours, &message.write(&theirs)), None);
        assert_ne!(hash(&ours, "anna", "p"), hash(&theirs, "anna", "p"));
    }

    #[test]
    fn during_a_rotation_both_keys_count() {
        let (old, new) = (keys("s1", None), keys("s2", Some("s1")));
        let (known, hashed) = (hash(&old, "anna", "p"), hash(&new, "anna", "p"));
        assert_eq!((hashed.len(), hashed[1].bytes), (2, known[0].bytes));
        let says = Says::Judged(Judgement::Wrong);
        let message = |hash| Message { worker: 7, hash, says };
        assert_eq!(
            Message::read(&new, &message(known[0]).write(&old)),
            Some(message(hashed[1]))
        );
        assert_eq!(
            Message::read(&old, &message(hashed[1]).write(&new)),
            Some(message(known[0]))
        );
        assert_eq!(Message::read(&old, &message(hashed[0]).write(&new)), None);
    }

    #[test]
    fn a_hash_is_of_the_user_and_the_password() {
        let keys = keys("s1", None);
        let hashes = [
            ("anna", "p"),
            ("anna", "q"),
            ("bert", "p"),
            ("ann", "ap"),
            ("annap", ""),
        ];
        let hashes: std::collections::HashSet<_> = hashes
            .iter()
            .map(|(user, password)| hash(&keys, user, password)[0])
            .collect();
        assert_eq!(hashes.len(), 5);
        let shown = format!("{:?} {keys:?}", hashes.iter().next());
        assert!(!shown.contains("bytes"), "{shown}");
    }
}
