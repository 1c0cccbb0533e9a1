//! The topology as RabbitMQ's definitions, with a user for each part that has to do with it and what that user may do.

use lapin::types::{AMQPValue, FieldTable};
use serde::Serialize;
use serde_json::{Map, Value};

use super::consume;
use super::declare::{exchange_arguments, queue_arguments};
use super::settings::Settings;
use crate::broker::topology::{Exchange, ExchangeKind, Queue, Topology};

/// A pattern that no name matches.
const NOTHING: &str = "^$";

/// The JSON for `rabbitmqctl import_definitions`, for the virtual host of the URL.
#[must_use]
pub fn definitions(settings: &Settings, topology: &Topology) -> String {
    let vhost = settings.url.vhost();
    let (worker, sender, consumer) = (worker(topology), sender(topology), consumer(topology));
    let users = [worker, sender, consumer];
    let definitions = Definitions {
        users: users.iter().map(|user| login(&user.name)).collect(),
        vhosts: vec![VirtualHost { name: vhost.to_owned() }],
        permissions: users.into_iter().map(|user| user.in_vhost(vhost)).collect(),
        exchanges: topology.exchanges().iter().map(|it| exchange(it, vhost)).collect(),
        queues: topology.queues().iter().map(|it| queue(it, vhost)).collect(),
        bindings: topology.queues().iter().flat_map(|it| bindings(it, vhost)).collect(),
    };
    serde_json::to_string_pretty(&definitions).unwrap_or_else(|_| unreachable!("all keys are text"))
}

/// Takes commands and states, publishes states, events, dead letters and wake-ups, requeues commands, and has a queue of
/// its own for wake-ups.
fn worker(topology: &Topology) -> User {
    let own = consume::ephemeral_prefix(&topology.wake_ups());
    let publishes = [
        topology.commands(),
        topology.steps(),
        topology.delay(),
        topology.events(),
        topology.dead_letters(),
        topology.wake_ups(),
    ];
    let takes = [
        topology.interactive(),
        topology.background(),
        topology.steps(),
        topology.quarantine(),
        topology.wake_ups(),
    ];
    User {
        name: topology.user("worker"),
        configure: pattern(&[], &[&own]),
        write: pattern(&publishes, &[&own]),
        read: pattern(&takes, &[&own]),
    }
}

/// Publishes commands and sees nothing.
fn sender(topology: &Topology) -> User {
    User {
        name: topology.user("sender"),
        configure: NOTHING.to_owned(),
        write: pattern(&[topology.commands()], &[]),
        read: NOTHING.to_owned(),
    }
}

/// Reads events from queues of its own, whose names begin with its name, or with `bankrefresh watch`. Binding a queue takes
/// writing to it and reading from the exchange.
fn consumer(topology: &Topology) -> User {
    let name = topology.user("consumer");
    let own = format!("{name}.");
    let watch = consume::ephemeral_prefix(&topology.events());
    User {
        configure: pattern(&[], &[&own, &watch]),
        write: pattern(&[], &[&own, &watch]),
        read: pattern(&[topology.events()], &[&own, &watch]),
        name,
    }
}

/// Matches these names, and those that begin so.
fn pattern(names: &[String], prefixes: &[&str]) -> String {
    let escaped = |name: &str| name.replace('.', r"\.");
    let names = names.iter().map(|name| escaped(name));
    let prefixes = prefixes.iter().map(|prefix| format!("{}.+", escaped(prefix)));
    format!("^({})$", names.chain(prefixes).collect::<Vec<_>>().join("|"))
}

/// Without a password, which nobody but the broker's administrator is to know: until one is set, nobody can log in.
fn login(name: &str) -> Login {
    Login {
        name: name.to_owned(),
        password_hash: "",
        hashing_algorithm: "rabbit_password_hashing_sha256",
        tags: Vec::new(),
    }
}

fn exchange(exchange: &Exchange, vhost: &str) -> ExchangeDefinition {
    ExchangeDefinition {
        name: exchange.name.clone(),
        vhost: vhost.to_owned(),
        kind: match exchange.kind {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Fanout => "fanout",
        },
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: json(&exchange_arguments(exchange)),
    }
}

fn queue(queue: &Queue, vhost: &str) -> QueueDefinition {
    QueueDefinition {
        name: queue.name.clone(),
        vhost: vhost.to_owned(),
        durable: true,
        auto_delete: false,
        arguments: json(&queue_arguments(queue)),
    }
}

fn bindings(queue: &Queue, vhost: &str) -> Vec<BindingDefinition> {
    let bindings = queue.bindings.iter().map(|binding| BindingDefinition {
        source: binding.exchange.clone(),
        vhost: vhost.to_owned(),
        destination: queue.name.clone(),
        destination_type: "queue",
        routing_key: binding.key.clone(),
        arguments: Map::new(),
    });
    bindings.collect()
}

fn json(arguments: &FieldTable) -> Map<String, Value> {
    let arguments = arguments.inner().iter().map(|(name, value)| {
        let value = match value {
            AMQPValue::LongString(text) => Value::from(text.to_string()),
            AMQPValue::LongLongInt(number) => Value::from(*number),
            other => unreachable!("the topology has no argument like {other:?}"),
        };
        (name.to_string(), value)
    });
    arguments.collect()
}

struct User {
    name: String,
    configure: String,
    write: String,
    read: String,
}

impl User {
    fn in_vhost(self, vhost: &str) -> Permission {
        Permission {
            user: self.name,
            vhost: vhost.to_owned(),
            configure: self.configure,
            write: self.write,
            read: self.read,
        }
    }
}

#[derive(Serialize)]
struct Definitions {
    users: Vec<Login>,
    vhosts: Vec<VirtualHost>,
    permissions: Vec<Permission>,
    exchanges: Vec<ExchangeDefinition>,
    queues: Vec<QueueDefinition>,
    bindings: Vec<BindingDefinition>,
}

#[derive(Serialize)]
struct Login {
    name: String,
    password_hash: &'static str,
    hashing_algorithm: &'static str,
    tags: Vec<String>,
}

#[derive(Serialize)]
struct VirtualHost {
    name: String,
}

#[derive(Serialize)]
struct Permission {
    user: String,
    vhost: String,
    configure: String,
    write: String,
    read: String,
}

#[derive(Serialize)]
struct ExchangeDefinition {
    name: String,
    vhost: String,
    #[serde(rename = "type")]
    kind: &'static str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Map<String, Value>,
}

#[derive(Serialize)]
struct QueueDefinition {
    name: String,
    vhost: String,
    durable: bool,
    auto_delete: bool,
    arguments: Map<String, Value>,
}

#[derive(Serialize)]
struct BindingDefinition {
    source: String,
    vhost: String,
    destination: String,
    destination_type: &'static str,
    routing_key: String,
    arguments: Map<String, Value>,
}
