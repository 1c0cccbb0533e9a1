//! Sends one command, as a platform does it: `cargo run --example send_a_command -- USER_ID BANK_CONNECTION_ID`
//!
//! It needs the broker that `AMQP_URL` names (else the one of this machine), with the queues that a worker or `bankrefresh topology apply`
//! declared.

use bankrefresh::proto::{RefreshConnection, from_timestamp};
use jiff::Timestamp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use prost::Message as _;
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(user_id), Some(connection)) = (arguments.next(), arguments.next()) else {
        return Err("usage: send_a_command USER_ID BANK_CONNECTION_ID".into());
    };
    let command = RefreshConnection {
        // The id belongs to the wish, not to the message: who sends a command again, because it is not sure that it arrived, keeps the id.
        command_id: Uuid::now_v7().to_string(),
        user_id,
        bank_connection_id: connection.parse()?,
        requested_at: Some(from_timestamp(Timestamp::now())),
        ..RefreshConnection::default()
    };

    let url = std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".to_owned());
    let broker = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = broker.create_channel().await?;
    // Without confirms a lost message is lost in silence.
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default()
        .with_type(ShortString::from("bankrefresh.v1.RefreshConnection"))
        .with_content_type(ShortString::from("application/x-protobuf"))
        .with_delivery_mode(2);
    // `interactive` if a user waits for it, `background` if not.
    let confirm = channel
        .basic_publish(
            "bankrefresh.commands".into(),
            "interactive".into(),
            mandatory,
            &command.encode_to_vec(),
            properties,
        )
        .await?
        .await?;
    // An acknowledgement with a message means that no queue took it and it was returned.
    if !matches!(confirm, Confirmation::Ack(None)) {
        return Err("the broker did not take the command; are its queues declared?".into());
    }
    println!("sent command {}", command.command_id);
    broker.close(200, "bye".into()).await?;
    Ok(())
}
