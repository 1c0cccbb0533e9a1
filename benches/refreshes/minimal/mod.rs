//! The plain worker that an engineer would write in an afternoon with lapin and reqwest. It shows the price of our promises, because it
//! makes none: it starts a second update after a crash, gives up at the first error, knows no web forms and waits for whoever is slow.
//!
//! Each command is a task of its own: start the update, poll it once a second, read what it brought, publish, acknowledge.

mod wire;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bankrefresh::clock::GERMANY;
use bankrefresh::proto::{
    Account, Bank, RefreshConnection, RefreshContext, Transaction, TransactionsUpdated, from_timestamp,
};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use prost::Message as _;
use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::sleep;
use uuid::Uuid;

use self::wire::{Accounts, BankConnection, Credentials, Page, Task, Token};
use crate::options::MinimalPlan;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CALLS_MAX: usize = 32;
const POLL_EVERY: Duration = Duration::from_secs(1);

struct Minimal {
    http: Client,
    calls: Semaphore,
    finapi: String,
    /// The token of each user, and when it ends.
    tokens: Mutex<HashMap<String, (String, Instant)>>,
    publishing: Channel,
    exchange: String,
}

/// Takes commands until it is killed.
pub async fn run(plan: &MinimalPlan) -> Result<()> {
    let connection = Connection::connect(&plan.amqp, ConnectionProperties::default()).await?;
    let (taking, publishing) = (connection.create_channel().await?, connection.create_channel().await?);
    publishing.confirm_select(ConfirmSelectOptions::default()).await?;
    taking.basic_qos(plan.in_flight, BasicQosOptions::default()).await?;
    let (queue, options) = (
        format!("{}.commands.background", plan.prefix),
        BasicConsumeOptions::default(),
    );
    let mut commands = taking
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    let minimal = Arc::new(Minimal {
        http: plan.protocol.client(),
        calls: Semaphore::new(CALLS_MAX),
        finapi: plan.finapi.clone(),
        tokens: Mutex::default(),
        publishing,
        exchange: format!("{}.events", plan.prefix),
    });
    while let Some(delivery) = commands.next().await {
        let (minimal, delivery) = (Arc::clone(&minimal), delivery?);
        tokio::spawn(async move {
            let acknowledged = match minimal.work_on(&delivery).await {
                Ok(()) => delivery.ack(BasicAckOptions::default()).await,
                Err(error) => {
                    eprintln!("a refresh failed: {error}");
                    delivery.nack(BasicNackOptions::default()).await
                }
            };
            acknowledged.expect("a broker");
        });
    }
    Ok(())
}

impl Minimal {
    async fn work_on(&self, delivery: &Delivery) -> Result<()> {
        let event = self.refresh(RefreshConnection::decode(&*delivery.data)?).await?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_type("bankrefresh.v1.TransactionsUpdated".into())
            .with_message_id(Uuid::now_v7().to_string().into());
        let (exchange, key) = (self.exchange.as_str().into(), "transactions.updated".into());
        let (options, body) = (BasicPublishOptions::default(), event.encode_to_vec());
        let sent = self
            .publishing
            .basic_publish(exchange, key, options, &body, properties)
            .await?;
        if sent.await?.is_ack() {
            Ok(())
        } else {
            Err("the broker refused an event".into())
        }
    }

    async fn refresh(&self, command: RefreshConnection) -> Result<TransactionsUpdated> {
        let (user, id) = (&command.user_id, command.bank_connection_id);
        let body = format!("{{\"bankConnectionIds\":[{id}]}}");
        let started = self.http.post(format!("{}/api/tasks/backgroundUpdate", self.finapi));
        let started = started.header("content-type", "application/json").body(body);
        let mut task: Task = self.call(user, started).await?;
        while ["NOT_YET_STARTED", "IN_PROGRESS"].contains(&task.status.as_str()) {
            sleep(POLL_EVERY).await;
            task = self.get(user, format!("api/tasks/{}", task.id)).await?;
        }
        if task.status != "COMPLETED" {
            return Err(format!("the task is {}", task.status).into());
        }
        let read: BankConnection = self.get(user, format!("api/v2/bankConnections/{id}")).await?;
        let accounts: Accounts = self
            .get(user, format!("api/v2/accounts?bankConnectionIds={id}"))
            .await?;
        let ids: Vec<String> = accounts.accounts.iter().map(|account| account.id.to_string()).collect();
        // finAPI's days and import dates are German.
        let since: Timestamp = format!("{}Z", &task.created_at[..23]).parse()?;
        let since = GERMANY.to_datetime(since);
        let (day, since) = (
            since.strftime("%Y-%m-%d"),
            since.strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string(),
        );
        let query = format!(
            "view=bankView&accountIds={}&minImportDate={day}&order=id,ASC&perPage=500&page=1",
            ids.join(",")
        );
        let page: Page = self.get(user, format!("api/v2/transactions?{query}")).await?;
        let new = page
            .transactions
            .into_iter()
            .filter(|transaction| transaction.import_date >= since);
        let transactions: Vec<Transaction> = new.map(Transaction::from).collect();
        Ok(TransactionsUpdated {
            refresh: Some(RefreshContext {
                command_id: command.command_id,
                user_id: command.user_id,
                bank_connection_id: id,
                task_id: task.id,
                event_id: Uuid::now_v7().to_string(),
                occurred_at: Some(from_timestamp(Timestamp::now())),
                labels: command.labels,
                ..RefreshContext::default()
            }),
            bank: Some(Bank {
                id: read.bank.id,
                name: read.bank.name,
                ..Bank::default()
            }),
            accounts: accounts.accounts.into_iter().map(Account::from).collect(),
            new_transactions: transactions.len() as u32,
            transactions,
            part: 1,
            last: true,
            ..TransactionsUpdated::default()
        })
    }

    async fn get<T: DeserializeOwned>(&self, user: &str, path: String) -> Result<T> {
        self.call(user, self.http.get(format!("{}/{path}", self.finapi))).await
    }

    async fn call<T: DeserializeOwned>(&self, user: &str, request: RequestBuilder) -> Result<T> {
        let _permit = self.calls.acquire().await?;
        let token = self.token(user).await?;
        answer(request.bearer_auth(token).header("accept", "application/json")).await
    }

    async fn token(&self, user: &str) -> Result<String> {
        let mut tokens = self.tokens.lock().await;
        if let Some((token, _)) = tokens.get(user).filter(|(_, ends)| *ends > Instant::now()) {
            return Ok(token.clone());
        }
        let credentials = self.http.get(format!("{}/sandbox/credentials/{user}", self.finapi));
        let Credentials { password } = answer(credentials).await?;
        let form = format!(
            "grant_type=password&username={user}&password={password}&client_id=sandbox-client&client_secret=sandbox-secret"
        );
        let request = self.http.post(format!("{}/api/v2/oauth/token", self.finapi)).body(form);
        let token: Token = answer(request.header("content-type", "application/x-www-form-urlencoded")).await?;
        let ends = Instant::now() + Duration::from_secs(token.expires_in).saturating_sub(Duration::from_secs(60));
        tokens.insert(user.to_owned(), (token.access_token.clone(), ends));
        Ok(token.access_token)
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let response = request.send().await?.error_for_status()?;
    Ok(serde_json::from_slice(&response.bytes().await?)?)
}
