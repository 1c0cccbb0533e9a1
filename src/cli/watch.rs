//! `bankrefresh watch`

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use super::{Ended, show};
use crate::broker::topology::Topology;
use crate::broker::{BrokerEvent, Delivery, Message, Subscription, rabbit};
use crate::config::Config;
use crate::message::json;
use crate::plain::{plain, plain_json};

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// How to print an event
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The routing key of the events to print; `#` is all
    #[arg(long = "key", value_name = "KEY", default_value = "#")]
    keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line for each event
    Text,
    /// One JSON object for each event, with all of its fields
    Json,
}

pub(super) async fn run(args: Args, config: &Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let topology = Topology::new(&config.amqp.prefix);
    let ephemeral = Subscription::Ephemeral {
        exchange: topology.events(),
        keys: args.keys,
        optional: false,
    };
    let settings = config.amqp.named("watch");
    let (_rabbit, mut broker_events) = rabbit::connect(settings, topology, vec![ephemeral])?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match broker_events.recv().await {
            Some(BrokerEvent::Connected { .. }) => eprintln!("watching: events from now on are shown"),
            Some(BrokerEvent::Delivery(Delivery { flaw: Some(flaw), .. })) => {
                eprintln!("skipped a message that cannot be read ({flaw:?})");
            }
            Some(BrokerEvent::Delivery(delivery)) => {
                print(&delivery.message, args.format)?;
                left -= 1;
            }
            Some(BrokerEvent::CaughtUp { .. }) => {}
            Some(BrokerEvent::Disconnected { reason, .. }) => {
                let reason = plain(&reason);
                eprintln!("lost the broker ({reason}); events are not shown until it is back");
            }
            None => return Err("the connection to the broker has ended".into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(message: &Message, format: Format) -> Result<(), Box<dyn std::error::Error>> {
    let kind = message.properties.kind.as_deref().unwrap_or_default();
    match (format, show::event(message)) {
        (Format::Text, Some(event)) => anstream::println!("{}", show::line(&event)),
        (Format::Json, Some(_)) => {
            let event = serde_json::json!({"type": kind, "event": json(kind, &message.body)?});
            println!("{}", plain_json(&event.to_string()));
        }
        (_, None) => eprintln!("skipped a message of type {kind:?}, which this release does not know as an event"),
    }
    Ok(())
}
