//! Events as people read them.

use anstyle::{AnsiColor, Style};

use crate::broker::Message;
use crate::plain::plain;
use crate::refresh::event::{Event, EventKind};

/// An event as it came, if it is one.
pub(super) fn event(message: &Message) -> Option<Event> {
    Event::decode(message.properties.kind.as_deref()?, &message.body).ok()
}

/// One plain line of text.
pub(super) fn line(event: &Event) -> String {
    let context = event.context();
    let style = style(event);
    // The end distinguishes UUIDv7s of one moment.
    let id = plain(context.command_id.rsplit('-').next().unwrap_or_default());
    let connection = context.bank_connection_id;
    let detail = match event.kind() {
        EventKind::UserActionRequired(event) if !event.message.is_empty() => format!(": {}", plain(&event.message)),
        EventKind::UserActionRequired(event) => format!(" → {}", plain(&event.web_form_url)),
        EventKind::RefreshFailed(event) if !event.message.is_empty() => format!(": {}", plain(&event.message)),
        EventKind::TransactionsUpdated(_) | EventKind::RefreshFailed(_) => String::new(),
    };
    format!(
        "{id} connection {connection:<6} {style}{}{style:#}{detail}",
        event.summary()
    )
}

/// The colour of an event.
pub(super) fn style(event: &Event) -> Style {
    match event.kind() {
        EventKind::TransactionsUpdated(_) => AnsiColor::Green.on_default(),
        EventKind::UserActionRequired(_) => AnsiColor::Yellow.on_default(),
        EventKind::RefreshFailed(_) => AnsiColor::Red.on_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{RefreshContext, RefreshFailed, UserActionRequired};

    #[test]
    fn an_event_is_one_plain_line_whoever_wrote_it() {
        let forged = "a\u{1b}[2J\r\nFAKE\u{85}\u{2028}\u{202e}";
        let context = RefreshContext {
            command_id: forged.to_owned(),
            ..RefreshContext::default()
        };
        let kinds = [
            EventKind::RefreshFailed(RefreshFailed {
                finapi_code: forged.to_owned(),
                message: forged.to_owned(),
                ..RefreshFailed::default()
            }),
            EventKind::UserActionRequired(UserActionRequired {
                web_form_url: forged.to_owned(),
                ..UserActionRequired::default()
            }),
        ];
        for kind in kinds {
            let shown = line(&Event::new(context.clone(), kind));
            // But for our own colours.
            let style = AnsiColor::Yellow.on_default().render().to_string();
            let red = AnsiColor::Red.on_default().render().to_string();
            let shown = shown.replace(&style, "").replace(&red, "").replace("\u{1b}[0m", "");
            assert_eq!(plain(&shown), shown);
        }
    }
}
