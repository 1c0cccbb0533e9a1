//! What plain polling, learned polling and callbacks cost, and how soon each detects the end: the whole worker against finAPI's
//! simulator in virtual time. `cargo run --release --example polling`

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::broker::topology::Topology;
use bankrefresh::broker::{Broker, BrokerEvent, BrokerEvents, Subscription, memory};
use bankrefresh::callbacks;
use bankrefresh::clock::Clock;
use bankrefresh::config::Config;
use bankrefresh::finapi::FinApi;
use bankrefresh::finapi::transport::Transport;
use bankrefresh::message;
use bankrefresh::proto::{RefreshConnection, timestamp};
use bankrefresh::refresh::Envelope;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{After, Behaviour, Sandbox, SandboxConfig, Script};
use bankrefresh::worker::{Worker, WorkerParts, subscriptions};
use uuid::Uuid;

/// Each connection is refreshed so often, a minute apart.
const ROUNDS: u64 = 10;
const CONNECTIONS: i64 = 200;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Plain,
    Learned,
    Callbacks,
}

type Takes = fn(i64) -> After;

fn main() {
    let banks: [(&str, Takes); 4] = [
        ("always 3 s", |_| After::secs(3)),
        ("2 to 3 s", |_| After::Between {
            min: Duration::from_secs(2),
            max: Duration::from_secs(3),
        }),
        ("1 to 10 s", |_| After::Between {
            min: Duration::from_secs(1),
            max: Duration::from_secs(10),
        }),
        ("three banks: 1.5, 4 and 9 s, ± 0.2 s", |connection| {
            let middle = [1500, 4000, 9000][usize::try_from(connection % 3).unwrap_or(0)];
            After::Between {
                min: Duration::from_millis(middle - 200),
                max: Duration::from_millis(middle + 200),
            }
        }),
    ];
    println!("| tasks take | polling | calls per refresh | polls of the task | detected after p50 | p99 |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, takes) in banks {
        for (mode, polling) in [
            (Mode::Plain, "plain"),
            (Mode::Learned, "learned"),
            (Mode::Callbacks, "callbacks"),
        ] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build();
            let figures = runtime.expect("a runtime").block_on(measure(takes, mode));
            println!(
                "| {name} | {polling} | {:.2} | {:.2} | {:.2} s | {:.2} s |",
                figures.calls, figures.polls, figures.p50, figures.p99
            );
        }
    }
}

struct Figures {
    calls: f64,
    polls: f64,
    p50: f64,
    p99: f64,
}

async fn measure(takes: Takes, mode: Mode) -> Figures {
    let start = "2026-03-02T08:00:00Z".parse().expect("a timestamp");
    let clock = Clock::starting_at(start);
    let sandbox = Sandbox::new(SandboxConfig {
        start: Some(start),
        token_life: Duration::ZERO,
        ..SandboxConfig::default()
    });
    for connection in 1..=CONNECTIONS {
        let script = Script {
            bank_name: format!("Bank {}", connection % 3),
            settles: After::millis(0),
            ..Script::of(Behaviour::Silent {
                after: takes(connection),
            })
        };
        sandbox.script(&format!("user-{connection}"), connection, script);
    }
    let mut settings: BTreeMap<&str, &str> = BTreeMap::from([
        ("FINAPI__ACCESS_URL", "http://localhost"),
        ("FINAPI__WEB_FORM_URL", "http://localhost"),
        ("FINAPI__CLIENT_ID", "sandbox-client"),
        ("FINAPI__CLIENT_SECRET", "sandbox-secret"),
        ("CREDENTIALS__SOURCE", "http"),
        ("CREDENTIALS__URL", "http://localhost/sandbox/credentials"),
    ]);
    if mode == Mode::Plain {
        settings.insert("POLLING__LEARN", "false");
    }
    if mode == Mode::Callbacks {
        settings.insert("CALLBACKS__PUBLIC_URL", "https://example.org");
        settings.insert("CALLBACKS__KEY", "0123456789abcdef");
    }
    let settings = settings
        .into_iter()
        .map(|(key, value)| (format!("BANKREFRESH__{key}"), value.to_owned()));
    let config = Config::load_with_finapi(None, settings).expect("settings");
    let policy = config.policy();
    let finapi = FinApi::new(
        Transport::InProcess(sandbox.router()),
        config.finapi,
        config.credentials,
        config.breaker,
        config.callbacks.signer(),
    );
    let topology = Topology::new("polling");
    let server = memory::Server::new(&topology);
    let (client, broker_events) = server.connect(subscriptions(&topology, &config.worker));
    let worker = Worker::new(WorkerParts {
        broker: Broker::Memory(client),
        finapi,
        topology: topology.clone(),
        policy,
        settings: config.worker,
        clock,
        seed: 7,
    });
    tokio::spawn(worker.run(broker_events, std::future::pending()));
    let ephemeral = Subscription::Ephemeral {
        exchange: topology.events(),
        keys: vec!["#".to_owned()],
        optional: false,
    };
    let (broker, mut broker_events) = server.connect(vec![ephemeral]);
    let broker = Broker::Memory(broker);
    if mode == Mode::Callbacks {
        let (sandbox, broker, topology) = (sandbox.clone(), broker.clone(), topology.clone());
        tokio::spawn(async move {
            loop {
                let called = sandbox.next_callback().await;
                let command_id = called.url.split('/').nth(4).unwrap_or_default();
                drop(broker.publish(vec![callbacks::wake_up(&topology, command_id)]).await);
            }
        });
    }
    let mut delays = Vec::new();
    for _ in 0..ROUNDS {
        for connection in 1..=CONNECTIONS {
            let command = RefreshConnection {
                command_id: Uuid::new_v4().to_string(),
                user_id: format!("user-{connection}"),
                bank_connection_id: connection,
                ..RefreshConnection::default()
            };
            let message = message::command(&topology, command, &Envelope::default(), clock.now());
            broker.publish(vec![message]).await.expect("published");
        }
        for _ in 0..CONNECTIONS {
            delays.push(next_delay(&mut broker_events).await);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    delays.sort_by(f64::total_cmp);
    let asked = sandbox.asked();
    let refreshes = delays.len() as f64;
    let polls = asked
        .calls
        .get(&bankrefresh::sandbox::Endpoint::Task)
        .copied()
        .unwrap_or(0);
    Figures {
        calls: asked.calls.values().sum::<u64>() as f64 / refreshes,
        polls: polls as f64 / refreshes,
        p50: delays[delays.len() / 2],
        p99: delays[delays.len() * 99 / 100],
    }
}

/// From the end of the next update to its event, in seconds.
async fn next_delay(broker_events: &mut BrokerEvents) -> f64 {
    loop {
        let Some(BrokerEvent::Delivery(delivery)) = broker_events.recv().await else {
            continue;
        };
        let kind = delivery.message.properties.kind.expect("a type");
        let decoded = Event::decode(&kind, &delivery.message.body).expect("an event");
        let EventKind::TransactionsUpdated(event) = decoded.kind() else {
            panic!("an update failed");
        };
        let occurred_at = decoded.context().occurred_at.as_ref();
        let occurred_at = occurred_at.and_then(timestamp).expect("a time");
        let ends = event.accounts.iter().flat_map(|account| &account.interfaces);
        let end = ends
            .filter_map(|interface| timestamp(interface.last_successful_update.as_ref()?))
            .max();
        return occurred_at.duration_since(end.expect("an end")).as_secs_f64();
    }
}
