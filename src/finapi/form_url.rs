//! Whether a user may be sent to the URL of a web form.

use secrecy::{ExposeSecret as _, SecretString};

use crate::refresh::model::{Task, WebFormLink};
use crate::refresh::query::Response;
use crate::setting::HttpUrl;

/// The most bytes of a URL; finAPI's have less than 200.
const BYTES_MAX: usize = 2048;

/// Takes away each URL of a web form that is not for a user: one that is not `https`, has no host, or names a user. An empty one says so.
pub(super) fn check(response: Response, allow_insecure: bool) -> Response {
    let check_task = |mut task: Task| {
        if let Some(form) = &mut task.web_form {
            check_link(form, allow_insecure);
        }
        task
    };
    match response {
        Response::Task(task) => Response::Task(check_task(task)),
        Response::Tasks(tasks) => Response::Tasks(tasks.into_iter().map(check_task).collect()),
        other => other,
    }
}

fn check_link(form: &mut WebFormLink, allow_insecure: bool) {
    if !is_for_user(form.url.expose_secret(), allow_insecure) {
        tracing::warn!(web_form_id = %form.id, "the URL of a web form is not https, so the event leaves it out");
        form.url = SecretString::default();
    }
}

fn is_for_user(text: &str, allow_insecure: bool) -> bool {
    let is_plain = text.len() <= BYTES_MAX && text.chars().all(|c| c.is_ascii_graphic());
    let url = text.parse::<HttpUrl>();
    is_plain && url.is_ok_and(|url| url.username().is_empty() && url.is_secure(allow_insecure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine_are_for_a_user() {
        for url in [
            "https://webform-live.finapi.io/wf/1",
            "http://127.0.0.1:8531/webForm/1",
            "http://localhost/1",
        ] {
            assert!(is_for_user(url, false), "{url}");
        }
        let long = format!("https://webform-live.finapi.io/{}", "x".repeat(BYTES_MAX));
        let wrong = [
            "",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://host/1",
            "//host/1",
            "https://",
            "https://host/\n1",
        ];
        for url in wrong.into_iter().chain([
            "https://webform-live.finapi.io@host.test/",
            "https://host.test/\u{202e}",
            &long,
        ]) {
            assert!(!is_for_user(url, true), "{url}");
        }
        assert!(!is_for_user("http://host.test/1", false));
        assert!(is_for_user("http://host.test/1", true));
    }
}
