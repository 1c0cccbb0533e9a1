//! Reads events, as a service downstream does it: `cargo run --example consume_events`
//!
//! It needs the broker that `AMQP_URL` names (else the one of this machine). Its queue is durable, so events wait in it while this does not run.

use std::collections::HashSet;

use bankrefresh::plain::plain;
use bankrefresh::proto::{RefreshFailed, TransactionsUpdated, UserActionRequired};
use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use prost::Message as _;

const QUEUE: &str = "example.refresh-events";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".to_owned());
    let broker = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = broker.create_channel().await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), durable, quorum).await?;
    let (exchange, every) = ("bankrefresh.events", "#");
    channel
        .queue_bind(
            QUEUE.into(),
            exchange.into(),
            every.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel
        .basic_consume(QUEUE.into(), "".into(), options, FieldTable::default())
        .await?;

    // An event may come twice, and then carries the same id. A real service keeps the ids where it keeps its data.
    let mut seen = HashSet::new();
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        let kind = delivery.properties.kind().as_ref().map_or("", |kind| kind.as_str());
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
        if id.is_none_or(|id| seen.insert(id)) {
            print(kind, &delivery.data)?;
        }
        // Only now: what is acknowledged does not come again.
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

fn print(kind: &str, body: &[u8]) -> Result<(), prost::DecodeError> {
    match kind {
        "bankrefresh.v1.TransactionsUpdated" => {
            let event = TransactionsUpdated::decode(body)?;
            let end = if event.last { ", the last one" } else { "" };
            println!(
                "part {}{end}: {} transactions, {} new in all",
                event.part,
                event.transactions.len(),
                event.new_transactions
            );
        }
        "bankrefresh.v1.UserActionRequired" => {
            let event = UserActionRequired::decode(body)?;
            println!(
                "the user must open a web form because of {}",
                event.reason().as_str_name()
            );
        }
        "bankrefresh.v1.RefreshFailed" => {
            let event = RefreshFailed::decode(body)?;
            println!("failed: {} ({})", event.reason().as_str_name(), plain(&event.message));
        }
        newer => println!("an event of a type that this service does not know: {}", plain(newer)),
    }
    Ok(())
}
