//! What a worker holds stays within its limits, whoever is bad.

use std::collections::BTreeMap;

use bankrefresh::broker::memory::What;
use bankrefresh::broker::{Message, Subscription};
use bankrefresh::worker::{Status, subscriptions};

use crate::check::STATE_MAX;
use crate::scenario::Scenario;
use crate::world::{self, History, Sample};

/// What one worker may hold.
#[derive(Debug)]
struct Limits {
    /// Calls of finAPI at once, and runs, each of which holds the right to one.
    calls: usize,
    /// Messages that are not acknowledged.
    messages: usize,
    /// Their bytes.
    bytes: usize,
}

impl Limits {
    fn of(scenario: &Scenario) -> Self {
        let prefetch = |subscription: &Subscription| match subscription {
            Subscription::Queue { prefetch, .. } => usize::from(*prefetch),
            Subscription::Ephemeral { .. } | Subscription::Stream { .. } => 0,
        };
        let consumed = subscriptions(&world::topology(), &scenario.settings);
        let messages = consumed.iter().map(prefetch).sum();
        Self {
            calls: scenario.calls_max,
            messages,
            bytes: messages * STATE_MAX,
        }
    }
}

/// What a worker held beyond its limits.
pub(super) fn exceeded(scenario: &Scenario, history: &History) -> Vec<String> {
    let limits = Limits::of(scenario);
    let mut found: Vec<String> = history
        .samples
        .iter()
        .filter_map(|sample| in_status(&limits, sample))
        .collect();
    found.extend(in_broker(&limits, history));
    found
}

fn in_status(limits: &Limits, sample: &Sample) -> Option<String> {
    let Sample { worker, status, .. } = sample;
    let held: usize = status.held.values().map(|held| held.count).sum();
    let Status {
        running,
        runnable,
        awaiting_token,
        publishing,
        backlog,
        finapi_calls,
        ..
    } = status;
    let in_flight = held + running + runnable + awaiting_token + publishing + backlog;
    let is_beyond = *running > limits.calls || finapi_calls.running > limits.calls || in_flight > limits.messages;
    is_beyond.then(|| format!("worker {worker} is beyond {limits:?}: {status:?}"))
}

/// By what the broker delivered and has back. A message of an ephemeral queue is acknowledged as soon as it is handed over.
fn in_broker(limits: &Limits, history: &History) -> Option<String> {
    let mut held: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for seen in &history.broker {
        let release = |held: &mut BTreeMap<u64, (usize, usize)>, client: u64, message: &Message| {
            let (messages, bytes) = held.entry(client).or_default();
            (*messages, *bytes) = (*messages - 1, *bytes - message.body.len());
        };
        match &seen.what {
            What::Handed {
                client, message, queue, ..
            } if !is_ephemeral(queue) => {
                let (messages, bytes) = held.entry(*client).or_default();
                (*messages, *bytes) = (*messages + 1, *bytes + message.body.len());
                if *messages > limits.messages || *bytes > limits.bytes {
                    return Some(format!(
                        "worker {client} holds {messages} messages with {bytes} bytes, beyond {limits:?}"
                    ));
                }
            }
            What::Acked {
                client,
                message: Some((queue, message)),
                ..
            }
            | What::Returned {
                client, queue, message, ..
            } if !is_ephemeral(queue) => release(&mut held, *client, message),
            _ => {}
        }
    }
    None
}

fn is_ephemeral(queue: &str) -> bool {
    queue.starts_with("ephemeral.")
}
