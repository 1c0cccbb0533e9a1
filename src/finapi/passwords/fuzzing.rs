//! Messages about passwords as `tests/fuzz` reads them.

use std::time::Duration;

use secrecy::SecretString;

use super::Passwords;
use super::message::Message;
use crate::id::UserId;
use crate::secret::Secret;

/// Panics where what is read would not be written the same.
pub(in crate::finapi) fn message(body: &[u8]) {
    let (Ok(secret), Ok(user)) = ("the client's".parse::<Secret>(), "anna".parse::<UserId>()) else {
        unreachable!("a secret and a user's id")
    };
    let passwords = Passwords::new(&secret, Some(&secret), Duration::from_millis(100));
    let signature = passwords.keys().sign(0, body);
    for body in [body.to_vec(), [body, &signature].concat()] {
        if let Some(message) = Message::read(&passwords.keys(), &body) {
            assert_eq!(message.write(&passwords.keys()), body, "is written another way");
        }
        passwords.on_message(&body);
    }
    // Whatever came, the memory can be asked.
    let hash = passwords.keys().hash(&user, &SecretString::from("a password"));
    drop(passwords.protocol().advise(&hash, tokio::time::Instant::now()));
}
