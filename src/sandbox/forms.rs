//! Web forms and the users in front of them.

use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::call::{Call, Reply};
use super::clock::{later, web_form_time};
use super::refusal::Refusal;
use super::script::UserDoes;
use super::state::{State, secret, uuid};
use super::tasks::{Ending, Task};

/// A web form. Its whole life is known when it is made, unless someone plays its user by hand.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) id: Uuid,
    pub(super) url: String,
    pub(super) task: Uuid,
    pub(super) user: Arc<str>,
    pub(super) connection: i64,
    pub(super) created: Timestamp,
    pub(super) opens: Option<Timestamp>,
    pub(super) ends: Timestamp,
    pub(super) end: FormEnd,
    pub(super) expires: Timestamp,
    /// Whether its URL was used, which works once.
    pub(super) visited: bool,
}

/// How a web form ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FormEnd {
    Completed,
    Aborted,
    Cancelled,
    Expired,
    /// With this `errorCode`.
    Failed(String),
}

/// What a person or a test does in the user's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// Opens the web form: it is in progress.
    Open,
    /// Completes it.
    Complete,
    /// Cancels it.
    Abort,
    /// Lets it expire.
    Expire,
}

/// A web form that nobody has opened yet.
#[derive(Debug)]
pub(super) struct OpenForm {
    pub(super) url: String,
    pub(super) user: Arc<str>,
    pub(super) connection: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebForm<'a> {
    id: Uuid,
    url: &'a str,
    created_at: String,
    expires_at: String,
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    payload: WebFormPayload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebFormPayload<'a> {
    bank_connection_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'static str>,
}

impl Form {
    pub(super) fn status(&self, now: Timestamp) -> &'static str {
        if now >= self.ends {
            return match self.end {
                FormEnd::Completed => "COMPLETED",
                FormEnd::Aborted => "ABORTED",
                FormEnd::Cancelled => "CANCELLED",
                FormEnd::Expired => "EXPIRED",
                FormEnd::Failed(_) => "COMPLETED_WITH_ERROR",
            };
        }
        if self.in_progress(now) {
            "IN_PROGRESS"
        } else {
            "NOT_YET_OPENED"
        }
    }

    pub(super) fn in_progress(&self, now: Timestamp) -> bool {
        now < self.ends && self.opens.is_some_and(|opens| opens <= now)
    }

    fn body(&self, now: Timestamp) -> WebForm<'_> {
        let error_code = match &self.end {
            FormEnd::Failed(code) if now >= self.ends => Some(code.as_str()),
            _ => None,
        };
        WebForm {
            id: self.id,
            url: &self.url,
            created_at: web_form_time(self.created),
            expires_at: web_form_time(self.expires),
            kind: "BANK_CONNECTION_UPDATE",
            status: self.status(now),
            payload: WebFormPayload {
                bank_connection_id: self.connection,
                error_code,
                error_message: error_code.map(|_| "The bank connection could not be updated."),
            },
        }
    }
}

impl State {
    pub(super) fn show_form(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        let now = self.now;
        let id = Uuid::try_parse(&call.id).unwrap_or_default();
        let form = self.forms.get(&id);
        let form = form.filter(|form| form.user == user && form.created <= now);
        let connection = form.ok_or_else(|| Refusal::not_found("The web form"))?.connection;
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.form_polls += 1;
        }
        self.faults(call, Some(connection))?;
        let form = self.forms.get(&id).filter(|form| form.created <= self.now);
        let form = form.ok_or_else(|| Refusal::not_found("The web form"))?;
        Ok(Reply::ok(&form.body(self.now)))
    }

    /// Ends a web form, whoever has it open. Nobody is called back.
    pub(super) fn cancel_form(&mut self, call: &mut Call) -> Result<Reply, Refusal> {
        let user = self.authorize(call)?;
        let now = self.now;
        let id = Uuid::try_parse(&call.id).unwrap_or_default();
        let form = self.forms.get(&id);
        let form = form.filter(|form| form.user == user && form.created <= now);
        let connection = form.ok_or_else(|| Refusal::not_found("The web form"))?.connection;
        self.faults(call, Some(connection))?;
        let form = self.forms.get_mut(&id).filter(|form| form.created <= now);
        let form = form.ok_or_else(|| Refusal::not_found("The web form"))?;
        if form.ends <= now {
            return Err(Refusal::new(422, "UNPROCESSABLE_ENTITY", "The web form is over."));
        }
        (form.ends, form.end) = (now, FormEnd::Cancelled);
        Ok(Reply::ok(&form.body(now)))
    }

    /// The newest web forms that can be opened.
    pub(super) fn open_forms(&self, most: usize) -> Vec<OpenForm> {
        let is_open = |form: &&Form| form.created <= self.now && self.now < form.ends && !form.visited;
        let mut open: Vec<&Form> = self.forms.values().filter(is_open).collect();
        open.sort_by_key(|form| std::cmp::Reverse(form.created));
        let open = open.into_iter().take(most);
        open.map(|form| OpenForm {
            url: form.url.clone(),
            user: Arc::clone(&form.user),
            connection: form.connection,
        })
        .collect()
    }

    pub(super) fn form_of(&self, task: &Task) -> Option<&Form> {
        match &task.ending {
            Ending::Form(form) => self.forms.get(form),
            Ending::Completed | Ending::Failed { .. } => None,
        }
    }

    /// Makes the web form that a task leads to.
    pub(super) fn make_form(&mut self, task: &Task, created: Timestamp, user: &UserDoes, rng: &mut Rng) -> Uuid {
        let (id, secret) = (uuid(rng), secret(rng));
        let expires = later(created, self.config.web_form_life);
        let (after, end) = match user {
            UserDoes::Completes { after } => (Some(*after), FormEnd::Completed),
            UserDoes::Aborts { after } => (Some(*after), FormEnd::Aborted),
            UserDoes::FailsWith { after, code } => (Some(*after), FormEnd::Failed(code.clone())),
            UserDoes::Expires | UserDoes::Waits => (None, FormEnd::Expired),
        };
        let after = after.map(|after| after.draw(rng));
        let ends = after.map_or(expires, |after| later(created, after));
        let form = Form {
            id,
            url: format!("{}/webForm/{secret}", self.config.web_form_url),
            task: task.id,
            user: Arc::clone(&task.user),
            connection: task.connection,
            created,
            opens: after.map(|after| later(created, after / 2)),
            end: if ends < expires { end } else { FormEnd::Expired },
            ends: ends.min(expires),
            expires,
            visited: false,
        };
        self.form_secrets.insert(secret, id);
        self.forms.insert(id, form);
        id
    }

    pub(super) fn play(&mut self, id: Uuid, by_hand: ByHand) -> bool {
        let now = self.now;
        let form = self.forms.get_mut(&id);
        let Some(form) = form.filter(|form| form.created <= now && now < form.ends) else {
            return false;
        };
        form.opens = Some(form.opens.map_or(now, |opens| opens.min(now)));
        let end = match by_hand {
            ByHand::Open => return true,
            ByHand::Complete => FormEnd::Completed,
            ByHand::Abort => FormEnd::Aborted,
            ByHand::Expire => FormEnd::Expired,
        };
        (form.ends, form.end) = (now, end);
        let task = form.task;
        self.call_back_finalised(task, now);
        true
    }

    /// Uses a web form's URL. None when it was used, or the form is over, or there is none.
    pub(super) fn visit(&mut self, secret: &str) -> Option<Uuid> {
        let form = self.forms.get_mut(self.form_secrets.get(secret)?)?;
        let open = form.created <= self.now && self.now < form.ends && !form.visited;
        form.visited = true;
        open.then_some(form.id)
    }
}
