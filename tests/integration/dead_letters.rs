//! `bankrefresh dead-letters`, by the program itself on a real broker.

use std::collections::BTreeSet;
use std::process::Output;

use bankrefresh::broker::topology::DELIVERY_LIMIT;
use bankrefresh::broker::{Delivery, Header, Message, Outgoing, Properties};
use bankrefresh::message::{self, COMMAND_NAME, DIED_AT_HEADER, QUEUE_HEADER, REASON_HEADER};
use bankrefresh::proto::{RefreshConnection, UserMetadata};
use bankrefresh::refresh::event::EventKind;
use bankrefresh::refresh::{Command, Envelope, Refresh, state};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::dead_letters::{command_message, dead, until_dead};
use crate::support::platform::{PATIENCE, Platform, Reader, WorkerProcess, command, die_with, quick};

const PLANTED: &str = "planted-token-51c7";

struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Ran {
    fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// The first column of `list`.
    fn ids(&self) -> Vec<String> {
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        self.out.lines().map(first).collect()
    }
}

async fn dead_letters(platform: &Platform, arguments: &[&str]) -> Ran {
    let arguments = [&["dead-letters"], arguments].concat();
    let Output { status, stdout, stderr } = platform.program(&arguments, &[]).output().await.expect("it runs");
    Ran {
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
        code: status.code(),
    }
}

/// Puts so many into the dead letters, as commands of the background lane, and says their ids.
async fn fill(platform: &Platform, count: i64) -> Vec<String> {
    let background = platform.topology.background();
    let now = Timestamp::now();
    let mut ids = Vec::new();
    let messages = (1..=count).map(|connection| {
        let command = command(connection);
        ids.push(command.command_id.clone());
        dead(
            platform,
            command_message(platform, command),
            &background,
            "for a test",
            now,
        )
    });
    platform.broker.publish(messages.collect()).await.expect("published");
    until_dead(platform, count).await;
    ids
}

/// Takes all messages of a queue out of it; there is one at least.
async fn drain(platform: &Platform, queue: &str) -> Vec<Message> {
    let filled = async {
        loop {
            let (count, _) = platform.rabbit.depth(queue).await;
            if count > 0 {
                return count;
            }
        }
    };
    let count = timeout(PATIENCE, filled)
        .await
        .unwrap_or_else(|_| panic!("nothing comes to {queue}"));
    let mut reader = Reader::new(platform, queue, 500);
    let mut messages = Vec::new();
    for _ in 0..count {
        let delivery = reader.next().await;
        reader.broker.ack(delivery.tag);
        messages.push(delivery.message);
    }
    reader.broker.close().await;
    messages
}

async fn end(mut worker: WorkerProcess) {
    worker.signal("TERM").await;
    assert!(worker.ended().await.success());
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.properties.headers.get(name).and_then(Header::as_text)
}

#[tokio::test]
async fn they_are_listed_and_shown_without_secrets_and_stay_as_they_are() {
    let platform = Platform::start(quick()).await;
    let worker = platform.worker(&[]);
    let refused = RefreshConnection {
        user_id: "u".repeat(40),
        access_token: PLANTED.to_owned(),
        user_metadata: Some(UserMetadata {
            ip_address: "192.0.2.7".to_owned(),
            ..UserMetadata::default()
        }),
        ..command(7)
    };
    let id = platform.send(refused).await;
    until_dead(&platform, 1).await;
    let mut noise = Message {
        body: vec![0xff; 40].into(),
        properties: Properties {
            kind: Some("not.Ours\u{1b}[2J".to_owned()),
            message_id: Some("no fit id".to_owned()),
            ..Properties::default()
        },
    };
    noise.properties.headers.insert("api-token".to_owned(), PLANTED.into());
    let noise = Outgoing {
        exchange: platform.topology.commands(),
        routing_key: "background".to_owned(),
        message: noise,
    };
    platform.broker.publish(vec![noise]).await.expect("published");
    until_dead(&platform, 2).await;
    end(worker).await;

    let listed = dead_letters(&platform, &["list"]).await;
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    let lines = listed.lines();
    assert_eq!(lines.len(), 2, "{}", listed.out);
    assert!(
        lines[0].starts_with(&id) && lines[0].contains(&platform.topology.interactive()),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].contains("user_id: must have 1 to 36 characters that can be printed"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("type: must be"), "{}", lines[1]);
    let json = dead_letters(
        &platform,
        &["list", "--format", "json", "--queue", "commands.background"],
    )
    .await;
    let json: Value = serde_json::from_str(&json.out).expect("one line of JSON");
    assert_eq!(json["queue"], platform.topology.background());
    assert!(
        json["died_at"]
            .as_str()
            .is_some_and(|at| at.parse::<Timestamp>().is_ok()),
        "{json}"
    );
    let hash = json["id"].as_str().expect("an id").to_owned();
    assert_eq!(hash.len(), 12, "a hash of the body");

    let shown = dead_letters(&platform, &["show", &id]).await;
    let whole: Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!(whole["body"]["access_token"], "(hidden)");
    assert_eq!(whole["body"]["bank_connection_id"], 7);
    assert_eq!(whole["headers"][QUEUE_HEADER], platform.topology.interactive());
    let noise = dead_letters(&platform, &["show", &hash]).await;
    let noise_json: Value = serde_json::from_str(&noise.out).expect("JSON");
    assert_eq!(noise_json["headers"]["api-token"], "(hidden)");
    let missing = dead_letters(&platform, &["show", "nobody"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.err.contains("there is no dead letter nobody"),
        "{}",
        missing.err
    );
    // Read more often than RabbitMQ 4 would forgive by default.
    for _ in 0..25 {
        assert_eq!(dead_letters(&platform, &["list"]).await.out, listed.out);
    }
    let all = [listed, shown, noise, missing];
    for ran in &all {
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!said.contains(PLANTED) && !said.contains('\u{1b}'), "{said:?}");
    }
    assert!(
        !all[0].out.contains("uuuu") && !all[0].out.contains("192.0.2.7"),
        "a list holds nothing personal"
    );
    until_dead(&platform, 2).await;
}

#[tokio::test]
async fn many_pages_keep_their_order_and_what_is_not_meant_stays() {
    let platform = Platform::start(quick()).await;
    let ids = fill(&platform, 1200).await;
    let listed = dead_letters(&platform, &["list", "--limit", "5000"]).await;
    assert_eq!(listed.ids(), ids);
    assert_eq!(
        dead_letters(&platform, &["list", "--limit", "5000"]).await.out,
        listed.out,
        "in the same order again"
    );
    let picked = [ids[3].as_str(), &ids[700], &ids[1199]];
    let tried = dead_letters(&platform, &[&["discard", "--dry-run"], &picked[..]].concat()).await;
    assert!(tried.out.ends_with("3 would be discarded\n"), "{}", tried.out);
    until_dead(&platform, 1200).await;
    let discarded = dead_letters(&platform, &[&["discard"], &picked[..], &["nobody"]].concat()).await;
    assert!(discarded.out.ends_with("3 discarded\n"), "{}", discarded.out);
    assert_eq!(discarded.code, Some(1), "one was not found");
    until_dead(&platform, 1197).await;
    let rest: Vec<String> = ids
        .iter()
        .filter(|id| !picked.contains(&id.as_str()))
        .cloned()
        .collect();
    assert_eq!(dead_letters(&platform, &["list", "--limit", "5000"]).await.ids(), rest);

    let first = dead_letters(&platform, &["discard", "--all", "--limit", "97"]).await;
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.err.contains("1077 were not read"), "{}", first.err);
    let some = dead_letters(&platform, &["list"]).await;
    assert_eq!(some.lines().len(), 1000);
    assert!(some.err.contains("80 were not read"), "{}", some.err);
    // Those that were not read come first now; none is missing.
    let left = dead_letters(&platform, &["list", "--limit", "5000"]).await.ids();
    assert_eq!(left.len(), 1100);
    let left: BTreeSet<String> = left.into_iter().collect();
    assert_eq!(left, rest[97..].iter().cloned().collect());
    assert_eq!(dead_letters(&platform, &["discard", "--all"]).await.code, Some(0));
    until_dead(&platform, 0).await;
    for nothing in ["list", "replay --all", "discard --reason x"] {
        let arguments: Vec<&str> = nothing.split(' ').collect();
        assert_eq!(dead_letters(&platform, &arguments).await.code, Some(0), "{nothing}");
    }
}

#[tokio::test]
async fn every_filter_picks_what_it_says_and_nothing_goes_without_being_picked() {
    let platform = Platform::start(quick()).await;
    let topology = platform.topology.clone();
    let now = Timestamp::now();
    let old = now - SignedDuration::from_hours(5);
    let parsed = |command| Command::parse(command).expect("a command");
    let refresh = |connection| Refresh::new(parsed(command(connection)), now, Envelope::default(), now);
    let state = |connection| message::checkpoint(&topology, &refresh(connection), now).message;
    let message = |connection| command_message(&platform, command(connection));
    let of_unknown_origin = Outgoing {
        exchange: topology.dead_letters(),
        routing_key: String::new(),
        message: Message {
            properties: Properties {
                kind: Some("foreign.Kind".to_owned()),
                message_id: Some("stranger".to_owned()),
                ..Properties::default()
            },
            ..Message::default()
        },
    };
    let letters = vec![
        dead(&platform, message(1), &topology.interactive(), "user_id: bad", old),
        dead(&platform, message(2), &topology.background(), "labels: bad", now),
        dead(&platform, state(3), &topology.steps(), "phase is missing", now),
        of_unknown_origin,
    ];
    platform.broker.publish(letters).await.expect("published");
    until_dead(&platform, 4).await;
    let ids = dead_letters(&platform, &["list"]).await.ids();
    let cases: [(&[&str], &[usize]); 11] = [
        // A checkpoint's user is found as well.
        (&["--user", "user-3"], &[2]),
        (&["--user", "user"], &[]),
        (&["--reason", "bad"], &[0, 1]),
        (&["--reason", "bad", "--queue", "commands.background"], &[1]),
        (&["--queue", &topology.steps()], &[2]),
        (&["--type", "RefreshState"], &[2]),
        (&["--type", COMMAND_NAME], &[0, 1]),
        (&["--type", "Kind"], &[3]),
        (&["--older-than", "4h"], &[0]),
        (&["--limit", "2"], &[0, 1]),
        (&[&ids[1], "--older-than", "4h"], &[]),
    ];
    for (filter, picked) in cases {
        let listed = dead_letters(&platform, &[&["list"], filter].concat()).await;
        let expected: Vec<String> = picked.iter().map(|index| ids[*index].clone()).collect();
        assert_eq!(listed.ids(), expected, "{filter:?}");
    }
    for unpicked in [
        &["discard"][..],
        &["discard", "--limit", "1"],
        &["replay"],
        &["discard", "--all", "--reason", "x"],
    ] {
        assert_eq!(dead_letters(&platform, unpicked).await.code, Some(2), "{unpicked:?}");
    }

    let tried = dead_letters(&platform, &["replay", "--all", "--dry-run"]).await;
    let ways = [
        format!("would replay {} to {} (interactive)", ids[0], topology.commands()),
        format!("would replay {} to {} (background)", ids[1], topology.commands()),
        format!("would replay {} to {} ({})", ids[2], topology.steps(), topology.steps()),
        "3 would be replayed, 1 could not be".to_owned(),
    ];
    assert_eq!(tried.lines(), ways);
    assert_eq!(tried.code, Some(1));
    until_dead(&platform, 4).await;

    // Whoever is to be forgotten is, and nobody else.
    let forgotten = dead_letters(&platform, &["discard", "--user", "user-2"]).await;
    assert_eq!(
        forgotten.lines(),
        [format!("discarded {}", ids[1]), "1 discarded".to_owned()]
    );
    until_dead(&platform, 3).await;

    let replayed = dead_letters(&platform, &["replay", "--all"]).await;
    assert!(
        replayed
            .err
            .contains("stranger stays: nobody can know where it came from"),
        "{}",
        replayed.err
    );
    assert_eq!(replayed.code, Some(1));
    until_dead(&platform, 1).await;
    for (queue, id) in [(topology.interactive(), &ids[0]), (topology.steps(), &ids[2])] {
        let there = drain(&platform, &queue).await;
        assert_eq!(there.len(), 1, "{queue}");
        assert_eq!(there[0].properties.message_id.as_ref(), Some(id));
        for gone in [REASON_HEADER, QUEUE_HEADER, DIED_AT_HEADER] {
            assert!(!there[0].properties.headers.contains_key(gone), "{gone} in {queue}");
        }
    }
}

#[tokio::test]
async fn what_killed_workers_ends_in_an_outcome_once_it_is_replayed() {
    let mut platform = Platform::start(quick()).await;
    let topology = platform.topology.clone();
    let id = platform.send(command(1)).await;
    // Its lane first, then alone, as workers do it.
    for _ in 0..3 {
        die_with(&platform, &topology.interactive(), 1).await;
    }
    let lane = drain(&platform, &topology.interactive()).await;
    let delivery = Delivery {
        tag: bankrefresh::broker::Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: topology.interactive(),
        redeliveries: 3,
        flaw: None,
        message: lane[0].clone(),
    };
    let quarantined = message::quarantine(&topology, &delivery, Timestamp::now());
    platform.broker.publish(vec![quarantined]).await.expect("published");
    for _ in 0..=DELIVERY_LIMIT {
        die_with(&platform, &topology.quarantine(), 1).await;
    }
    until_dead(&platform, 1).await;
    let listed = dead_letters(&platform, &["list", "--reason", "delivery_limit", "--format", "json"]).await;
    let row: Value = serde_json::from_str(&listed.out).expect("a line of JSON");
    assert_eq!(row["id"], id);
    assert_eq!(row["queue"], topology.interactive(), "where it was sent to");
    assert!(row["died_at"].is_string(), "{row}");

    let replayed = dead_letters(&platform, &["replay", &id]).await;
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    let there = drain(&platform, &topology.interactive()).await;
    let headers = &there[0].properties.headers;
    let old = |name: &String| name.starts_with("x-") || name.starts_with("bankrefresh_");
    assert!(!headers.keys().any(old), "{headers:?}");
    let again = Outgoing {
        exchange: topology.commands(),
        routing_key: "interactive".to_owned(),
        message: there[0].clone(),
    };
    platform.broker.publish(vec![again]).await.expect("published");
    let _worker = platform.worker(&[]);
    let events = platform.outcome(&id).await;
    assert!(
        matches!(&events[..], [event] if matches!(event.kind(), EventKind::TransactionsUpdated(_))),
        "{events:?}"
    );
    until_dead(&platform, 0).await;
}

#[tokio::test]
async fn what_is_still_wrong_comes_back_once_and_is_not_replayed_for_ever() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let wrong = RefreshConnection {
        user_id: String::new(),
        ..command(1)
    };
    let id = platform.send(wrong).await;
    // Its state was written by a release that could be read then, as it can now.
    let now = Timestamp::now();
    let fixed = command(2);
    let state = message::checkpoint(
        &platform.topology,
        &Refresh::new(
            Command::parse(fixed.clone()).expect("a command"),
            now,
            Envelope::default(),
            now,
        ),
        now,
    );
    assert_eq!(state.message.properties.kind.as_deref(), Some(state::MESSAGE_NAME));
    let steps = platform.topology.steps();
    let state = dead(&platform, state.message, &steps, "not a refresh state", now);
    platform.broker.publish(vec![state]).await.expect("published");
    until_dead(&platform, 2).await;
    let replayed = dead_letters(&platform, &["replay", "--all"]).await;
    assert!(
        replayed.out.ends_with("2 replayed, 0 could not be\n"),
        "{}{}",
        replayed.out,
        replayed.err
    );
    platform.outcome(&fixed.command_id).await;
    until_dead(&platform, 1).await;
    let left = dead_letters(&platform, &["list"]).await;
    assert_eq!(left.ids(), [id]);
}

#[tokio::test]
async fn a_replay_that_is_killed_loses_nothing() {
    let platform = Platform::start(quick()).await;
    let ids = fill(&platform, 2000).await;
    let mut replay = platform
        .program(&["dead-letters", "replay", "--all"], &[])
        .spawn()
        .expect("it starts");
    // It says what it has done a page at a time.
    let mut said = BufReader::new(replay.stdout.take().expect("its output")).lines();
    for _ in 0..600 {
        assert!(
            said.next_line().await.expect("a line").is_some(),
            "it has not ended by itself"
        );
    }
    replay.kill().await.expect("killed");
    let background = platform.topology.background();
    let queue = platform.topology.dead_letters();
    // Until the broker has detected it, and has everything back.
    let (mut left, mut there, mut readers) = (0, 0, 1);
    let all_back = async {
        while readers > 0 || left + there < 2000 {
            (left, readers) = platform.rabbit.depth(&queue).await;
            (there, _) = platform.rabbit.depth(&background).await;
        }
    };
    if timeout(PATIENCE, all_back).await.is_err() {
        panic!("{left} left, {there} there");
    }
    assert!(left > 0 && there >= 600, "it was halfway: {left} left, {there} there");
    println!("killed with {left} left and {there} there");

    let replayed = dead_letters(&platform, &["replay", "--all"]).await;
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    until_dead(&platform, 0).await;
    let there = drain(&platform, &background).await;
    let found: BTreeSet<&str> = there
        .iter()
        .filter_map(|message| message.properties.message_id.as_deref())
        .collect();
    assert_eq!(found, ids.iter().map(String::as_str).collect());
    println!("{} messages for 2000 commands", there.len());
    assert!(there.iter().all(|message| header(message, REASON_HEADER).is_none()));
    let read = RefreshConnection::decode(there[0].body.clone()).expect("a command");
    assert!(Uuid::parse_str(&read.command_id).is_ok());
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_named() {
    let platform = Platform::start(quick()).await;
    let nowhere = platform
        .program(&["dead-letters", "list"], &[("AMQP__PREFIX", "nobodys")])
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&nowhere.stderr);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        said.contains("queue \"nobodys.dead-letters\" is missing") && said.contains("topology apply"),
        "{said}"
    );
}
