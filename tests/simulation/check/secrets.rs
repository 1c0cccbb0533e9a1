//! Nothing secret is said.

use bankrefresh::broker::Header;
use bankrefresh::broker::memory::What;
use bankrefresh::message::REASON_HEADER;
use bankrefresh::refresh::event::EventKind;

use super::findings::Findings;
use super::ledger::{Ledger, decode};
use crate::platform::{BANK_MESSAGE, CLIENT_SECRET, WEB_FORM_URL};

/// Beside tokens: passwords, the client's secret, web forms, IBANs, purposes, and what the bank says to its customer.
const SECRETS: [&str; 11] = [
    "secret-user",
    CLIENT_SECRET,
    WEB_FORM_URL,
    "/webForm/",
    "DE89370400440532013000",
    "50010517",
    "Gehalt",
    "Abschlag",
    "Bäckerei",
    BANK_MESSAGE,
    "a key of the callbacks",
];

/// finAPI's tokens are so many hexadecimal digits; nothing else has as many in a row.
const TOKEN_DIGITS: usize = 40;

/// No log line, no error text and no reason of a dead letter has a secret in it.
pub(crate) fn nothing_secret_is_said(ledger: &Ledger<'_>, violated: &mut Findings) {
    for (_, line) in &ledger.history.logs {
        check("a log line", line, violated);
    }
    for seen in &ledger.history.broker {
        let What::Sent { outgoing, .. } = &seen.what else {
            continue;
        };
        if let Some(event) = decode(&outgoing.message)
            && let EventKind::RefreshFailed(failed) = event.kind()
        {
            check("a failure", &failed.message, violated);
            check("a failure", &failed.finapi_code, violated);
        }
        let reason = outgoing.message.properties.headers.get(REASON_HEADER);
        check(
            "a dead letter",
            reason.and_then(Header::as_text).unwrap_or_default(),
            violated,
        );
    }
}

fn check(what: &str, text: &str, violated: &mut Findings) {
    let secret = SECRETS.iter().any(|secret| text.contains(secret));
    if secret || has_token(text) {
        violated.push(format!("{what} says {text:?}"));
    }
}

fn has_token(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        run >= TOKEN_DIGITS
    })
}
