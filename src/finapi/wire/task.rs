//! Tasks and web forms, as Web Form 2.0 has them.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::lenient::{List, Read};
use super::time::TaskTime;
use super::{Content, Paging};
use crate::finapi::error::is_word;
use crate::id::{ConnectionId, TaskId, WebFormId};
use crate::limits::URL_CHARACTERS_MAX;
use crate::plain::is_plain;
use crate::refresh::model;
use crate::setting::HttpUrl;

/// A page of a user's tasks, the newest first.
#[derive(Deserialize)]
pub(in crate::finapi) struct Tasks {
    items: Option<List<Task>>,
    pub(in crate::finapi) paging: Option<Paging>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::finapi) struct Task {
    id: TaskId,
    created_at: Option<TaskTime>,
    status: Option<String>,
    payload: Option<TaskPayload>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskPayload {
    bank_connection_id: Option<ConnectionId>,
    web_form: Option<WebFormLink>,
    error_code: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct WebFormLink {
    id: WebFormId,
    url: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::finapi) struct WebForm {
    #[expect(dead_code, reason = "what has no id is no web form")]
    id: WebFormId,
    status: Option<String>,
    expires_at: Option<TaskTime>,
    payload: Option<WebFormPayload>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebFormPayload {
    error_code: Option<String>,
    error_message: Option<String>,
}

impl Content for Tasks {
    const MEMBERS: &'static [&'static str] = &["items", "paging"];
}

impl Content for Task {
    const MEMBERS: &'static [&'static str] = &["id"];
}

impl Content for WebForm {
    const MEMBERS: &'static [&'static str] = &["id"];
}

impl Tasks {
    /// When the oldest of them began.
    pub(in crate::finapi) fn oldest(&self) -> Option<Timestamp> {
        let items = self.items.as_ref()?.items.iter().rev();
        items.filter_map(|task| task.value.created_at).map(|at| at.0).next()
    }

    /// The tasks of one connection, and those that don't say yet whose they are.
    pub(in crate::finapi) fn of(
        self,
        bank_connection_id: ConnectionId,
        otherwise: Timestamp,
    ) -> impl Iterator<Item = model::Task> {
        let tasks = self.items.unwrap_or_default().items.into_iter();
        let tasks = tasks.map(move |task| task.created_at_or(otherwise));
        tasks.filter(move |task| task.bank_connection_id.is_none_or(|id| id == bank_connection_id))
    }
}

impl Read<Task> {
    /// The task; where nothing can be read of when it began, it is taken to be of then.
    pub(in crate::finapi) fn created_at_or(self, otherwise: Timestamp) -> model::Task {
        let task = self.value;
        let payload = task.payload.unwrap_or_default();
        model::Task {
            id: task.id,
            created_at: task.created_at.map_or(otherwise, |at| at.0),
            status: match task.status.as_deref().unwrap_or_default() {
                "WEB_FORM_REQUIRED" => model::TaskStatus::WebFormRequired,
                "COMPLETED" => model::TaskStatus::Completed,
                "COMPLETED_WITH_ERROR" => model::TaskStatus::Failed,
                "NOT_YET_STARTED" | "IN_PROGRESS" => model::TaskStatus::Running,
                unknown => {
                    log_unknown("task", unknown);
                    model::TaskStatus::Running
                }
            },
            bank_connection_id: payload.bank_connection_id,
            web_form: payload
                .web_form
                .filter(WebFormLink::can_be_opened)
                .map(|form| model::WebFormLink {
                    id: form.id,
                    url: form.url.unwrap_or_default(),
                }),
            error: bank_error(payload.error_code, payload.error_message),
            unreadable: self.unreadable,
        }
    }
}

impl WebFormLink {
    /// Whether a browser opens its URL as a page, and does nothing else with it. Users are sent to it.
    fn can_be_opened(&self) -> bool {
        let url = self.url.as_ref().map(|url| url.expose_secret()).unwrap_or_default();
        let is_short = url.chars().count() <= URL_CHARACTERS_MAX;
        let is_web = || url.parse::<HttpUrl>().is_ok();
        is_short && url.chars().all(|c| is_plain(c) && !c.is_whitespace()) && is_web()
    }
}

impl From<Read<WebForm>> for model::WebForm {
    fn from(read: Read<WebForm>) -> Self {
        let form = read.value;
        let payload = form.payload.unwrap_or_default();
        Self {
            status: match form.status.as_deref().unwrap_or_default() {
                "COMPLETED" => model::WebFormStatus::Completed,
                "COMPLETED_WITH_ERROR" => model::WebFormStatus::Failed,
                "EXPIRED" => model::WebFormStatus::Expired,
                "ABORTED" | "CANCELLED" => model::WebFormStatus::Aborted,
                "NOT_YET_OPENED" | "IN_PROGRESS" => model::WebFormStatus::Open,
                unknown => {
                    log_unknown("web form", unknown);
                    model::WebFormStatus::Open
                }
            },
            expires_at: form.expires_at.map(|at| at.0),
            error: bank_error(payload.error_code, payload.error_message),
            unreadable: read.unreadable,
        }
    }
}

fn bank_error(code: Option<String>, message: Option<String>) -> Option<model::BankError> {
    code.map(|code| model::BankError {
        code: Some(code).filter(|code| is_word(code)).unwrap_or_default(),
        message,
    })
}

/// Once for each status, and for no more of them than fit a small memory.
fn log_unknown(what: &str, status: &str) {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let status: String = status
        .chars()
        .filter(|c| c.is_ascii_uppercase() || *c == '_')
        .take(64)
        .collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() < 100 && seen.insert(format!("{what} {status}")) {
        tracing::warn!(
            what,
            status,
            "finAPI sent an unknown status, which counts as still running"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finapi::wire::lenient::read;

    #[test]
    fn nulls_unknown_fields_and_unknown_statuses_are_normal() {
        let form: Read<WebForm> = read(r#"{"id":"f","status":"FROZEN","new":1,"expiresAt":null}"#).expect("a form");
        assert_eq!(model::WebForm::from(form).status, model::WebFormStatus::Open);
    }

    #[test]
    fn a_web_form_is_a_page_of_the_web_or_is_not_there() {
        let task = |url: &str| -> model::Task {
            let json = serde_json::json!({
                "id": "a-1", "createdAt": "2021-03-09T08:36:15.250+0000", "status": "WEB_FORM_REQUIRED",
                "payload": {"webForm": {"id": "f-1", "url": url}},
            });
            let task: Read<Task> = read(&json.to_string()).expect("a task");
            task.created_at_or(Timestamp::UNIX_EPOCH)
        };
        assert!(task("https://webform.test/wf/31c5?a=b#c").web_form.is_some());
        let long = format!("https://webform.test/{}", "x".repeat(URL_CHARACTERS_MAX));
        for wrong in [
            "javascript:alert('...')",
            "webform.test/wf",
            "https://webform.test/\u{1b}[2J",
            "https://webform.test/a\nb",
            &long,
        ] {
            assert!(task(wrong).web_form.is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_code_that_is_not_a_word_is_left_out() {
        let code = |code: &str| bank_error(Some(code.to_owned()), None).expect("an error").code;
        assert_eq!(code("BANK_SERVER_REJECTION"), "BANK_SERVER_REJECTION");
        for wrong in ["planted prose\nFAKE ERROR line", "", "\u{1b}[2J", &"X".repeat(65)] {
            assert_eq!(code(wrong), "", "{wrong}");
        }
    }

    #[test]
    fn a_task_says_when_it_began() {
        let task: Read<Task> = read(
            r#"{"id":"a-1","createdAt":"2021-03-09T08:36:15.250+0000","type":"X","status":"IN_PROGRESS","payload":null}"#,
        )
        .expect("a task");
        let expected: Timestamp = "2021-03-09T08:36:15.25Z".parse().expect("a timestamp");
        assert_eq!(task.created_at_or(Timestamp::UNIX_EPOCH).created_at, expected);
    }
}
