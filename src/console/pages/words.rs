//! What outcomes are called, and what to do about a failure.

use maud::{Markup, html};

use crate::proto::{FailureReason, UpdateOrigin, UserActionReason};

pub(in crate::console) fn origin_name(origin: UpdateOrigin) -> &'static str {
    match origin {
        UpdateOrigin::Silent => "silent",
        UpdateOrigin::UserActed => "user acted",
        UpdateOrigin::AlreadyFresh => "already fresh",
        UpdateOrigin::Batch => "batch",
        UpdateOrigin::Unspecified => "updated",
    }
}

pub(super) fn asked_name(reason: UserActionReason) -> &'static str {
    match reason {
        UserActionReason::EditSavedSettings => "to edit saved settings",
        UserActionReason::Immediate => "at once",
        UserActionReason::DuringUpdate => "in the middle of the update",
        UserActionReason::BatchUpdate => "by finAPI's batch update",
        UserActionReason::Unspecified => "",
    }
}

pub(in crate::console) fn reason_name(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::BankRejected => "bank rejected",
        FailureReason::UserAborted => "user aborted",
        FailureReason::WebFormExpired => "web form expired",
        FailureReason::WebFormFailed => "web form failed",
        FailureReason::UpdateFailed => "update failed",
        FailureReason::RequestRejected => "request rejected",
        FailureReason::NotFound => "not found",
        FailureReason::NotSupported => "not supported",
        FailureReason::UserUnauthorized => "user unauthorized",
        FailureReason::UserLocked => "user locked",
        FailureReason::ClientUnauthorized => "client unauthorized",
        FailureReason::ConnectionLocked => "connection locked",
        FailureReason::FinapiUnavailable => "finapi unavailable",
        FailureReason::UnexpectedResponse => "unexpected response",
        FailureReason::TimedOut => "timed out",
        FailureReason::Internal => "internal",
        FailureReason::Cancelled => "cancelled",
        FailureReason::WrongClient => "wrong client",
        FailureReason::Unspecified => "failed",
    }
}

/// What to do, in the words of `docs/reference/events.md`; what is in backquotes is code.
fn advice_text(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::BankRejected => {
            "The bank credentials are usually wrong. Show `bank_message`. A command with `edit_saved_settings` lets the user correct them. Do not try again without the user."
        }
        FailureReason::UserAborted => "Nothing, until the user wants to try again.",
        FailureReason::WebFormExpired => "Ask the user to come back.",
        FailureReason::WebFormFailed => "Show `bank_message` and let the user try again.",
        FailureReason::UpdateFailed => {
            "`finapi_code` says more. If `retryable` is false, try once more while the user is present."
        }
        FailureReason::RequestRejected => "`message` names the field that finAPI refuses. Correct the sender.",
        FailureReason::NotFound => "The connection is gone, or `profile_id` is unknown. Stop refreshing it.",
        FailureReason::NotSupported => "finAPI cannot do this with this bank. Stop refreshing it.",
        FailureReason::UserUnauthorized => {
            "Correct the finAPI user's password or `access_token`: it is wrong, has ended, or is missing."
        }
        FailureReason::UserLocked => "Have the finAPI user unlocked.",
        FailureReason::ClientUnauthorized => {
            "Inform bankrefresh's operator: finAPI refuses the platform's client, or a call that this client may not make."
        }
        FailureReason::ConnectionLocked => {
            "Another update held the connection until the time for this refresh was over. Try later."
        }
        FailureReason::FinapiUnavailable => "finAPI or the platform's credential service is not available. Try later.",
        FailureReason::UnexpectedResponse => {
            "Try later. If it fails again, ask finAPI and name the `finapi_request_id`."
        }
        FailureReason::TimedOut => "Try later.",
        FailureReason::Internal => "Try later. Inform bankrefresh's operator and name the `command_id`.",
        FailureReason::WrongClient => {
            "A worker of another finAPI client took the command. Correct the sender's `amqp.prefix`, or the command's `client`. The worker did not call finAPI."
        }
        FailureReason::Cancelled => {
            "Nothing: an order cancelled the refresh. To refresh after all, send a new command."
        }
        FailureReason::Unspecified => "",
    }
}

/// The same as HTML.
pub(super) fn advice(reason: FailureReason) -> Markup {
    html! {
        @for (place, text) in advice_text(reason).split('`').enumerate() {
            @if place % 2 == 1 { code { (text) } } @else { (text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_what_the_events_page_says() {
        let page = include_str!("../../../docs/reference/events.md");
        let section = page.split("\n## When a refresh fails\n").nth(1).expect("the section");
        let section = section.split("\n## ").next().expect("its text");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")).skip(1);
        let rows: Vec<(&str, &str)> = rows
            .map(|row| {
                let cells: Vec<&str> = row.split(" | ").collect();
                (
                    cells[0].trim_end_matches('`'),
                    cells[cells.len() - 1].trim_end_matches(" |"),
                )
            })
            .collect();
        assert!(rows.len() >= 16, "{rows:?}");
        for (name, text) in rows {
            let reason = FailureReason::from_str_name(&format!("FAILURE_REASON_{name}")).expect(name);
            assert_eq!(advice_text(reason), text, "{name}");
            assert_eq!(reason_name(reason), name.to_lowercase().replace('_', " "));
        }
    }
}
