//! The broker: connection, version, rights and topology.

use super::Finding;
use crate::broker::rabbit::{self, Difference, Visit};
use crate::broker::topology::Topology;

/// The oldest RabbitMQ that has what the topology needs.
const OLDEST: (u32, u32) = (3, 10);

pub(super) async fn check(settings: &rabbit::Settings) -> Vec<Finding> {
    let topology = Topology::new(&settings.prefix);
    let optional = topology.control();
    match rabbit::visit(&settings.named("doctor"), &topology).await {
        Ok(visit) => [
            vec![connected(&visit), version(visit.version.as_deref()), rights(&visit)],
            found(&visit, settings.declare, &optional),
        ]
        .concat(),
        Err(error) => vec![Finding::wrong("broker", error)],
    }
}

fn connected(visit: &Visit) -> Finding {
    let Visit {
        address, user, vhost, ..
    } = visit;
    let text = format!("{address}, user {user:?}, virtual host {vhost:?}");
    match visit.is_open {
        false => Finding::ok("broker", format!("{text}{}", if visit.is_tls { ", TLS" } else { "" })),
        true => Finding::wrong(
            "broker",
            format!(
                "{text}: no TLS, so everybody on the way can read the password and the messages; use amqps:// in amqp.url"
            ),
        ),
    }
}

fn version(version: Option<&str>) -> Finding {
    let Some(version) = version else {
        return Finding::note(
            "version",
            "the broker does not say its version; RabbitMQ 3.10 to 4.3 are supported",
        );
    };
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Finding::ok("version", format!("RabbitMQ {version}")),
        _ => Finding::wrong(
            "version",
            format!("RabbitMQ {version}: upgrade it to 3.10 or newer, which has quorum queues with TTLs"),
        ),
    }
}

fn rights(visit: &Visit) -> Finding {
    match visit.forbidden.as_slice() {
        [] => Finding::ok("rights", format!("user {:?} may do what a worker does", visit.user)),
        forbidden => Finding::wrong(
            "rights",
            format!(
                "user {:?} may not {}; `bankrefresh topology definitions` prints the permissions of a worker",
                visit.user,
                forbidden.join(", ")
            ),
        ),
    }
}

/// A worker that declares adds what is missing, and changes nothing that differs.
fn found(visit: &Visit, declares: bool, optional: &str) -> Vec<Finding> {
    let (forbidden, differences): (Vec<&Difference>, Vec<&Difference>) = visit
        .differences
        .iter()
        .partition(|difference| matches!(difference, Difference::Forbidden { .. }));
    let mut findings: Vec<Finding> = differences
        .into_iter()
        .map(|difference| match difference {
            Difference::MissingExchange { name } | Difference::MissingQueue { name }
                if name == optional && !declares =>
            {
                Finding::note(
                    "topology",
                    format!("{difference}, so `bankrefresh pause` reaches no worker"),
                )
            }
            Difference::MissingExchange { .. } | Difference::MissingQueue { .. } if declares => {
                Finding::note("topology", format!("{difference}; a worker declares it when it starts"))
            }
            Difference::MissingExchange { .. } | Difference::MissingQueue { .. } => Finding::wrong(
                "topology",
                format!("{difference}; `bankrefresh topology apply` declares it"),
            ),
            _ => Finding::wrong(
                "topology",
                format!("{difference}; delete it once it is empty, and declare it with `bankrefresh topology apply`"),
            ),
        })
        .collect();
    if !forbidden.is_empty() {
        let count = forbidden.len();
        let text = format!(
            "{count} arguments cannot be seen by this user; an administrator sees them by `bankrefresh topology check`"
        );
        findings.push(Finding::note("topology", text));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("topology", "exchanges and queues are as they should be"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn old_versions_are_wrong_and_new_ones_are_not() {
        for (text, verdict) in [
            (Some("3.9.29"), Verdict::Wrong),
            (Some("3.10.8"), Verdict::Ok),
            (Some("4.3.6+beta"), Verdict::Ok),
            (Some("odd"), Verdict::Wrong),
            (None, Verdict::Note),
        ] {
            assert_eq!(version(text).verdict, verdict, "{text:?}");
        }
    }
}
