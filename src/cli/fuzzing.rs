//! What the command line shows of messages, for `tests/fuzz`.

use super::show;
use crate::broker::Message;
pub(crate) use crate::dead_letters::fuzzing::shown as dead_letter;
use crate::message::json;

/// An event as `watch` prints it, in text and as JSON.
pub(crate) fn event(message: &Message) -> Option<[String; 2]> {
    let event = show::event(message)?;
    let json =
        json(event.message_name(), &message.body).map_or_else(|error| error.to_string(), |json| json.to_string());
    Some([show::line(&event), json])
}
