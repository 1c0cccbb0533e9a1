//! Callbacks: what finAPI POSTs to the URLs of a background update and to the client's URL, and whose answers it ignores.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::Sandbox;
use super::state::State;
use super::tasks::{Ending, TaskForm};

/// A callback that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Where to POST it.
    pub url: String,
    /// The JSON body: `{taskId, status, webForm?{id, url, status}}`, or `{webFormId, status}` when a web form ended, or a notification.
    pub body: String,
}

/// The URLs of a task. Each is taken out when it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CallbackUrls {
    pub(super) finalised: Option<String>,
    pub(super) web_form_required: Option<String>,
}

/// What callbacks are to come of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The task needs its user.
    WebFormRequired(Uuid),
    /// The task is final.
    Finalised(Uuid),
    /// The batch update of a connection is over.
    BatchUpdate(i64),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskChanged<'a> {
    task_id: Uuid,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_form: Option<TaskForm<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebFormEnded {
    web_form_id: Uuid,
    status: &'static str,
}

impl State {
    pub(super) fn call_back_web_form_required(&mut self, task: Uuid, at: Timestamp) {
        self.call_back(at, Due::WebFormRequired(task));
    }

    pub(super) fn call_back_finalised(&mut self, task: Uuid, at: Timestamp) {
        self.call_back(at, Due::Finalised(task));
    }

    pub(super) fn call_back(&mut self, at: Timestamp, due: Due) {
        self.callbacks_ever += 1;
        self.callbacks.insert((at, self.callbacks_ever), due);
    }

    /// The next callback that is due by now.
    fn take_callback(&mut self) -> Option<Callback> {
        loop {
            if let Some(notification) = self.notifications.next() {
                return Some(notification);
            }
            let first = self.callbacks.first_entry().filter(|first| first.key().0 <= self.now)?;
            let callback = match first.remove() {
                Due::WebFormRequired(task) => self.callback(task, false),
                Due::Finalised(task) => self.callback(task, true),
                Due::BatchUpdate(connection) => {
                    self.notify(connection);
                    None
                }
            };
            if callback.is_some() {
                return callback;
            }
        }
    }

    /// None when it has been made before: a form that ends by hand ends sooner than was planned.
    fn callback(&mut self, task: Uuid, finalised: bool) -> Option<Callback> {
        let urls = &mut self.tasks.get_mut(&task)?.callbacks;
        let url = if finalised {
            urls.finalised.take()
        } else {
            urls.web_form_required.take()
        }?;
        let task = self.tasks.get(&task)?;
        let status = task.status(self.now);
        let body = match (&task.ending, self.form_of(task)) {
            (Ending::Form(_), Some(form)) if finalised => serde_json::to_string(&WebFormEnded {
                web_form_id: form.id,
                status: form.status(self.now),
            }),
            _ => serde_json::to_string(&TaskChanged {
                task_id: task.id,
                status,
                web_form: self.task_form(task),
            }),
        };
        Some(Callback { url, body: body.ok()? })
    }
}

impl Sandbox {
    /// Waits for the next callback and takes it. Cancel safe: a callback that was not returned is still there.
    pub async fn next_callback(&self) -> Callback {
        loop {
            let sooner = self.sooner.notified();
            let (callback, next) = self.turn(|state| {
                let callback = state.take_callback();
                let next = state.callbacks.first_key_value().map(|((at, _), _)| *at);
                (callback, next.map(|at| state.clock.instant(at)))
            });
            match (callback, next) {
                (Some(callback), _) => return callback,
                (None, None) => sooner.await,
                (None, Some(next)) => {
                    tokio::select! {
                        () = sooner => {}
                        () = tokio::time::sleep_until(next) => {}
                    }
                }
            }
        }
    }

    /// POSTs every callback when it is due, for ever, without reading the responses.
    pub async fn run_callbacks(self: Arc<Self>, client: reqwest::Client) {
        loop {
            let callback = self.next_callback().await;
            let post = client
                .post(&callback.url)
                .header("content-type", "application/json")
                .body(callback.body);
            tokio::spawn(post.send());
        }
    }
}
