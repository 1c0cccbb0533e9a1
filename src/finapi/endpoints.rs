//! finAPI's endpoints: one method for each thing that the workflow asks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::breaker::Host;
use super::client::{FinApi, Interrupt, QueryContext};
use super::error;
use super::pipeline::{TASK_ENDPOINT, TASKS_ENDPOINT, UserRequest};
use super::request::{self, Dialect, Names};
use super::transport::HttpResponse;
use super::wire::{self, misunderstood, understand};
use crate::id::{AccountId, TaskId, WebFormId};
use crate::refresh::earlier;
use crate::refresh::failure::Failure;
use crate::refresh::model::{Account, Collected, Task, Transaction};
use crate::refresh::query::{Response, Span};

/// A task that was created so long ago is over.
const TASK_LIFE: Duration = Duration::from_secs(3600);

/// A task that was created so long before a command does not serve it, unless it still runs: senders' clocks may be wrong by less.
const BEFORE_COMMAND: Duration = Duration::from_secs(120);

/// The most tasks of a page, and the most pages of a user's tasks that are read. It is more than a user can have since any command.
const TASK_PAGE_SIZE: u32 = 500;
const TASK_PAGES_MAX: u32 = 50;

impl FinApi {
    pub(super) async fn background_update(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        let endpoint = "POST /api/tasks/backgroundUpdate";
        let names = self.names();
        let response = self.start(context, names).await?;
        let response = if self.settings.dialect == Dialect::Auto && is_refused_for_names(&response) {
            // A 400 has created no task, so sending again starts nothing twice.
            self.start_otherwise(context, names.other()).await?
        } else {
            response
        };
        let task: wire::Task = understand(endpoint, &response)?;
        Ok(Response::Task(task.into()))
    }

    async fn start_otherwise(&self, context: QueryContext<'_>, names: Names) -> Result<HttpResponse, Interrupt> {
        let response = self.start(context, names).await?;
        // What neither set of names can say shows nothing of which one finAPI speaks.
        if !is_refused_for_names(&response) {
            let reference = names == Names::Reference;
            if self.speaks_reference.swap(reference, Ordering::Relaxed) != reference {
                tracing::info!(
                    ?names,
                    "finAPI refused the names of a field; from now on it gets the other ones"
                );
            }
        }
        Ok(response)
    }

    fn names(&self) -> Names {
        if self.speaks_reference.load(Ordering::Relaxed) {
            Names::Reference
        } else {
            Names::Guide
        }
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
            ..UserRequest::get(context, "POST /api/tasks/backgroundUpdate", Host::WebForm, url)
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
            url.set_query(Some(&format!(
                "order=createdAt,desc&page={page}&perPage={TASK_PAGE_SIZE}"
            )));
            let response = self
                .send_for_user(UserRequest::get(context, endpoint, Host::WebForm, url.clone()))
                .await?;
            let read: wire::Tasks = understand(endpoint, &response)?;
            tasks.extend(
                read.of(id)
                    .map_err(|error| misunderstood(endpoint, &response, &error))?,
            );
            let oldest = read
                .oldest()
                .map_err(|error| misunderstood(endpoint, &response, &error))?;
            let since = self.tasks_since(context.refresh.requested_at);
            if page >= read.paging.page_count || oldest.is_none_or(|oldest| oldest < since) {
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
        let task: wire::Task = self.read(request).await?;
        Ok(Response::Task(task.into()))
    }

    pub(super) async fn web_form(&self, context: QueryContext<'_>, id: &WebFormId) -> Result<Response, Interrupt> {
        let url = Self::at_id(&self.settings.web_form_url, "api/webForms", id);
        let request = UserRequest::get(context, "GET /api/webForms/{id}", Host::WebForm, url);
        let form: wire::WebForm = self.read(request).await?;
        Ok(Response::WebForm(form.into()))
    }

    pub(super) async fn connection(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        let id = context.refresh.command.connection_id();
        let url = Self::at_id(&self.settings.access_url, "api/v1/bankConnections", id);
        let request = UserRequest::get(context, "GET /api/v1/bankConnections/{id}", Host::Access, url);
        let connection: wire::Connection = self.read(request).await?;
        Ok(Response::Connection(connection.into()))
    }

    pub(super) async fn collect(
        &self,
        context: QueryContext<'_>,
        accounts: &[AccountId],
        span: Option<Span>,
    ) -> Result<Response, Interrupt> {
        let (accounts, transactions) =
            futures_util::try_join!(self.accounts(context), self.transactions(context, accounts, span))?;
        Ok(Response::Collected(Collected { accounts, transactions }))
    }

    async fn accounts(&self, context: QueryContext<'_>) -> Result<Vec<Account>, Interrupt> {
        let id = context.refresh.command.connection_id();
        let mut url = Self::at(&self.settings.access_url, "api/v1/accounts");
        url.set_query(Some(&format!("bankConnectionIds={id}")));
        let request = UserRequest::get(context, "GET /api/v1/accounts", Host::Access, url);
        let accounts: wire::Accounts = self.read(request).await?;
        Ok(accounts.into())
    }

    async fn transactions(
        &self,
        context: QueryContext<'_>,
        accounts: &[AccountId],
        span: Option<Span>,
    ) -> Result<Vec<Transaction>, Interrupt> {
        let (Some(span), false) = (span, accounts.is_empty()) else {
            return Ok(Vec::new());
        };
        let endpoint = "GET /api/v1/transactions";
        let ids: Vec<String> = accounts.iter().map(AccountId::to_string).collect();
        let query = format!(
            "view=bankView&accountIds={}&minImportDate={}&order=id,ASC&perPage={}",
            ids.join(","),
            wire::german_day(span.since),
            self.settings.page_size,
        );
        let mut url = Self::at(&self.settings.access_url, "api/v1/transactions");
        let mut transactions = Vec::new();
        for page in 1..=self.settings.pages_max {
            url.set_query(Some(&format!("{query}&page={page}")));
            let request = UserRequest::get(context, endpoint, Host::Access, url.clone());
            let read: wire::Transactions = self.read(request).await?;
            let pages = read.paging.page_count;
            transactions.extend(read.imported_in(span));
            if page >= pages {
                return Ok(transactions);
            }
        }
        let message = format!(
            "{endpoint} has more than finapi.pages_max = {} pages",
            self.settings.pages_max
        );
        Err(Failure::unexpected(&message).into())
    }

    async fn read<T: DeserializeOwned>(&self, request: UserRequest<'_>) -> Result<T, Interrupt> {
        let endpoint = request.endpoint;
        let response = self.send_for_user(request).await?;
        Ok(understand(endpoint, &response)?)
    }
}

fn is_refused_for_names(response: &HttpResponse) -> bool {
    response.status == StatusCode::BAD_REQUEST && request::is_about_names(&error::invalid_fields(&response.body))
}
