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
use super::wire::{self, Read, understand};
use crate::id::{AccountId, TaskId, WebFormId};
use crate::refresh::failure::Failure;
use crate::refresh::model::{Collected, Task};
use crate::refresh::query::{Response, Span};

/// A task that was created so long before a command is over when it comes.
const TASK_LIFE: Duration = Duration::from_secs(3600);

/// The most pages of a user's tasks that are read.
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
        let task: Read<wire::Task> = understand(endpoint, Host::WebForm, &response)?;
        Ok(Response::Task(task.created_at_or(context.refresh.requested_at)))
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

    /// Reads the connection's tasks from among the user's, back to those that can't run any more. A user of many connections has
    /// many of them, and one that is not found is started again.
    pub(super) async fn tasks(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        let since = context
            .refresh
            .requested_at
            .saturating_sub(TASK_LIFE)
            .unwrap_or(Timestamp::MIN);
        let endpoint = TASKS_ENDPOINT;
        let id = context.refresh.command.connection_id();
        let mut url = Self::at(&self.settings.web_form_url, "api/tasks");
        let mut tasks: Vec<Task> = Vec::new();
        for page in 1..=TASK_PAGES_MAX {
            url.set_query(Some(&format!("order=createdAt,desc&page={page}&perPage=20")));
            let response = self
                .send_for_user(UserRequest::get(context, endpoint, Host::WebForm, url.clone()))
                .await?;
            let read: Read<wire::Tasks> = understand(endpoint, Host::WebForm, &response)?;
            let oldest = read.value.oldest();
            let is_last = read.value.paging.as_ref().is_some_and(|paging| paging.is_last(page));
            tasks.extend(read.value.of(id, context.refresh.requested_at));
            if is_last || oldest.is_none_or(|oldest| oldest < since) {
                break;
            }
        }
        Ok(Response::Tasks(tasks))
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

    pub(super) async fn connection(&self, context: QueryContext<'_>) -> Result<Response, Interrupt> {
        let id = context.refresh.command.connection_id();
        let url = Self::at_id(&self.settings.access_url, "api/v1/bankConnections", id);
        let request = UserRequest::get(context, "GET /api/v1/bankConnections/{id}", Host::Access, url);
        let connection: Read<wire::Connection> = self.read(request).await?;
        Ok(Response::Connection(connection.into()))
    }

    pub(super) async fn collect(
        &self,
        context: QueryContext<'_>,
        accounts: &[AccountId],
        span: Option<Span>,
    ) -> Result<Response, Interrupt> {
        let mut transactions = Collected::default();
        let (accounts, ()) = futures_util::try_join!(
            self.accounts(context),
            self.transactions(context, accounts, span, &mut transactions)
        )?;
        let mut unreadable = accounts.unreadable;
        unreadable.append(&mut transactions.unreadable);
        Ok(Response::Collected(Collected {
            accounts: accounts.accounts,
            skipped_accounts: accounts.skipped_accounts,
            unreadable,
            ..transactions
        }))
    }

    async fn accounts(&self, context: QueryContext<'_>) -> Result<Collected, Interrupt> {
        let id = context.refresh.command.connection_id();
        let mut url = Self::at(&self.settings.access_url, "api/v1/accounts");
        url.set_query(Some(&format!("bankConnectionIds={id}")));
        let request = UserRequest::get(context, "GET /api/v1/accounts", Host::Access, url);
        let accounts: Read<wire::Accounts> = self.read(request).await?;
        Ok(accounts.into())
    }

    async fn transactions(
        &self,
        context: QueryContext<'_>,
        accounts: &[AccountId],
        span: Option<Span>,
        collected: &mut Collected,
    ) -> Result<(), Interrupt> {
        let (Some(span), false) = (span, accounts.is_empty()) else {
            return Ok(());
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
        for page in 1..=self.settings.pages_max {
            url.set_query(Some(&format!("{query}&page={page}")));
            let request = UserRequest::get(context, endpoint, Host::Access, url.clone());
            let read: Read<wire::Transactions> = self.read(request).await?;
            let is_empty = read.value.is_empty();
            let is_last = read.value.paging.as_ref().is_some_and(|paging| paging.is_last(page));
            read.add_imported_in(span, collected);
            if is_last || is_empty {
                return Ok(());
            }
        }
        let message = format!(
            "{endpoint} has more than finapi.pages_max = {} pages",
            self.settings.pages_max
        );
        Err(Failure::unexpected(&message).into())
    }

    async fn read<T: DeserializeOwned>(&self, request: UserRequest<'_>) -> Result<Read<T>, Interrupt> {
        let (endpoint, host) = (request.endpoint, request.host);
        let response = self.send_for_user(request).await?;
        Ok(understand(endpoint, host, &response)?)
    }
}

fn is_refused_for_names(response: &HttpResponse) -> bool {
    response.status == StatusCode::BAD_REQUEST && request::is_about_names(&error::invalid_fields(&response.body))
}
