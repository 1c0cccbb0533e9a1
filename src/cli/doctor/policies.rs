//! Policies on our queues that would break a promise. AMQP does not show them, so RabbitMQ's management API is asked.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Request;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{Args, Finding};
use crate::broker::rabbit;
use crate::broker::topology::{Role, Topology};
use crate::finapi::transport::Transport;
use crate::setting::HttpUrl;

const ABOUT: &str = "policies";

/// How long an answer may take, and how large it may be.
const TIMEOUT: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A queue as the management API describes it.
#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    /// An object, or an empty list where there is none.
    #[serde(default)]
    effective_policy_definition: Value,
}

pub(super) async fn check(args: &Args, settings: &rabbit::Settings) -> Finding {
    let Some(url) = &args.management else {
        let words = "not checked, because AMQP does not show them; give --management URL, or read what `rabbitmqctl list_policies` and \
                     `rabbitmqctl list_operator_policies` print";
        return Finding::note(ABOUT, words);
    };
    let login = match (&args.management_user, &args.management_password_file) {
        (Some(user), Some(file)) => match std::fs::read_to_string(file) {
            Ok(password) => (
                user.clone(),
                SecretString::from(password.trim_end_matches(['\r', '\n'])),
            ),
            Err(error) => return Finding::wrong(ABOUT, format!("{}: {error}", file.display())),
        },
        _ => settings.url.login(),
    };
    match described(url, settings.url.vhost(), login).await {
        Ok(queues) => judge(&queues, &Topology::new(&settings.prefix)),
        Err(why) => Finding::wrong(ABOUT, format!("{}: {why}", url.shown())),
    }
}

async fn described(
    url: &HttpUrl,
    vhost: &str,
    (user, password): (String, SecretString),
) -> Result<Vec<Described>, String> {
    let mut url = url.clone().join("api/queues/").map_err(|error| error.to_string())?;
    url.path_segments_mut()
        .map_err(|()| "it is no base of a URL".to_owned())?
        .pop_if_empty()
        .push(vhost);
    url.set_query(Some("columns=name,effective_policy_definition"));
    let mut request = Request::new(Method::GET, url);
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::AUTHORIZATION, basic(&user, &password));
    let transport = Transport::http(TIMEOUT, false, false).map_err(|error| error.to_string())?;
    let response = transport
        .send(request, TIMEOUT, BYTES_MAX)
        .await
        .map_err(|error| error.to_string())?;
    match response.status {
        StatusCode::OK => serde_json::from_slice(&response.body)
            .map_err(|_| "it does not answer like RabbitMQ's management API".to_owned()),
        StatusCode::UNAUTHORIZED => {
            Err("it refuses this user; it takes one with the tag `monitoring` (--management-user)".to_owned())
        }
        status => Err(format!("it answered {}", status.as_u16())),
    }
}

/// RFC 7617.
fn basic(user: &str, password: &SecretString) -> HeaderValue {
    let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

fn judge(queues: &[Described], topology: &Topology) -> Finding {
    let mut broken = Vec::new();
    for queue in topology.queues() {
        let Some(described) = queues.iter().find(|described| described.name == queue.name) else {
            continue;
        };
        let Some(policy) = described.effective_policy_definition.as_object() else {
            continue;
        };
        let keys: Vec<&str> = policy
            .keys()
            .map(String::as_str)
            .filter(|key| breaks(&queue.role, key))
            .collect();
        if !keys.is_empty() {
            broken.push(format!("{} on {}", keys.join(", "), queue.name));
        }
    }
    match broken.is_empty() {
        true => Finding::ok(ABOUT, "none on our queues breaks a promise"),
        false => Finding::wrong(
            ABOUT,
            format!(
                "a policy sets {}; messages would be lost or come late: let it not match these queues",
                broken.join("; ")
            ),
        ),
    }
}

/// Whether a policy may not say this about a queue. What only operators look at may be shortened.
fn breaks(role: &Role, key: &str) -> bool {
    match key {
        "message-ttl" | "max-length" | "overflow" => matches!(role, Role::Work { .. } | Role::Delay { .. }),
        // In a stream the orders are lost: what is paused starts again.
        "max-length-bytes" => matches!(role, Role::Work { .. } | Role::Delay { .. } | Role::Stream { .. }),
        "max-age" => matches!(role, Role::Stream { .. }),
        "expires" => true,
        "delivery-limit" | "dead-letter-exchange" | "dead-letter-routing-key" | "dead-letter-strategy" => {
            matches!(role, Role::Work { .. } | Role::Delay { .. })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_policy_that_shortens_what_owes_an_outcome_is_wrong() {
        let topology = Topology::new("bankrefresh");
        let of = |json: &str| judge(&serde_json::from_str::<Vec<Described>>(json).expect("JSON"), &topology);
        let policy = |queue: &str, definition: &str| {
            of(&format!(
                r#"[{{"name":"bankrefresh.{queue}","effective_policy_definition":{definition}}}]"#
            ))
        };
        for (queue, definition, verdict) in [
            ("commands.background", r#"{"max-length":10}"#, Verdict::Wrong),
            ("quarantine", r#"{"message-ttl":1000}"#, Verdict::Wrong),
            ("delay.5m", r#"{"message-ttl":1000}"#, Verdict::Wrong),
            ("dead-letters", r#"{"expires":1000}"#, Verdict::Wrong),
            ("control", r#"{"max-length-bytes":1000}"#, Verdict::Wrong),
            ("control", r#"{"max-age":"1h"}"#, Verdict::Wrong),
            ("control", r#"{"max-length":10}"#, Verdict::Ok),
            ("events.unrouted", r#"{"max-length":10}"#, Verdict::Ok),
            ("steps", "{}", Verdict::Ok),
            ("steps", "[]", Verdict::Ok),
            ("steps", r#"{"queue-leader-locator":"balanced"}"#, Verdict::Ok),
        ] {
            assert_eq!(policy(queue, definition).verdict, verdict, "{queue} {definition}");
        }
        assert_eq!(of("[]").verdict, Verdict::Ok);
    }
}
