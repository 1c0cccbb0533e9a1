//! Ids that two commands share, or that mean something where they are written, and wake-ups that nobody asked for.

use std::collections::BTreeSet;

use axum::http::Method;
use bankrefresh::broker::{Message, Outgoing, Properties};
use bankrefresh::proto::RefreshConnection;

use super::neighbours::{BAD, Neighbours, swift};
use super::promise::Promise;
use crate::support::amqp::{Property, RawProperties};
use crate::support::gate::Gate;
use crate::support::platform::{Platform, client, command, free_address};

pub const COMMAND_IDS: Promise = Promise {
    check: "one command id for two users",
    promise: "two users' commands with one id each have an outcome, with an event id of its own",
};

pub const USER_IDS: Promise = Promise {
    check: "user ids in the URL of credentials",
    promise: "a user id is one segment of the URL that its credential is asked for with",
};

/// The event ids of the outcomes of commands with one id, by user.
async fn outcomes(neighbours: &mut Neighbours, id: &str) -> BTreeSet<(String, String)> {
    // What has no outcome now never has one.
    let _ = neighbours.are_served().await;
    let events = neighbours.platform.events.get(id).into_iter().flatten();
    let of = |(event, _): &(bankrefresh::refresh::event::Event, Message)| {
        (event.context().user_id.clone(), event.context().event_id.clone())
    };
    events.map(of).collect()
}

#[tokio::test]
async fn two_users_commands_with_one_id_have_an_outcome_each() {
    let mut broken = Vec::new();
    let mut neighbours = Neighbours::start(&[]).await;
    for (case, at_once) in [("at once", true), ("one after the other", false)] {
        let first = command(BAD + i64::from(at_once));
        let second = RefreshConnection {
            command_id: first.command_id.clone(),
            ..command(BAD + 10 + i64::from(at_once))
        };
        let id = first.command_id.clone();
        if at_once {
            neighbours.platform.send_all(vec![first, second], true).await;
        } else {
            neighbours.platform.send_all(vec![first], true).await;
            neighbours.platform.outcome(&id).await;
            neighbours.platform.send_all(vec![second], true).await;
        }
        let outcomes = outcomes(&mut neighbours, &id).await;
        let users: BTreeSet<&str> = outcomes.iter().map(|(user, _)| user.as_str()).collect();
        let ids: BTreeSet<&str> = outcomes.iter().map(|(_, id)| id.as_str()).collect();
        if users.len() < 2 || ids.len() < 2 {
            broken.push(format!("{case}: {} users, {} event ids", users.len(), ids.len()));
        }
    }
    COMMAND_IDS.check(&broken);
}

#[tokio::test]
async fn a_user_id_is_one_segment_of_the_url_of_its_credential() {
    let platform = Platform::start(swift()).await;
    let gate = Gate::start(&platform, |_| false).await;
    let url = format!("{}/sandbox/credentials", gate.url);
    let mut neighbours = Neighbours::of(platform, &[("CREDENTIALS__URL", &url)]).await;
    let odd = [
        "..",
        ".",
        ".\t.",
        ".\n.",
        "\t..",
        ".\r.",
        "an\tna",
        "anna\n",
        "../tokens",
        "a/b",
        "a?b",
        "a#b",
        "%2e%2e",
    ];
    for (connection, user) in (BAD..).zip(odd) {
        let command = RefreshConnection {
            user_id: user.to_owned(),
            ..command(connection)
        };
        neighbours.platform.send(command).await;
    }
    neighbours.are_served().await.expect("they are served");
    // Each of these leads to another place, or is another user's.
    let wrong = |path: &&String| {
        let segment = path.strip_prefix("/sandbox/credentials/");
        segment.is_none_or(|segment| segment.contains('/') || ["", "anna"].contains(&segment))
    };
    let asked = gate.paths(&Method::GET);
    assert!(asked.len() > 10, "{asked:?}");
    let broken: Vec<String> = asked.iter().filter(wrong).cloned().collect();
    USER_IDS.check(&broken);
}

/// A wake-up for a refresh that nobody knows, or for nothing at all.
fn wake_up(platform: &Platform, body: Vec<u8>) -> Outgoing {
    Outgoing {
        exchange: platform.topology.wake(),
        routing_key: String::new(),
        message: Message {
            body: body.into(),
            properties: Properties::default(),
        },
    }
}

#[tokio::test]
async fn wake_ups_that_nobody_asked_for_delay_nobody() {
    let mut neighbours = Neighbours::start(&[]).await;
    let junk = |n: u32| match n % 4 {
        0 => Vec::new(),
        1 => vec![0xff; 1000],
        2 => uuid::Uuid::new_v4().to_string().into_bytes(),
        _ => vec![b'1'; 36],
    };
    for _ in 0..10 {
        let batch = (0..500).map(|n| wake_up(&neighbours.platform, junk(n))).collect();
        neighbours.platform.broker.publish(batch).await.expect("published");
    }
    neighbours.are_served().await.expect("they are served");
}

#[tokio::test]
async fn a_limit_on_ephemeral_queues_stops_nobody() {
    let listen = free_address();
    let mut neighbours = Neighbours::start(&[("ADMIN__LISTEN", &listen)]).await;
    let wake_ups = neighbours.platform.topology.wake();
    let definition = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
    let rabbit = neighbours.platform.rabbit;
    rabbit.set_policy(&wake_ups, &format!("^{wake_ups}"), definition).await;
    for _ in 0..10 {
        // Some are refused.
        let batch = (0..100).map(|_| wake_up(&neighbours.platform, Vec::new())).collect();
        let _ = neighbours.platform.broker.publish(batch).await;
    }
    neighbours.are_served().await.expect("they are served");
    let ready = client().get(format!("http://{listen}/readyz")).send().await;
    assert_eq!(ready.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_wake_up_that_is_not_utf8_costs_no_worker_its_connection() {
    let mut neighbours = Neighbours::start(&[]).await;
    let wake_ups = neighbours.platform.topology.wake();
    let properties = RawProperties::default().with(Property::CorrelationId, b"\xff");
    neighbours.raw.publish(&wake_ups, "", &properties, b"").await;
    let mut broken: Vec<String> = neighbours.are_served().await.err().into_iter().collect();
    if neighbours.worker.log.text().contains("lost the connection") {
        broken.push("the worker lost its connection".to_owned());
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
