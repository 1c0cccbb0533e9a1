//! finAPI's endpoints: one method for each thing that the workflow asks.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use tokio::time::Instant;

use super::breaker::Host;
use super::client::{Control, FinApi, Interrupt, QueryContext};
use super::error;
use super::pipeline::{START_ENDPOINT, TASK_ENDPOINT, TASKS_ENDPOINT, UserRequest};
use super::request::{self, Names};
use super::transport::HttpResponse;
use super::version::AccessCall;
use super::wire::{self, Content, Read, understand};
use crate::id::{AccountId, TaskId, WebFormId};
use crate::refresh::failure::{Failure, FailureClass};
use crate::refresh::model::{Collected, Page, Task};
use crate::refresh::query::{PageQuery, Response, Wanted};
use crate::refresh::{Refresh, earlier};

const CANCEL_ENDPOINT: &str = "POST /api/webForms/{id}/cancel";

/// What came of cancelling a web form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormCancel {
    /// finAPI has cancelled it.
    Done,
    /// finAPI does not: it is over, or there is none.
    Refused,
    /// Trouble on the way. finAPI is not to be asked again before this wait is over.
    Failed(Duration),
    /// As [`Outcome::NeedsToken`](super::Outcome::NeedsToken).
    NeedsToken,
    /// As [`Outcome::NeedsRoom`](super::Outcome::NeedsRoom).
    NeedsRoom(Duration),
    /// As [`Outcome::Stopped`](super::Outcome::Stopped).
    Stopped,
}

/// A task that was created so long ago is over.
const TASK_LIFE: Duration = Duration::from_secs(3600);

/// A task that was created so long before a command does not serve it, unless it still runs: senders' clocks may be wrong by less.
const BEFORE_COMMAND: Duration = Duration::from_secs(120);

/// The most tasks of a page, and the most pages of a user's tasks that are read. It is more than a user can have since any command.
const TASK_PAGE_SIZE: u32 = 500;
const TASK_PAGES_MAX: u32 = 50;

impl FinApi {
    pub(super) async fn background_update(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        // What comes of the update could not be read.
        self.versions.get()?;
        let endpoint = START_ENDPOINT;
        if request::leaves_out_user(&context.refresh.command) {
            self.metrics.user_left_out();
            tracing::warn!("left out user_metadata, because finAPI takes only IPv4 addresses");
        }
        let decided = self.names.get().copied();
        let mut names = decided.unwrap_or(Names::Reference);
        let mut response = self.start(context, names).await?;
        if decided.is_none() && error::is_validation(&response) {
            // A 400 has created no task, so sending again starts nothing twice.
            let other = self.start(context, names.other()).await?;
            // Of two refusals the one counts that is not about the names.
            if !error::is_validation(&other) || is_about_names(&response) && !is_about_names(&other) {
                (names, response) = (names.other(), other);
            }
        }
        let task: Read<wire::Task> = understand(endpoint, Host::WebForm, &response)?;
        if self.names.set(names).is_ok() {
            self.metrics
                .names([Names::Guide, Names::Reference].map(Names::name), Some(names.name()));
            tracing::info!(
                names = names.name(),
                "finAPI started an update by these field names, so the worker uses no others from now on"
            );
        }
        Ok(Response::Task(task.created_at_or(context.refresh.requested_at)))
    }

    async fn start(&self, context: QueryContext<'_>, names: Names) -> Result<HttpResponse, Interrupt> {
        let callbacks = self
            .signer
            .as_ref()
            .map(|signer| signer.callbacks(context.refresh.command.id()));
        let body = request::body(&context.refresh.command, names, callbacks.as_ref());
        let url = Self::at(&self.settings.web_form_url, "api/tasks/backgroundUpdate");
        let request = UserRequest {
            body: body.into(),
            method: Method::POST,
            ..UserRequest::get(context, START_ENDPOINT, Host::WebForm, url)
        };
        self.send_for_user(request).await
    }

    /// Reads the connection's tasks from among the user's, back to those that can't serve the command. A user of many connections has
    /// many of them, and one that is not found is started again.
    pub(super) async fn tasks(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        let endpoint = TASKS_ENDPOINT;
        let id = context.refresh.command.connection_id();
        let mut url = Self::at(&self.settings.web_form_url, "api/tasks");
        let mut tasks: Vec<Task> = Vec::new();
        for page in 1..=TASK_PAGES_MAX {
            context.control.room.next();
            url.set_query(Some(&format!(
                "order=createdAt,desc&page={page}&perPage={TASK_PAGE_SIZE}"
            )));
            let response = self
                .send_for_user(UserRequest::get(context, endpoint, Host::WebForm, url.clone()))
                .await?;
            let read: Read<wire::Tasks> = understand(endpoint, Host::WebForm, &response)?;
            if read.is_without("items") {
                // It is no list without tasks: a task that is not found is started again.
                return Err(error::malformed(endpoint, &response, "a list of tasks that can't be read").into());
            }
            let oldest = read.value.oldest();
            let is_last = read.value.paging.as_ref().is_some_and(|paging| paging.is_last(page));
            tasks.extend(read.value.of(id, context.refresh.requested_at));
            let since = self.tasks_since(context.refresh.requested_at);
            if is_last || oldest.is_none_or(|oldest| oldest < since) {
                return Ok(Response::Tasks(tasks));
            }
        }
        let message = format!("{endpoint} has more than {TASK_PAGES_MAX} pages since the command");
        Err(Failure::unexpected(&message).into())
    }

    /// Since when a task may serve a command that was sent at a moment, by finAPI's clock.
    fn tasks_since(&self, requested_at: Timestamp) -> Timestamp {
        let (now, clocks) = (self.clocks.now().time(), self.clocks());
        let since = earlier(requested_at, BEFORE_COMMAND).min(earlier(now, TASK_LIFE));
        clocks.web_form.map_or(since, |clock| clock.earliest(since))
    }

    pub(super) async fn task(&self, context: QueryContext<'_>, id: &TaskId) -> Result<Response, Interrupt> {
        let url = Self::at_id(&self.settings.web_form_url, "api/tasks", id);
        let request = UserRequest::get(context, TASK_ENDPOINT, Host::WebForm, url);
        let task: Read<wire::Task> = self.read(request).await?;
        Ok(Response::Task(task.created_at_or(context.refresh.requested_at)))
    }

    pub(super) async fn web_form(&self, context: QueryContext<'_>, id: &WebFormId) -> Result<Response, Interrupt> {
        let url = Self::at_id(&self.settings.web_form_url, "api/webForms", id);
        let request = UserRequest::get(context, "GET /api/webForms/{id}", Host::WebForm, url);
        let form: Read<wire::WebForm> = self.read(request).await?;
        Ok(Response::WebForm(form.into()))
    }

    /// Cancels a web form, so that its user can no longer complete it.
    pub async fn cancel_web_form(&self, refresh: &Refresh, id: &WebFormId, control: &Control) -> FormCancel {
        if let Err(wait) = control.room.begin(0) {
            return FormCancel::NeedsRoom(wait);
        }
        let started = Instant::now();
        let context = QueryContext { refresh, control };
        let mut url = Self::at_id(&self.settings.web_form_url, "api/webForms", id);
        Self::add_id(&mut url, "cancel");
        let request = UserRequest {
            method: Method::POST,
            ..UserRequest::get(context, CANCEL_ENDPOINT, Host::WebForm, url)
        };
        let sent = self.send_for_user(request).await;
        let result = sent.and_then(|response| match response.status.is_success() {
            true => Ok(()),
            false => Err(error::classify(CANCEL_ENDPOINT, Host::WebForm.into(), &response).into()),
        });
        let (cancel, class) = match result {
            Ok(()) => (FormCancel::Done, "ok"),
            Err(Interrupt::Failed(failure)) if failure.class.is_final() => (FormCancel::Refused, failure.class.name()),
            Err(Interrupt::Failed(failure)) => {
                let class = failure.class.name();
                let wait = asked_wait::<()>(&Err(failure.into())).unwrap_or_default();
                (FormCancel::Failed(wait), class)
            }
            Err(Interrupt::NeedsToken) => return FormCancel::NeedsToken,
            Err(Interrupt::Stopped) => return FormCancel::Stopped,
        };
        self.metrics.queried("cancel_web_form", class, started.elapsed());
        cancel
    }

    pub(super) async fn connection(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        let mut request = self.access(context, AccessCall::BankConnection)?;
        Self::add_id(&mut request.url, context.refresh.command.connection_id());
        let connection: Read<wire::Connection> = self.read(request).await?;
        Ok(Response::Connection(connection.into()))
    }

    pub(super) async fn collect(&self, context: QueryContext<'_>, wanted: &Wanted) -> Result<Response, Interrupt> {
        let accounts = async {
            match wanted.accounts {
                true => self.accounts(context).await.map(Some),
                false => Ok(None),
            }
        };
        let page = async {
            match &wanted.page {
                Some(page) => self.transactions(context, page).await.map(Some),
                None => Ok(None),
            }
        };
        // Both to their end: if one is the trial of a host that was down, it must not be broken off because the other one was not sent.
        let (accounts, page) = futures_util::join!(accounts, page);
        // Of two failures the one counts that asks for the longer wait.
        let page = if asked_wait(&accounts) > asked_wait(&page) {
            None
        } else {
            page?
        };
        Ok(Response::Collected(Collected {
            page,
            ..accounts?.unwrap_or_default()
        }))
    }

    async fn accounts(&self, context: QueryContext<'_>) -> Result<Collected, Interrupt> {
        let id = context.refresh.command.connection_id();
        let mut request = self.access(context, AccessCall::Accounts)?;
        request.url.set_query(Some(&format!("bankConnectionIds={id}")));
        let accounts: Read<wire::Accounts> = self.read(request).await?;
        Ok(accounts.into())
    }

    async fn transactions(&self, context: QueryContext<'_>, wanted: &PageQuery) -> Result<Page, Interrupt> {
        let ids: Vec<String> = wanted.accounts.iter().map(AccountId::to_string).collect();
        let query = format!(
            "view=bankView&accountIds={}&minImportDate={}&order=id,asc&perPage={}&page={}",
            ids.join(","),
            wire::german_day(wanted.since.max(Timestamp::UNIX_EPOCH)),
            self.settings.page_size,
            wanted.page,
        );
        let mut request = self.access(context, AccessCall::Transactions)?;
        request.url.set_query(Some(&query));
        let read: Read<wire::Transactions> = self.read(request).await?;
        let unexpected = |what: &str| Interrupt::from(Failure::unexpected(&format!("the transactions {what}")));
        let paging = read.value.paging.as_ref();
        let pages = paging.and_then(|paging| paging.page_count).unwrap_or_default();
        if pages.max(wanted.page) > self.settings.pages_max {
            let pages_max = self.settings.pages_max;
            return Err(unexpected(&format!(
                "have more than finapi.pages_max = {pages_max} pages"
            )));
        }
        if paging
            .and_then(|paging| paging.page)
            .is_some_and(|page| page != wanted.page)
        {
            return Err(unexpected("are of another page than the one asked for"));
        }
        // Without a number of pages, a full page is followed by another one.
        let is_full = read.value.len() >= usize::try_from(self.settings.page_size).unwrap_or(usize::MAX);
        let is_last = if pages == 0 { !is_full } else { wanted.page >= pages };
        let is_only = is_last && wanted.page == 1;
        if !(is_only || read.value.is_in_order()) {
            return Err(unexpected("are not in order"));
        }
        Ok(read.page(wanted.since, is_last))
    }

    /// A read of Access, whose URL lacks the id or the query.
    fn access<'a>(&self, context: QueryContext<'a>, call: AccessCall) -> Result<UserRequest<'a>, Failure> {
        let version = self.versions.get()?;
        let endpoint = version.endpoint(call);
        Ok(UserRequest {
            version: Some(version),
            ..UserRequest::get(context, endpoint, Host::Access, self.access_url(endpoint))
        })
    }

    async fn read<T: Content>(&self, request: UserRequest<'_>) -> Result<Read<T>, Interrupt> {
        let (endpoint, host) = (request.endpoint, request.host);
        let response = self.send_for_user(request).await?;
        Ok(understand(endpoint, host, &response)?)
    }
}

/// The wait that came instead of an answer, of any length.
pub(super) fn asked_wait<T>(result: &Result<T, Interrupt>) -> Option<Duration> {
    match result {
        Err(Interrupt::Failed(failure)) => match failure.class {
            FailureClass::RateLimited(wait) => Some(wait.unwrap_or_default()),
            FailureClass::NotSent(wait) => Some(wait),
            _ => None,
        },
        Ok(_) | Err(_) => None,
    }
}

fn is_about_names(response: &HttpResponse) -> bool {
    request::is_about_names(&error::invalid_fields(&response.body))
}
