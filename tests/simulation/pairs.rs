//! Pairs of runs with one seed that differ in one thing: nothing else draws differently.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use bankrefresh::broker::memory::{Latency, What};

use crate::commands::Is;
use crate::draw::Variant;
use crate::scenario::{Act, Scenario};
use crate::world::{self, History};

/// How many seeds are tried with each variant.
const SEEDS: u64 = 6;

/// What one of a pair has and the other does not have.
const ADDED: [(&str, &[&str]); 7] = [
    (
        "user, with a connection and a command,",
        &["user", "connection", "command"],
    ),
    ("connection", &["connection"]),
    ("command", &["command"]),
    ("worker", &["worker"]),
    ("end of a worker", &["worker ends"]),
    ("refused publish", &["refused publish"]),
    ("deadly effect", &["deadly effect"]),
];

/// What the two have both, and each otherwise.
const REDRAWN: [&str; 4] = ["user", "connection", "script", "command"];

/// What differs although it should not.
pub(crate) fn check() -> Vec<String> {
    let mut found = Vec::new();
    for seed in 1..=SEEDS {
        let plain = Scenario::draw(seed);
        let played = world::play(&calm(Scenario::draw(seed)));
        for (name, variant) in variants() {
            let changed = Scenario::variant(seed, variant.clone());
            let other = world::play(&calm(Scenario::variant(seed, variant)));
            let mut differs = drawn(&name, &plain, &changed);
            differs.extend(at_run_time(&played, &other));
            let is_same = format!("{plain:?}") == format!("{changed:?}");
            // A user or an owner may be drawn alike, and two may die after one effect.
            let may_be_same = ["user 1 changed", "connection 1 changed", "one deadly effect more"];
            if is_same && !may_be_same.contains(&name.as_str()) {
                differs.push("the variant changes nothing".to_owned());
            }
            found.extend(differs.into_iter().map(|what| format!("seed {seed}, {name}: {what}")));
        }
    }
    found
}

fn variants() -> Vec<(String, Variant)> {
    let added = ADDED.iter().map(|(what, kinds)| {
        let more = kinds.iter().map(|kind| (*kind, 1)).collect();
        let variant = Variant {
            more,
            ..Variant::default()
        };
        (format!("one {what} more"), variant)
    });
    let redrawn = REDRAWN.iter().map(|kind| {
        let redrawn = [(*kind, 1)].into();
        let variant = Variant {
            redrawn,
            ..Variant::default()
        };
        (format!("{kind} 1 changed"), variant)
    });
    added.chain(redrawn).collect()
}

/// Without faults that strike whoever comes next, and with times on all ways.
fn calm(mut scenario: Scenario) -> Scenario {
    let longest = Duration::from_millis(200);
    scenario.plan.retain(|(_, act)| matches!(act, Act::Publish(_)));
    Scenario {
        deadly: [].into(),
        killer: None,
        finapi_latency: longest,
        broker_latency: Latency {
            publish: longest,
            confirm: longest,
            ack: longest,
        },
        ..scenario
    }
}

/// What of a scenario is drawn differently before anything runs.
fn drawn(name: &str, plain: &Scenario, changed: &Scenario) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, mut one: Vec<String>, other: Vec<String>| {
        one.retain(|thing| !other.contains(thing));
        found.extend(one.iter().map(|thing| format!("{what} is drawn otherwise: {thing}")));
    };
    compare("a setting", vec![settings(plain)], vec![settings(changed)]);
    compare("a fault", faults(plain), faults(changed));
    let of_user_1 = name == "user 1 changed";
    let users = all(&plain.sandbox.users, |_, user| !of_user_1 || user.user_id != "user-1");
    compare("a user", users, all(&changed.sandbox.users, |_, _| true));
    let of_connection_1 = ["connection 1 changed", "script 1 changed"].contains(&name);
    let connections = all(&plain.sandbox.connections, |index, _| !of_connection_1 || index != 0);
    compare(
        "a connection",
        connections,
        all(&changed.sandbox.connections, |_, _| true),
    );
    let commands = all(&plain.commands, |index, command| match name {
        "command 1 changed" => index != 0,
        // The commands of a connection name its owner.
        "connection 1 changed" => {
            matches!(&command.is, Is::Valid(command) if command.bank_connection_id != 1)
        }
        _ => true,
    });
    compare("a command", commands, all(&changed.commands, |_, _| true));
    found
}

fn settings(scenario: &Scenario) -> String {
    let of_worker = (&scenario.settings, &scenario.policy, scenario.callbacks);
    let of_finapi = (
        &scenario.breaker,
        scenario.calls_max,
        scenario.page_size,
        scenario.finapi_latency,
    );
    let of_broker = scenario.broker_latency;
    let sandbox = &scenario.sandbox;
    let of_sandbox = (
        sandbox.start,
        sandbox.token_life,
        sandbox.fault_rate,
        &sandbox.random_faults,
    );
    let killer = scenario.killer.as_ref().map(|killer| killer.after);
    format!(
        "{:?} {of_worker:?} {of_finapi:?} {of_broker:?} {of_sandbox:?} {killer:?}",
        scenario.start
    )
}

/// All that happens but for publishes.
fn faults(scenario: &Scenario) -> Vec<String> {
    let plan = scenario.plan.iter();
    let acts = plan.filter(|(_, act)| !matches!(act, Act::Publish(_)));
    let effects = scenario.deadly.iter().map(|effect| format!("effect {effect}"));
    acts.map(|act| format!("{act:?}")).chain(effects).collect()
}

fn all<T: Debug>(things: &[T], counts: impl Fn(usize, &T) -> bool) -> Vec<String> {
    let things = things.iter().enumerate().filter(|(index, thing)| counts(*index, thing));
    things.map(|(_, thing)| format!("{thing:?}")).collect()
}

/// What is drawn differently while a scenario is played.
pub(crate) fn at_run_time(one: &History, other: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (id, asked) in &one.asked.connections {
        let of_other = other.asked.connections.get(id).map(|asked| asked.tasks.as_slice());
        let mut pairs = asked.tasks.iter().zip(of_other.unwrap_or_default());
        if pairs.any(|(one, other)| one.id != other.id) {
            found.push(format!("the tasks of connection {id} have other ids"));
        }
    }
    for (question, delays) in &one.delays {
        let mut pairs = delays.iter().zip(other.delays.get(question).into_iter().flatten());
        if pairs.any(|(one, other)| one != other) {
            found.push(format!("{question} is on its way for another time"));
        }
    }
    let of_other = first_delays(other);
    for (message, delay) in first_delays(one) {
        if of_other.get(&message).is_some_and(|other| *other != delay) {
            found.push(format!("the command {message} is on its way for another time"));
        }
    }
    found
}

/// How long each command was on its way from its sender to the broker for the first time.
fn first_delays(history: &History) -> BTreeMap<String, Duration> {
    let mut sent = BTreeMap::new();
    let mut delays = BTreeMap::new();
    for seen in &history.broker {
        match &seen.what {
            // The sender's number is 0.
            What::Sent { client: 0, outgoing } => {
                let id = outgoing.message.properties.message_id.clone().unwrap_or_default();
                sent.entry(id).or_insert(seen.at);
            }
            What::Taken { message, .. } => {
                let id = message.properties.message_id.clone().unwrap_or_default();
                if let Some(sent) = sent.get(&id) {
                    delays.entry(id).or_insert(seen.at.duration_since(*sent));
                }
            }
            _ => {}
        }
    }
    delays
}
