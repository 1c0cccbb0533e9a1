//! `bankrefresh send`

mod choices;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use self::choices::{AccountType, Import, SavedSetting};
use super::{Ended, batch, show};
use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvent, BrokerEvents, Outgoing, Subscription, connected, rabbit};
use crate::config::Config;
use crate::message;
use crate::proto::{self, RefreshConnection};
use crate::refresh::event::EventKind;
use crate::refresh::{Command, Envelope};

/// The exit code when a refresh failed.
const FAILED: u8 = 1;
/// The exit code when not every outcome came in time.
pub(super) const TIMED_OUT: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    group(ArgGroup::new("one").args(["user", "connections", "import_new_accounts", "account_types", "edit_saved_settings", "max_age",
        "labels", "command_id", "every", "wait"]).multiple(true).conflicts_with("from")),
    after_help = "Exit codes: 0 the commands are published, and with --wait or --from every connection was updated; 1 a refresh failed \
    (with --wait), or it could not start or continue; 2 the command line is wrong; 3 not every outcome came in time, or it was stopped; \
    4 with --from: every command has its outcome, and some failed or bad lines were skipped."
)]
pub(super) struct Args {
    /// The finAPI user who owns the connections. `{}` becomes the connection's id, for users who have one connection each
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "from",
        default_value = "",
        hide_default_value = true
    )]
    user: String,
    /// A bank connection to refresh, or a range of them (1-200). Each gets a command of its own
    #[arg(long = "connection", value_name = "ID", required_unless_present = "from", value_parser = connections)]
    connections: Vec<std::ops::RangeInclusive<i64>>,
    /// The lane: interactive if a user waits, background if not [default: interactive; with --from: background]
    #[arg(long, value_enum)]
    lane: Option<Lane>,
    /// Import accounts that are new at the bank
    #[arg(long, value_enum, value_name = "MODE")]
    import_new_accounts: Option<Import>,
    /// Import only accounts of this type (with --import-new-accounts)
    #[arg(long = "account-type", value_enum, value_name = "TYPE")]
    account_types: Vec<AccountType>,
    /// Let the user edit what is saved at finAPI
    #[arg(long, value_enum, value_name = "SETTING")]
    edit_saved_settings: Vec<SavedSetting>,
    /// Leave the bank alone if the connection was updated within this time, for example 4h
    #[arg(long, value_name = "DURATION", value_parser = humantime)]
    max_age: Option<Duration>,
    /// A label that comes back in every event
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The command's id, to publish the same command again (with one connection only)
    #[arg(long, value_name = "UUID")]
    command_id: Option<Uuid>,
    /// Publish one command after another at this interval, over all connections again and again, until stopped
    #[arg(long, value_name = "DURATION", value_parser = humantime, conflicts_with_all = ["wait", "command_id"])]
    every: Option<Duration>,
    /// Show the events until every command has its outcome
    #[arg(long)]
    wait: bool,
    /// The longest time to wait (with --wait); with --from, the longest in which nothing happens
    #[arg(long, value_name = "DURATION", value_parser = humantime, default_value = "30m")]
    timeout: Duration,
    #[command(flatten)]
    batch: batch::BatchArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Lane {
    Interactive,
    Background,
}

impl Lane {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }
}

fn connections(text: &str) -> Result<std::ops::RangeInclusive<i64>, String> {
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("{text:?} is not a connection id"))
    };
    match text.split_once('-') {
        Some((first, last)) => Ok(number(first)?..=number(last)?),
        None => number(text).map(|id| id..=id),
    }
}

pub(super) fn humantime(text: &str) -> Result<Duration, String> {
    let value = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
    humantime_serde::deserialize(value).map_err(|_| "must be a duration such as 90s, 4h or 1h 30m".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) async fn run(args: Args, config: &Config) -> Ended {
    if let Some(from) = &args.batch.from {
        let lane = args.lane.unwrap_or(Lane::Background);
        return batch::run(&args.batch, from, lane, args.timeout, config).await;
    }
    super::log_warnings(&config.telemetry);
    let commands = args.commands()?;
    let topology = Topology::new(&config.amqp.prefix);
    let ephemeral = args.wait.then(|| Subscription::Ephemeral {
        exchange: topology.events(),
        keys: vec!["#".to_owned()],
        optional: false,
    });
    let settings = config.amqp.named("send");
    let connect_timeout = settings.connect_timeout;
    let (rabbit, mut broker_events) = rabbit::connect(settings, topology.clone(), ephemeral.into_iter().collect())?;
    connected(&mut broker_events, connect_timeout).await?;
    let broker = Broker::Rabbit(rabbit);
    let ids: BTreeSet<Key> = commands.iter().map(key).collect();
    if let Some(every) = args.every {
        return steadily(&args, every, &broker, &topology).await;
    }
    let messages = commands.into_iter().map(|command| args.message(&topology, command));
    broker.publish(messages.collect()).await?;
    match &ids.first() {
        Some((id, _, _)) if ids.len() == 1 => println!("published command {id}"),
        _ => println!("published {} commands", ids.len()),
    }
    let code = match args.wait {
        true => follow(&mut broker_events, ids, Instant::now() + args.timeout).await?,
        false => ExitCode::SUCCESS,
    };
    broker.close().await;
    Ok(code)
}

/// Publishes one command after another. Ends only with an error, or with the process.
async fn steadily(args: &Args, every: Duration, broker: &Broker, topology: &Topology) -> Ended {
    println!("publishing one command every {every:?} until stopped");
    for id in args.connections.iter().cloned().flatten().cycle() {
        let message = args.message(topology, args.command(id)?);
        broker.publish(vec![message]).await?;
        tokio::time::sleep(every).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a refresh is known by: somebody else may have used the command's id, too.
type Key = (String, String, i64);

fn key(command: &RefreshConnection) -> Key {
    let RefreshConnection {
        command_id,
        user_id,
        bank_connection_id,
        ..
    } = command;
    (command_id.clone(), user_id.clone(), *bank_connection_id)
}

/// Shows the events of commands until each has its outcome.
async fn follow(
    broker_events: &mut BrokerEvents,
    mut ids: BTreeSet<Key>,
    deadline: Instant,
) -> Result<ExitCode, String> {
    let mut failed = 0;
    let all = ids.len();
    while !ids.is_empty() {
        let Ok(broker_event) = timeout_at(deadline, broker_events.recv()).await else {
            eprintln!("{} of {all} commands have no outcome yet", ids.len());
            return Ok(ExitCode::from(TIMED_OUT));
        };
        let delivery = match broker_event {
            Some(BrokerEvent::Delivery(delivery)) => delivery,
            Some(BrokerEvent::Connected { .. } | BrokerEvent::CaughtUp { .. }) => continue,
            Some(BrokerEvent::Disconnected { reason, .. }) => {
                return Err(format!(
                    "lost the broker ({reason}), so later events are not shown; the workers continue"
                ));
            }
            None => return Err("the connection to the broker has ended".to_owned()),
        };
        let Some(event) = show::event(&delivery.message) else {
            continue;
        };
        let context = event.context();
        let id = (
            context.command_id.clone(),
            context.user_id.clone(),
            context.bank_connection_id,
        );
        if !ids.contains(&id) {
            continue;
        }
        anstream::println!("{}", show::line(&event));
        if event.is_last() {
            ids.remove(&id);
        }
        failed += usize::from(matches!(event.kind(), EventKind::RefreshFailed(_)));
    }
    if all > 1 {
        println!("{} updated, {failed} failed", all - failed);
    }
    Ok(ExitCode::from(if failed > 0 { FAILED } else { 0 }))
}

impl Args {
    fn commands(&self) -> Result<Vec<RefreshConnection>, String> {
        let ids: Vec<i64> = self.connections.iter().cloned().flatten().collect();
        if self.command_id.is_some() && ids.len() != 1 {
            return Err("--command-id goes with exactly one --connection".to_owned());
        }
        ids.into_iter().map(|id| self.command(id)).collect()
    }

    fn message(&self, topology: &Topology, command: RefreshConnection) -> Outgoing {
        let envelope = Envelope {
            interactive: self.lane != Some(Lane::Background),
            correlation_id: command.command_id.clone(),
            ..Envelope::default()
        };
        message::command(topology, command, &envelope, Timestamp::now())
    }

    fn command(&self, bank_connection_id: i64) -> Result<RefreshConnection, String> {
        let account_type = |kind: &AccountType| i32::from(proto::AccountType::from(*kind));
        let saved_setting = |setting: &SavedSetting| i32::from(proto::SavedSetting::from(*setting));
        let command = RefreshConnection {
            command_id: self.command_id.unwrap_or_else(Uuid::now_v7).to_string(),
            user_id: self.user.replace("{}", &bank_connection_id.to_string()),
            bank_connection_id,
            import_new_accounts: self
                .import_new_accounts
                .map(proto::ImportNewAccounts::from)
                .unwrap_or_default()
                .into(),
            account_types: self.account_types.iter().map(account_type).collect(),
            edit_saved_settings: self.edit_saved_settings.iter().map(saved_setting).collect(),
            max_age: self.max_age.and_then(|age| prost_types::Duration::try_from(age).ok()),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..RefreshConnection::default()
        };
        Command::parse(command.clone()).map_err(|invalid| invalid.to_string())?;
        Ok(command)
    }
}
