//! The limits of what comes from outside, all of them. `docs/reference/events.md` has the same list, and a test compares the two.
//!
//! The limits of bodies are checked before anything of them is decoded. So a list or a map that is decoded is never larger than its body.

use std::time::Duration;

/// The most bytes of a command. The largest valid one has about 40,000.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of a checkpoint: a command and where its refresh stands.
pub const CHECKPOINT_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of a body that is taken off the broker. A larger one is left out
/// ([`Delivery::flaw`](crate::broker::Delivery::flaw)), whatever it says, so that many of them at once take no memory.
pub const BODY_BYTES_MAX: usize = CHECKPOINT_BYTES_MAX;
/// The most bytes of an event: `events.size_max` can't be larger.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of a wake-up, which is a command's id.
pub const WAKE_UP_BYTES_MAX: usize = 36;
/// The bytes of what workers say of a password: a version, what is said, the worker, a hash and a signature.
pub const PASSWORD_MESSAGE_BYTES: usize = 1 + 1 + 8 + 16 + 32;
/// The most bytes of a worker's status. A usual one has about 1,000.
pub const STATUS_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of an order. The largest valid one has about 1,400.
pub const ORDER_BYTES_MAX: usize = 4096;
/// The most bytes of what finAPI sends to the listener for callbacks and notifications.
pub const NOTIFICATION_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of all headers of a message that is published. They must fit one frame, and RabbitMQ 4.1 allows frames to be as small
/// as 8192 bytes; the rest is for the other properties.
pub const HEADERS_BYTES_MAX: usize = 6144;

/// The most characters of a user's id, as finAPI has them.
pub const USER_ID_CHARACTERS_MAX: usize = 36;
/// The most characters of the id of a task or a web form. Those of finAPI have 36.
pub const FINAPI_ID_CHARACTERS_MAX: usize = 64;
/// The most characters of `ip_address`, as finAPI has them.
pub const IP_ADDRESS_CHARACTERS_MAX: usize = 64;
/// The most characters of `device_os` and of `user_agent`, as finAPI has them.
pub const DEVICE_CHARACTERS_MAX: usize = 1024;
/// The characters of a web form profile's id.
pub const PROFILE_ID_CHARACTERS: usize = 36;
/// The most characters of a URL that finAPI takes.
pub const URL_CHARACTERS_MAX: usize = 2048;
/// The most bytes of an access token, as finAPI has them.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 8192;
/// The most labels of a command.
pub const LABELS_MAX: usize = 32;
/// The most bytes of a label's key, and of its value.
pub const LABEL_BYTES_MAX: usize = 255;
/// The most characters of the name of a finAPI client.
pub const CLIENT_NAME_CHARACTERS_MAX: usize = 64;
/// The most entries of `account_types`: one of each.
pub const ACCOUNT_TYPES_MAX: usize = 7;
/// The most entries of `allowed_interfaces`: one of each.
pub const INTERFACES_MAX: usize = 3;
/// The most entries of `edit_saved_settings`: one of each.
pub const SAVED_SETTINGS_MAX: usize = 2;
/// The most seconds of `max_age`: 10,000 years, the most that protobuf's `Duration` may say.
pub const MAX_AGE_SECONDS_MAX: i64 = 315_576_000_000;

/// The most characters of the name of who gives an order.
pub const OPERATOR_CHARACTERS_MAX: usize = 100;
/// The most characters of the reason of a pause.
pub const PAUSE_REASON_CHARACTERS_MAX: usize = 200;

/// The most bytes of a correlation id: AMQP's short text.
pub const CORRELATION_ID_BYTES_MAX: usize = 255;
/// The most bytes of a `traceparent`. W3C's form has 55; a newer version of it may have more.
pub const TRACE_PARENT_BYTES_MAX: usize = 255;
/// The most bytes of a `tracestate`, as W3C has them.
pub const TRACE_STATE_BYTES_MAX: usize = 512;

/// The most accounts of a connection. A checkpoint has the id and the figures of each.
pub const ACCOUNTS_MAX: usize = 1000;
/// The most accounts whose transactions are asked for together.
pub const GROUP_ACCOUNTS_MAX: usize = 100;

/// The most hours that a time of a checkpoint may be ahead of the clock. finAPI asks to wait for at most a day, and clocks differ.
pub const HOURS_APART_MAX: u64 = 48;
/// The largest revision of a command that is believed. A worker requeues a command every few minutes, and for 30 days at most.
pub const COMMAND_REVISION_MAX: u32 = 100_000;

/// The most characters of a code of finAPI.
pub const CODE_CHARACTERS_MAX: usize = 64;
/// The most characters of any other text of finAPI in an event. A longer one is cut.
pub const TEXT_CHARACTERS_MAX: usize = 2000;
/// The most characters of the name of a category. A longer one is cut.
pub const CATEGORY_CHARACTERS_MAX: usize = 64;
/// The most characters of the id of a request, as finAPI has them.
pub const REQUEST_ID_CHARACTERS_MAX: usize = 255;
/// The most names of fields that the message of a failure has.
pub const FIELDS_MAX: usize = 10;

/// How far times may be apart.
#[must_use]
pub const fn apart_max() -> Duration {
    Duration::from_secs(HOURS_APART_MAX * 3600)
}

/// Whether a text may be the name of a finAPI client: in commands, and in `finapi.client_name`.
#[must_use]
pub fn is_client_name(text: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=CLIENT_NAME_CHARACTERS_MAX).contains(&text.len()) && text.chars().all(is_fit)
}

/// A limit, as the documents have it.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What it limits.
    pub what: &'static str,
    /// The most that is allowed.
    pub most: u64,
    /// Of what.
    pub unit: &'static str,
}

const fn limit(what: &'static str, most: usize, unit: &'static str) -> Limit {
    Limit {
        what,
        most: most as u64,
        unit,
    }
}

/// All limits, in the order of the documents.
pub const ALL: [Limit; 46] = [
    limit("body of a command", COMMAND_BYTES_MAX, "bytes"),
    limit("body of a checkpoint", CHECKPOINT_BYTES_MAX, "bytes"),
    limit("body of an event", EVENT_BYTES_MAX, "bytes"),
    limit("body of a wake-up", WAKE_UP_BYTES_MAX, "bytes"),
    limit(
        "body of what workers say of a password",
        PASSWORD_MESSAGE_BYTES,
        "bytes",
    ),
    limit("body of a worker's status", STATUS_BYTES_MAX, "bytes"),
    limit("body of an order", ORDER_BYTES_MAX, "bytes"),
    limit("body of a callback or a notification", NOTIFICATION_BYTES_MAX, "bytes"),
    limit("body that is taken off the broker", BODY_BYTES_MAX, "bytes"),
    limit("`command_id`", 36, "characters"),
    limit("`user_id`", USER_ID_CHARACTERS_MAX, "characters"),
    limit("`account_types`", ACCOUNT_TYPES_MAX, "entries"),
    limit("`allowed_interfaces`", INTERFACES_MAX, "entries"),
    limit("`edit_saved_settings`", SAVED_SETTINGS_MAX, "entries"),
    limit("`user_metadata.ip_address`", IP_ADDRESS_CHARACTERS_MAX, "characters"),
    limit("`user_metadata.device_os`", DEVICE_CHARACTERS_MAX, "characters"),
    limit("`user_metadata.user_agent`", DEVICE_CHARACTERS_MAX, "characters"),
    limit("`profile_id`", PROFILE_ID_CHARACTERS, "characters"),
    limit("`redirect_url`", URL_CHARACTERS_MAX, "characters"),
    limit("`max_age`", MAX_AGE_SECONDS_MAX as usize, "seconds"),
    limit("`access_token`", ACCESS_TOKEN_BYTES_MAX, "bytes"),
    limit("`labels`", LABELS_MAX, "entries"),
    limit("key of a label", LABEL_BYTES_MAX, "bytes"),
    limit("value of a label", LABEL_BYTES_MAX, "bytes"),
    limit("`client`", CLIENT_NAME_CHARACTERS_MAX, "characters"),
    limit("`by` of an order", OPERATOR_CHARACTERS_MAX, "characters"),
    limit("`reason` of a pause", PAUSE_REASON_CHARACTERS_MAX, "characters"),
    limit("length of a pause", 30, "days"),
    limit("`correlation_id`", CORRELATION_ID_BYTES_MAX, "bytes"),
    limit("`traceparent`", TRACE_PARENT_BYTES_MAX, "bytes"),
    limit("`tracestate`", TRACE_STATE_BYTES_MAX, "bytes"),
    limit("revision of a command", COMMAND_REVISION_MAX as usize, "times"),
    limit(
        "time of a checkpoint, ahead of the clock",
        HOURS_APART_MAX as usize,
        "hours",
    ),
    limit("accounts of a connection", ACCOUNTS_MAX, "entries"),
    limit("accounts of one call for transactions", GROUP_ACCOUNTS_MAX, "entries"),
    limit("id of a task or a web form", FINAPI_ID_CHARACTERS_MAX, "characters"),
    limit(
        "`bank_connection_id`, id of an account or a transaction",
        i64::MAX as usize,
        "as a number",
    ),
    limit("headers of a published message", HEADERS_BYTES_MAX, "bytes"),
    limit("code of finAPI", CODE_CHARACTERS_MAX, "characters"),
    limit("`web_form_url`", URL_CHARACTERS_MAX, "characters"),
    limit("text of finAPI or of a bank", TEXT_CHARACTERS_MAX, "characters"),
    limit("`category`", CATEGORY_CHARACTERS_MAX, "characters"),
    limit("names of fields in `message`", FIELDS_MAX, "entries"),
    limit("`finapi_request_id`", REQUEST_ID_CHARACTERS_MAX, "characters"),
    limit(
        "`polls`, `failures` and `refusals` of a checkpoint",
        u32::MAX as usize,
        "times",
    ),
    limit("`page` and `part` of a checkpoint", u32::MAX as usize, "as a number"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A number as people read it.
    fn number(number: u64) -> String {
        let digits = number.to_string();
        let groups: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|group| std::str::from_utf8(group).expect("digits"))
            .collect();
        groups.join(",")
    }

    #[test]
    fn the_documents_have_the_same_limits() {
        let document = include_str!("../docs/reference/events.md");
        let section = document
            .split("\n## ")
            .find(|section| section.starts_with("Limits\n"))
            .expect("a section on limits");
        let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
        let documented: Vec<String> = rows
            .map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | "))
            .collect();
        let limits: Vec<String> = ALL
            .iter()
            .map(|limit| format!("| {} | {} {}", limit.what, number(limit.most), limit.unit))
            .collect();
        assert_eq!(documented, limits, "the table in docs/reference/events.md");
    }
}
