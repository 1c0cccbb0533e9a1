//! The topology as RabbitMQ's definitions, with a user for each part that has to do with it and what that user may do.

use lapin::types::{AMQPValue, FieldTable};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::consume;
use super::declare::{DISCONNECTED_TIMEOUT_ARGUMENT, exchange_arguments, queue_arguments};
use super::settings::Settings;
use crate::broker::topology::{
    DELIVERY_LIMIT, DISCONNECTED_TIMEOUT, Exchange, ExchangeKind, Queue, RETURNS_MAX, Topology,
};

/// A pattern that no name matches.
const NOTHING: &str = "^$";

/// The JSON for `rabbitmqctl import_definitions`, for the virtual host of the URL.
#[must_use]
pub fn definitions(settings: &Settings, topology: &Topology) -> String {
    let vhost = settings.url.vhost();
    let mut users = vec![
        worker(topology),
        sender(topology),
        operator(topology),
        batch(topology),
        watch(topology),
        console(topology),
    ];
    users.extend(CONSUMERS.iter().map(|consumer| consumer.user(topology)));
    let queues = topology.queues();
    let definitions = Definitions {
        users: users.iter().map(|user| login(&user.name)).collect(),
        vhosts: vec![VirtualHost { name: vhost.to_owned() }],
        permissions: users.into_iter().map(|user| user.in_vhost(vhost)).collect(),
        exchanges: topology.exchanges().iter().map(|it| exchange(it, vhost)).collect(),
        queues: (queues.iter().map(|it| queue(it, vhost)))
            .chain(CONSUMERS.iter().flat_map(|consumer| consumer.queues(topology, vhost)))
            .collect(),
        bindings: (queues.iter().flat_map(|it| bindings(it, vhost)))
            .chain(CONSUMERS.iter().flat_map(|consumer| consumer.bindings(topology, vhost)))
            .collect(),
    };
    serde_json::to_string_pretty(&definitions).unwrap_or_else(|_| unreachable!("all keys are text"))
}

/// Takes commands and states, publishes states, events, dead letters, wake-ups and its status, requeues commands, reads orders, and has a
/// queue of its own for wake-ups.
fn worker(topology: &Topology) -> User {
    let own = consume::ephemeral_prefix(&topology.wake());
    User {
        name: topology.user("worker"),
        configure: pattern(&[], &[&own]),
        write: pattern(&worker_publishes(topology), &[&own]),
        read: pattern(&worker_reads(topology), &[&own]),
    }
}

/// The exchanges that a worker publishes to.
pub(super) fn worker_publishes(topology: &Topology) -> Vec<String> {
    vec![
        topology.commands(),
        topology.steps(),
        topology.delay(),
        topology.events(),
        topology.dead_letters(),
        topology.wake(),
        topology.status(),
    ]
}

/// The queues that a worker takes messages from, and the exchange that it binds its own queue to.
pub(super) fn worker_reads(topology: &Topology) -> Vec<String> {
    vec![
        topology.interactive(),
        topology.background(),
        topology.steps(),
        topology.quarantine(),
        topology.wake(),
        topology.control(),
    ]
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

/// Gives orders: pauses and resumes, and reads which there are.
fn operator(topology: &Topology) -> User {
    User {
        name: topology.user("operator"),
        configure: NOTHING.to_owned(),
        write: pattern(&[topology.control()], &[]),
        read: pattern(&[topology.control()], &[]),
    }
}

/// Runs `bankrefresh send --from`: publishes commands, and follows them by a queue of its own. Binding that takes writing to it and reading from
/// the exchange.
fn batch(topology: &Topology) -> User {
    let own = topology.outcomes("");
    let own: &[&str] = &[&own];
    User {
        name: topology.user("batch"),
        configure: pattern(&[], own),
        write: pattern(&[topology.commands()], own),
        read: pattern(&[topology.events()], own),
    }
}

/// Reads events, by a queue that is its own. The queue is declared and bound here, so that no consumer can bind what it is not to see, delete or read
/// what is another's, or limit its queue so that it rejects and others wait.
struct Consumer {
    /// Its user and its queues are named after it.
    part: &'static str,
    keys: &'static [&'static str],
}

/// A template for two consumers.
const CONSUMERS: [Consumer; 2] = [
    // Shows web forms to users.
    Consumer {
        part: "frontend",
        keys: &["transactions.updated", "user-action.required", "refresh.failed"],
    },
    // Books transactions, and never sees the URL of a web form.
    Consumer {
        part: "bookkeeping",
        keys: &["transactions.updated", "refresh.failed"],
    },
];

impl Consumer {
    fn events(&self, topology: &Topology) -> String {
        format!("{}.events", topology.user(self.part))
    }

    /// Where what it can't handle goes.
    fn unhandled(&self, topology: &Topology) -> String {
        format!("{}.unhandled", topology.user(self.part))
    }

    fn user(&self, topology: &Topology) -> User {
        User {
            name: topology.user(self.part),
            configure: NOTHING.to_owned(),
            write: NOTHING.to_owned(),
            read: pattern(&[self.events(topology), self.unhandled(topology)], &[]),
        }
    }

    fn queues(&self, topology: &Topology, vhost: &str) -> [QueueDefinition; 2] {
        let queue = |name, arguments: Value| {
            let mut arguments = arguments.as_object().cloned().unwrap_or_default();
            // Whichever features of `serde_json` others ask for.
            arguments.sort_keys();
            QueueDefinition {
                name,
                vhost: vhost.to_owned(),
                durable: true,
                auto_delete: false,
                arguments,
            }
        };
        let target = self.unhandled(topology);
        let timeout = u64::try_from(DISCONNECTED_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let events = json!({
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            DISCONNECTED_TIMEOUT_ARGUMENT: timeout,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": target,
        });
        let unhandled = json!({
            "x-queue-type": "quorum",
            "x-delivery-limit": RETURNS_MAX,
            DISCONNECTED_TIMEOUT_ARGUMENT: timeout,
        });
        [queue(target, unhandled), queue(self.events(topology), events)]
    }

    fn bindings(&self, topology: &Topology, vhost: &str) -> impl Iterator<Item = BindingDefinition> {
        let (source, destination, vhost) = (topology.events(), self.events(topology), vhost.to_owned());
        self.keys.iter().map(move |key| BindingDefinition {
            source: source.clone(),
            vhost: vhost.clone(),
            destination: destination.clone(),
            destination_type: "queue",
            routing_key: (*key).to_owned(),
            arguments: Map::new(),
        })
    }
}

/// Runs `bankrefresh watch`, which reads all events from a queue for as long as it runs. Binding a queue takes writing to it and reading from the
/// exchange.
fn watch(topology: &Topology) -> User {
    listener(topology, "watch", &[topology.events()], &[])
}

/// Runs `bankrefresh console`, which also reads what workers say of themselves, and the orders.
fn console(topology: &Topology) -> User {
    let exchanges = [topology.events(), topology.status()];
    listener(topology, "console", &exchanges, &[topology.control()])
}

/// Has queues of its own for what these exchanges bring, and reads these queues.
fn listener(topology: &Topology, part: &str, exchanges: &[String], queues: &[String]) -> User {
    let own: Vec<String> = exchanges.iter().map(|name| consume::ephemeral_prefix(name)).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    User {
        name: topology.user(part),
        configure: pattern(&[], &own),
        write: pattern(&[], &own),
        read: pattern(&[exchanges, queues].concat(), &own),
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
        arguments: to_json(&exchange_arguments(exchange)),
    }
}

fn queue(queue: &Queue, vhost: &str) -> QueueDefinition {
    QueueDefinition {
        name: queue.name.clone(),
        vhost: vhost.to_owned(),
        durable: true,
        auto_delete: false,
        arguments: to_json(&queue_arguments(queue)),
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

fn to_json(arguments: &FieldTable) -> Map<String, Value> {
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
