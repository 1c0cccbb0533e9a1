//! What happened in a run, line by line.

use std::time::Duration;

use bankrefresh::broker::Message;
use bankrefresh::broker::memory::{Seen, What};
use bankrefresh::refresh::event::Event;
use tokio::time::Instant;

use crate::line::Call;
use crate::scenario::Scenario;
use crate::world::History;

/// Prints the scenario, and then what happened.
pub(crate) fn print(scenario: &Scenario, history: &History) {
    println!("{scenario:#?}\n");
    let mut lines = lines(scenario, history);
    let since = |at: Instant| at.duration_since(history.began);
    lines.extend(
        history
            .logs
            .iter()
            .map(|(at, line)| (since(*at), format!("    {line}"))),
    );
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        println!("{:>10.3}  {line}", at.as_secs_f64());
    }
}

/// What happened but for the log, whose request ids differ from run to run.
pub(crate) fn lines(scenario: &Scenario, history: &History) -> Vec<(Duration, String)> {
    let since = |at: Instant| at.duration_since(history.began);
    let mut lines = Vec::new();
    for (at, act) in &history.acts {
        lines.push((since(*at), format!("***   {act:?}")));
    }
    lines.extend(
        history
            .calls
            .iter()
            .map(|call| (since(call.at), describe_call(call, since(call.at), history))),
    );
    lines.extend(
        history
            .broker
            .iter()
            .filter_map(|seen| Some((since(seen.at), describe_seen(seen)?))),
    );
    lines.push((scenario.calm_at, "***   nothing goes wrong from here on".to_owned()));
    if let Some(quiet_at) = history.quiet_at {
        lines.push((since(quiet_at), "***   all is quiet".to_owned()));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines
}

fn describe_call(call: &Call, at: Duration, history: &History) -> String {
    let answered = match call.answered {
        None => "no answer".to_owned(),
        Some((then, status)) => format!("{status} after {:?}", then.duration_since(history.began) - at),
    };
    format!("call  worker {}: {:?}: {answered}", call.life, call.endpoint)
}

fn describe_seen(seen: &Seen) -> Option<String> {
    Some(match &seen.what {
        What::Sent { client, outgoing } => {
            format!(
                "sent  by {client} to {}: {}",
                outgoing.exchange,
                name(&outgoing.message)
            )
        }
        What::Taken { queue, message } => format!("taken {queue}: {}", name(message)),
        What::Handed {
            client,
            queue,
            redeliveries,
            message,
        } => {
            format!(
                "hand  {queue} to {client}, {redeliveries} times back: {}",
                name(message)
            )
        }
        What::Acked { client, message, .. } => {
            let (queue, message) = message.as_ref()?;
            format!("acked {queue} by {client}: {}", name(message))
        }
        What::Connected { client } => format!("up    {client}"),
        What::Disconnected { client } => format!("down  {client}"),
        What::Returned { client, queue, message } => format!("back  {queue} from {client}: {}", name(message)),
        What::PublishFailed {
            client,
            fault,
            messages,
        } => {
            let first = messages.first().map(|outgoing| name(&outgoing.message));
            format!("fail  {fault:?} at {client}: {}", first.unwrap_or_default())
        }
        What::Left { queue, message, reason } => format!("left  {queue}, {reason}: {}", name(message)),
    })
}

fn name(message: &Message) -> String {
    let kind = message.properties.kind.as_deref().unwrap_or_default();
    let id = message.properties.message_id.as_deref().unwrap_or_default();
    let kind = kind.trim_start_matches("bankrefresh.v1.");
    match Event::decode(message.properties.kind.as_deref().unwrap_or_default(), &message.body) {
        Ok(event) => {
            let command = &event.context().command_id;
            format!("{} of {command}", event.summary())
        }
        Err(_) => format!("{kind} {id}"),
    }
}
