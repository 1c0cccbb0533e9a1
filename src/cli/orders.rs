//! `bankrefresh pause`, `resume`, `paused` and `cancel`

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Ended;
use super::send::humantime;
use crate::broker::topology::Topology;
use crate::broker::{BrokerEvent, Outgoing, Subscription, connected, rabbit};
use crate::config::Config;
use crate::id::UserId;
use crate::message;
use crate::orders::{self, NotGiven};
use crate::proto::{CancelRefresh, ResumeRefreshes, from_timestamp};
use crate::refresh::later;
use crate::refresh::order::{Order, Orders, Pause, Target};

/// How long all orders may take to be read.
const READ_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
#[command(
    after_help = "What has a task or a web form continues to its outcome. A paused lane is not consumed; other commands that are \
    paused wait in the delay queues. The time does not count towards limits.refresh."
)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    what: What,
    /// End by itself after this time, for example 2h (30 days at most)
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime)]
    lasts: Option<Duration>,
    /// Why, for other operators
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Parser)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Parser)]
#[command(
    after_help = "Each refresh ends with RefreshFailed (CANCELLED), and its web form is cancelled at finAPI. One that is parked ends \
    when it comes back, after 30 minutes at the latest. Commands that are sent later are not cancelled."
)]
pub(super) struct CancelArgs {
    /// The finAPI user whose refreshes end
    #[arg(long, value_name = "ID")]
    user: UserId,
    /// End the refresh of this command alone
    #[arg(long, value_name = "UUID", requires = "connection")]
    command_id: Option<Uuid>,
    /// The bank connection of that command
    #[arg(long, value_name = "ID", requires = "command_id", value_parser = clap::value_parser!(i64).range(1..))]
    connection: Option<i64>,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Every start
    #[arg(long)]
    everything: bool,
    /// The commands of one lane
    #[arg(long, value_enum, value_name = "LANE")]
    lane: Option<Lane>,
    /// The connections to a bank, by finAPI's id of the bank
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    bank: Option<i64>,
    /// The connections of a finAPI user
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
}

#[derive(Debug, clap::Args)]
struct Who {
    /// Who says so, for other operators
    #[arg(long, value_name = "NAME", default_value_t = name())]
    by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lane {
    Interactive,
    Background,
}

/// The user of this machine, and the machine.
fn name() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}").chars().take(100).collect()
}

impl What {
    fn target(self) -> Target {
        let lane = |lane| Target::Lane {
            interactive: lane == Lane::Interactive,
        };
        let bank = |id: i64| Target::Bank(id.into());
        let some = self.lane.map(lane).or(self.bank.map(bank));
        some.or(self.user.map(Target::User)).unwrap_or(Target::Everything)
    }
}

pub(super) async fn pause(args: PauseArgs, config: &Config) -> Ended {
    let now = Timestamp::now();
    let pause = Pause {
        target: args.what.target(),
        since: now,
        until: args.lasts.map(|lasts| later(now, lasts)),
        by: args.who.by,
        reason: args.reason,
    };
    let order = pause.clone().into();
    Order::pause(order, now).map_err(|invalid| invalid.to_string())?;
    let topology = Topology::new(&config.amqp.prefix);
    give(config, message::pause(&topology, &pause.clone().into(), now)).await?;
    println!("paused {}", line(&pause));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(args: ResumeArgs, config: &Config) -> Ended {
    let now = Timestamp::now();
    let target = args.what.target();
    let order = ResumeRefreshes {
        target: Some(target.clone().into()),
        resumed_at: Some(from_timestamp(now)),
        by: args.who.by,
    };
    Order::resume(order.clone(), now).map_err(|invalid| invalid.to_string())?;
    let topology = Topology::new(&config.amqp.prefix);
    give(config, message::resume(&topology, &order, now)).await?;
    println!("resumed {}", target.named());
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cancel(args: CancelArgs, config: &Config) -> Ended {
    let now = Timestamp::now();
    let order = CancelRefresh {
        user_id: args.user.to_string(),
        command_id: args.command_id.map(|id| id.to_string()).unwrap_or_default(),
        bank_connection_id: args.connection.unwrap_or_default(),
        requested_at: Some(from_timestamp(now)),
        by: args.who.by,
    };
    Order::cancel(order.clone(), now).map_err(|invalid| invalid.to_string())?;
    let topology = Topology::new(&config.amqp.prefix);
    give(config, message::cancel(&topology, &order, now)).await?;
    println!("cancelled what user {} asked for until {now}", args.user);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn paused(config: &Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let orders = read(config).await?;
    let now = Timestamp::now();
    let lines: Vec<String> = orders.pauses(now).map(line).collect();
    match lines.is_empty() {
        true => println!("nothing is paused"),
        false => println!("{}", lines.join("\n")),
    }
    Ok(ExitCode::SUCCESS)
}

/// All orders that there are.
async fn read(config: &Config) -> Result<Orders, Box<dyn std::error::Error>> {
    let topology = Topology::new(&config.amqp.prefix);
    let stream = topology.control();
    let subscription = Subscription::Stream { name: stream.clone() };
    let settings = config.amqp.named("paused");
    let (rabbit, mut broker_events) = rabbit::connect(settings.clone(), topology, vec![subscription])?;
    connected(&mut broker_events, settings.connect_timeout).await?;
    if !rabbit.consumes(&stream) {
        return Err(format!("the stream {stream:?} can't be read: is it there, and may this user read it?").into());
    }
    let mut orders = Orders::default();
    let deadline = Instant::now() + READ_MAX;
    loop {
        match timeout_at(deadline, broker_events.recv()).await {
            Ok(Some(BrokerEvent::Delivery(delivery))) => {
                let now = Timestamp::now();
                match message::order(&delivery, now) {
                    Ok(order) => drop(orders.follow(order, now)),
                    Err(reason) => eprintln!("skipped an order that cannot be read ({reason})"),
                }
            }
            Ok(Some(BrokerEvent::CaughtUp { .. })) => break,
            Ok(Some(BrokerEvent::Connected { .. })) => {}
            Ok(Some(BrokerEvent::Disconnected { reason, .. })) => return Err(reason.into()),
            Ok(None) | Err(_) => return Err(format!("the stream {stream:?} could not be read in time").into()),
        }
    }
    rabbit.close().await;
    Ok(orders)
}

async fn give(config: &Config, order: Outgoing) -> Result<(), NotGiven> {
    super::log_warnings(&config.telemetry);
    let topology = Topology::new(&config.amqp.prefix);
    orders::give(config.amqp.named("orders"), topology, order).await
}

fn line(pause: &Pause) -> String {
    let (what, since) = (pause.target.named(), pause.since);
    let until = match pause.until {
        Some(until) => format!("until {until}"),
        None => format!("until it is resumed, or {}", pause.ends_at()),
    };
    let reason = match pause.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!("{what} since {since} {until}, by {}{reason}", pause.by)
}
