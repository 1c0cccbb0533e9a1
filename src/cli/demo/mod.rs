//! `bankrefresh demo`

mod cases;
mod stream;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

use super::{Ended, show};
use crate::broker::topology::Topology;
use crate::broker::{Broker, BrokerEvent, BrokerEvents, Outgoing, Subscription, connected, memory, rabbit};
use crate::clock::Clock;
use crate::console::{self, Console};
use crate::finapi::credentials::Credentials;
use crate::finapi::transport::Transport;
use crate::finapi::{self, FinApi, breaker};
use crate::message;
use crate::proto::RefreshConnection;
use crate::refresh::event::Event;
use crate::refresh::{Envelope, Policy};
use crate::sandbox::{self, Sandbox, SandboxConfig};
use crate::setting::HttpUrl;
use crate::telemetry;
use crate::worker::{self, Worker, WorkerParts, subscriptions};
use cases::{UseCase, use_cases};

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Use this RabbitMQ instead of a broker in this process. All names begin with bankrefresh-demo.
    #[arg(long, value_name = "URL")]
    amqp_url: Option<SecretString>,
    /// How many workers share the work
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: u32,
    /// Send commands until Ctrl-C, and play some of the users yourself
    #[arg(long)]
    open_end: bool,
}

/// Nothing here takes longer.
const TIME_MAX: Duration = Duration::from_secs(55);

/// How long web forms last here; finAPI's last 20 minutes.
const WEB_FORM_LIFE: Duration = Duration::from_secs(12);

/// Enough for somebody who reads the page first.
const VISITORS_FORM_LIFE: Duration = Duration::from_secs(180);

/// A use case under way.
struct Row {
    name: &'static str,
    command_id: String,
    events: Vec<Event>,
    took: Option<Duration>,
}

pub(super) async fn run(args: Args) -> Ended {
    super::log_warnings(&telemetry::Settings::default());
    let cases = use_cases();
    let form_life = if args.open_end {
        VISITORS_FORM_LIFE
    } else {
        WEB_FORM_LIFE
    };
    let (url, sandbox) = serve_sandbox(form_life).await?;
    println!("A simulated finAPI is at {url} ({url}sandbox shows what it was asked).");
    let topology = Topology::new("bankrefresh-demo");
    let server = memory::Server::new(&topology);
    let connect = |name: &str, subscriptions: Vec<Subscription>| -> Result<(Broker, BrokerEvents), rabbit::Error> {
        match &args.amqp_url {
            None => {
                let (client, broker_events) = server.connect(subscriptions);
                Ok((Broker::Memory(client), broker_events))
            }
            Some(url) => {
                let settings = rabbit::Settings::new(url.expose_secret().parse()?).named(name);
                let (rabbit, broker_events) = rabbit::connect(settings, topology.clone(), subscriptions)?;
                Ok((Broker::Rabbit(rabbit), broker_events))
            }
        }
    };
    let ephemeral = Subscription::Ephemeral {
        exchange: topology.events(),
        keys: vec!["#".to_owned()],
        optional: false,
    };
    let (broker, mut broker_events) = connect("demo", vec![ephemeral])?;
    connected(&mut broker_events, Duration::from_secs(10)).await?;
    let (looks_on, console_events) = connect("demo console", console::subscriptions(&topology))?;
    println!(
        "The console is at {}; open it now.",
        serve_console(looks_on.clone(), console_events, &topology).await?
    );
    let (stop, stopped) = watch::channel(false);
    let mut workers = JoinSet::new();
    for _ in 0..args.workers.max(1) {
        let settings = worker::Settings::default();
        let finapi = client(&url)?;
        let consumed = subscriptions(&topology, &settings);
        let (broker, broker_events) = connect("demo worker", consumed)?;
        let reporter = broker.clone();
        let worker = Worker::new(WorkerParts {
            broker,
            finapi,
            topology: topology.clone(),
            policy: Policy::default(),
            settings,
            clock: Clock::System,
            seed: fastrand::u64(..),
        });
        tokio::spawn(worker::report(worker.handle(), reporter, topology.clone()));
        let mut stopped = stopped.clone();
        workers.spawn(worker.run(broker_events, async move {
            drop(stopped.wait_for(|stopped| *stopped).await);
        }));
    }
    let rows = if args.open_end {
        println!("{} workers wait for commands.\n", workers.len());
        stream::run(&broker, &topology, &sandbox, &mut broker_events).await?;
        Vec::new()
    } else {
        println!(
            "{} workers wait for commands. The demo sends {}, one for each use case.\n",
            workers.len(),
            cases.len()
        );
        let rows = send(&broker, &topology, &sandbox, cases).await?;
        follow(rows, &mut broker_events).await?
    };
    stop.send_replace(true);
    for ended in workers.join_all().await {
        ended?;
    }
    broker.close().await;
    looks_on.close().await;
    if !args.open_end {
        print_table(&rows);
    }
    let calls: u64 = sandbox.asked().calls.values().sum();
    println!(
        "\nThe workers called finAPI {calls} times and started {} updates.",
        sandbox.asked().tasks
    );
    let missing = rows.iter().filter(|row| row.took.is_none()).count();
    if missing > 0 {
        return Err(format!("{missing} commands had no outcome within {TIME_MAX:?}").into());
    }
    Ok(ExitCode::SUCCESS)
}

/// At its usual address if that is free.
async fn serve_console(broker: Broker, broker_events: BrokerEvents, topology: &Topology) -> std::io::Result<String> {
    let settings = console::Settings::default();
    let listener = match TcpListener::bind(settings.listen).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?,
    };
    let url = format!("http://{}", listener.local_addr()?);
    let console = Console {
        settings,
        broker,
        broker_events,
        topology: topology.clone(),
        rabbit: None,
        registry: None,
    };
    tokio::spawn(console.serve(listener));
    Ok(url)
}

async fn serve_sandbox(web_form_life: Duration) -> Result<(Url, std::sync::Arc<Sandbox>), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
    let sandbox = Sandbox::new(SandboxConfig {
        web_form_life,
        ..SandboxConfig::default()
    });
    sandbox.set_web_form_url(url.as_str().trim_end_matches('/'));
    tokio::spawn(sandbox::serve(sandbox.clone(), listener, std::future::pending()));
    Ok((url, sandbox))
}

/// A client with the password of every user of the sandbox.
fn client(url: &Url) -> Result<FinApi, Box<dyn std::error::Error>> {
    let sandbox = SandboxConfig::default();
    let url: HttpUrl = url.as_str().parse()?;
    let settings = finapi::Settings::new(
        url.clone(),
        url.clone(),
        &sandbox.client_id,
        sandbox.client_secret.parse()?,
    );
    let transport = Transport::http(settings.connect_timeout, settings.http2, settings.use_proxy)?;
    let credentials = Credentials::http(url.join("sandbox/credentials")?.try_into()?);
    Ok(FinApi::new(
        transport,
        settings,
        credentials,
        breaker::Settings::default(),
        None,
    ))
}

async fn send(
    broker: &Broker,
    topology: &Topology,
    sandbox: &Sandbox,
    cases: Vec<UseCase>,
) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    let mut messages = Vec::new();
    for (case, bank_connection_id) in cases.into_iter().zip(1..) {
        let user_id = format!("user-{bank_connection_id}");
        sandbox.script(&user_id, bank_connection_id, case.script);
        let mut command = RefreshConnection {
            command_id: Uuid::now_v7().to_string(),
            user_id,
            bank_connection_id,
            ..RefreshConnection::default()
        };
        (case.ask)(&mut command);
        rows.push(Row {
            name: case.name,
            command_id: command.command_id.clone(),
            events: Vec::new(),
            took: None,
        });
        messages.push(interactive(topology, command));
    }
    broker.publish(messages).await?;
    Ok(rows)
}

/// A command that a user waits for.
fn interactive(topology: &Topology, command: RefreshConnection) -> Outgoing {
    let envelope = Envelope {
        interactive: true,
        correlation_id: command.command_id.clone(),
        ..Envelope::default()
    };
    message::command(topology, command, &envelope, Timestamp::now())
}

/// Takes in events until every command has its outcome, or time is up.
async fn follow(mut rows: Vec<Row>, broker_events: &mut BrokerEvents) -> Result<Vec<Row>, String> {
    let places: BTreeMap<String, usize> = rows.iter().map(|row| row.command_id.clone()).zip(0..).collect();
    let started = Instant::now();
    let live = std::io::stdout().is_terminal();
    let mut drawn = 0;
    while rows.iter().any(|row| row.took.is_none()) {
        if live {
            drawn = redraw(&rows, started, drawn);
        }
        let tick = Instant::now() + Duration::from_millis(250);
        let broker_event = match timeout_at(tick, broker_events.recv()).await {
            Err(_) if started.elapsed() < TIME_MAX => continue,
            Err(_) => break,
            Ok(broker_event) => broker_event,
        };
        let delivery = match broker_event {
            Some(BrokerEvent::Delivery(delivery)) => delivery,
            Some(BrokerEvent::Connected { .. } | BrokerEvent::CaughtUp { .. }) => continue,
            Some(BrokerEvent::Disconnected { reason, .. }) => return Err(format!("lost the broker: {reason}")),
            None => return Err("the connection to the broker has ended".to_owned()),
        };
        let Some(event) = show::event(&delivery.message) else {
            continue;
        };
        let place = places.get(&event.context().command_id);
        let Some(row) = place.and_then(|place| rows.get_mut(*place)) else {
            continue;
        };
        if !live {
            println!(
                "{:5.1} s  {:<27} {}",
                started.elapsed().as_secs_f64(),
                row.name,
                event.summary()
            );
        }
        row.took = event.is_last().then(|| started.elapsed()).or(row.took);
        row.events.push(event);
    }
    if drawn > 0 {
        erase(drawn);
    }
    Ok(rows)
}

/// Draws what is known so far over what was drawn before; says how many lines that is.
fn redraw(rows: &[Row], started: Instant, drawn: usize) -> usize {
    erase(drawn);
    for row in rows {
        let state = match (row.took, row.events.last()) {
            (None, None) => "finAPI updates …".to_owned(),
            (None, Some(_)) => "waits for the user …".to_owned(),
            (Some(_), Some(event)) => format!("{0}{1}{0:#}", show::style(event), event.summary()),
            (Some(_), None) => String::new(),
        };
        let seconds = row.took.unwrap_or_else(|| started.elapsed()).as_secs_f64();
        anstream::println!("{seconds:5.1} s  {:<27} {state}", row.name);
    }
    drop(std::io::stdout().flush());
    rows.len()
}

fn erase(lines: usize) {
    if lines > 0 {
        print!("\x1b[{lines}A\x1b[J");
    }
}

fn print_table(rows: &[Row]) {
    println!("\n{:<27} {:>7}  events", "use case", "took");
    for row in rows {
        let took = row
            .took
            .map_or("–".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()));
        let events: Vec<String> = row
            .events
            .iter()
            .map(|event| format!("{0}{1}{0:#}", show::style(event), event.summary()))
            .collect();
        anstream::println!("{:<27} {took:>7}  {}", row.name, events.join(", then "));
    }
}
