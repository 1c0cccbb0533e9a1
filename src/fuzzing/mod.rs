//! What reads bytes from outside, one function for each kind of bytes. `tests/fuzz` calls them; only with the feature `fuzzing`.
//!
//! A target panics where a promise does not hold: what is read can be written again, what follows can be published, and no error shows
//! a secret. The corpus has [`SECRET`] in each secret, so a text that has it shows one.

mod amqp;
mod finapi;
mod settings;
mod workflow;

use jiff::Timestamp;

use crate::broker::topology::Topology;

/// What secrets of the corpus contain. The colon keeps it out of finAPI's codes, which are shown.
pub const SECRET: &str = "s3cret:";

/// The most bytes of a header frame: RabbitMQ's default `frame_max`.
const FRAME_BYTES_MAX: usize = 128 * 1024;
/// The most bytes of a finAPI response. A page of 500 transactions has less. `finapi.body_max` allows more.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// The most bytes of a message: what is longer is not read.
const MESSAGE_BYTES_MAX: usize = crate::limits::BODY_BYTES_MAX;
/// The most bytes of a message that the command line shows. prost-reflect keeps each unknown field, at 64 bytes and more.
const SHOWN_BYTES_MAX: usize = 128 * 1024;
/// The most bytes of a call to the callback listener.
const CALL_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of settings. The reference page has 40,000.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of a text in a header, a URL or a credential.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// When every target runs.
const NOW: Timestamp = Timestamp::constant(1_773_133_200, 0);

/// One kind of bytes and what reads it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and the folder of its corpus.
    pub name: &'static str,
    /// The most bytes that it is given.
    pub bytes_max: usize,
    /// Reads bytes, and panics where a promise does not hold.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, bytes_max: usize, run: fn(&[u8])) -> Target {
    Target { name, bytes_max, run }
}

/// Every target.
pub const TARGETS: [Target; 25] = [
    target("command", MESSAGE_BYTES_MAX, amqp::command),
    target("checkpoint", MESSAGE_BYTES_MAX, amqp::checkpoint),
    target("event", SHOWN_BYTES_MAX, amqp::event),
    target("dead-letter", SHOWN_BYTES_MAX, amqp::dead_letter),
    target("wake-up", TEXT_BYTES_MAX, amqp::wake_up),
    target("amqp-frame", FRAME_BYTES_MAX, amqp::frame),
    target("amqp-headers", FRAME_BYTES_MAX, amqp::headers),
    target("amqp-url", TEXT_BYTES_MAX, settings::amqp_url),
    target("finapi-task", BODY_BYTES_MAX, finapi::task),
    target("finapi-tasks", BODY_BYTES_MAX, finapi::tasks),
    target("finapi-web-form", BODY_BYTES_MAX, finapi::web_form),
    target("finapi-connection", BODY_BYTES_MAX, finapi::connection),
    target("finapi-accounts", BODY_BYTES_MAX, finapi::accounts),
    target("finapi-transactions", BODY_BYTES_MAX, finapi::transactions),
    target("finapi-error", BODY_BYTES_MAX, finapi::error),
    target("finapi-headers", TEXT_BYTES_MAX, finapi::headers),
    target("finapi-token", BODY_BYTES_MAX, finapi::token),
    target("credential", TEXT_BYTES_MAX, finapi::credential),
    target("password", TEXT_BYTES_MAX, finapi::password),
    target("callback", TEXT_BYTES_MAX, finapi::callback),
    target("notification", CALL_BYTES_MAX, finapi::notification),
    target("settings", SETTINGS_BYTES_MAX, settings::toml),
    target("environment", SETTINGS_BYTES_MAX, settings::environment),
    target("http-url", TEXT_BYTES_MAX, settings::http_url),
    target("log-level", TEXT_BYTES_MAX, settings::log_level),
];

fn topology() -> Topology {
    Topology::new("bankrefresh")
}

/// Panics where a text shows a secret.
fn assert_hides_secrets(shown: &str) {
    assert!(!shown.contains(SECRET), "shows a secret: {shown}");
}
