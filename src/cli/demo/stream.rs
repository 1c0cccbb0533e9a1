//! An endless stream of commands, and now and then a user whom the visitor plays.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::interval;
use uuid::Uuid;

use super::{cases, interactive};
use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvent, BrokerEvents, Outgoing};
use crate::cli::show;
use crate::proto::RefreshConnection;
use crate::refresh::event::EventKind;
use crate::sandbox::Sandbox;

/// How often a command is sent.
const INTERVAL: Duration = Duration::from_millis(700);

/// The user of every so many commands is the visitor.
const VISITORS_SHARE: i64 = 25;

/// How many connections there are; then they come again.
const CONNECTIONS: i64 = 200;

/// The visitor's connections begin here.
const VISITORS: i64 = 1000;

/// Sends commands and prints events until Ctrl-C.
pub(super) async fn run(
    broker: &Broker,
    topology: &Topology,
    sandbox: &Sandbox,
    broker_events: &mut BrokerEvents,
) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "The demo sends a command every {INTERVAL:?}. Where a line says \u{201c}play the user\u{201d}, open its link. Ctrl-C ends the demo.\n"
    );
    let (mut rng, mut number) = (Rng::new(), 0);
    let mut every = interval(INTERVAL);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            _ = every.tick() => {
                broker.publish(vec![next(topology, sandbox, &mut rng, number)]).await?;
                number += 1;
            }
            broker_event = broker_events.recv() => match broker_event {
                Some(BrokerEvent::Delivery(delivery)) => print(&delivery.message),
                Some(BrokerEvent::Connected { .. } | BrokerEvent::CaughtUp { .. }) => {}
                Some(BrokerEvent::Disconnected { reason, .. }) => eprintln!("lost the broker: {reason}"),
                None => return Err("the connection to the broker has ended".into()),
            },
        }
    }
}

fn next(topology: &Topology, sandbox: &Sandbox, rng: &mut Rng, number: i64) -> Outgoing {
    let is_visitors = number % VISITORS_SHARE == 1;
    let (connection, script) = match is_visitors {
        true => (VISITORS + number % CONNECTIONS, cases::asks_the_visitor()),
        false => (1 + number % CONNECTIONS, cases::any(rng)),
    };
    let user_id = format!("user-{connection}");
    sandbox.script(&user_id, connection, script);
    let tenant = ["blue", "green", "red"][usize::from(rng.u8(..3))];
    let command = RefreshConnection {
        command_id: Uuid::now_v7().to_string(),
        user_id,
        bank_connection_id: connection,
        labels: [("tenant".to_owned(), tenant.to_owned())].into(),
        ..RefreshConnection::default()
    };
    interactive(topology, command)
}

fn print(message: &crate::broker::Message) {
    let Some(event) = show::event(message) else { return };
    let is_visitors = event.context().bank_connection_id >= VISITORS;
    match event.kind() {
        EventKind::UserActionRequired(asked) if is_visitors => {
            anstream::println!("{0}play the user{0:#}: {1}", show::style(&event), asked.web_form_url);
        }
        EventKind::UserActionRequired(_) | EventKind::TransactionsUpdated(_) | EventKind::RefreshFailed(_) => {
            anstream::println!("{}", show::line(&event));
        }
    }
}
