//! What the whole of a worker does, with a broker and a finAPI in this process, in virtual time.

mod cancelled;
mod clients;
mod life;
mod paused;
mod publishing;
mod returned;

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use jiff::Timestamp;
use prost::Message as _;
use serde_json::json;

use super::scheduler::{DUPLICATE_WAIT, QUARANTINE_REDELIVERIES};
use super::*;
use crate::broker::memory::{Client, Server};
use crate::broker::topology::DELAYS;
use crate::broker::{Delivery, Header, Message, Outgoing, Properties, Subscription, Tag};
use crate::finapi::breaker;
use crate::finapi::credentials::Credentials;
use crate::finapi::transport::Transport;
use crate::message;
use crate::proto::{RefreshConnection, RefreshState, from_timestamp};
use crate::refresh::schedule::POLL_INTERVAL_MIN;
use crate::refresh::{Command, Envelope, Phase, Refresh, TaskRef};

/// finAPI's own word that it knows no such thing.
const NOT_FOUND: (StatusCode, &str) = (
    StatusCode::NOT_FOUND,
    r#"{"code":"NOT_FOUND","description":"","timestamp":"","endpoint":"GET /api/tasks"}"#,
);

/// A worker whose finAPI counts its calls and answers all of them alike.
struct Alone {
    server: Server,
    client: Client,
    topology: Topology,
    clock: Clock,
    calls: Arc<AtomicU64>,
    /// How long finAPI takes for an answer.
    latency: Duration,
}

impl Alone {
    fn new() -> Self {
        let topology = Topology::new("t");
        let server = Server::new(&topology);
        let calls = Arc::new(AtomicU64::new(0));
        Self {
            client: server.connect(Vec::new()).0,
            server,
            topology,
            clock: Clock::starting_at(Timestamp::UNIX_EPOCH),
            calls,
            latency: Duration::from_millis(10),
        }
    }

    fn start(&self, answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Handle {
        self.start_with(answer, Settings::default())
    }

    fn start_with(&self, answer: impl IntoResponse + Clone + Send + Sync + 'static, settings: Settings) -> Handle {
        self.start_until(answer, settings, std::future::pending())
    }

    fn start_until(
        &self,
        answer: impl IntoResponse + Clone + Send + Sync + 'static,
        settings: Settings,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Handle {
        let (counted, latency) = (Arc::clone(&self.calls), self.latency);
        let router = Router::new().fallback(move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(latency).await;
            answer
        });
        let (worker, broker_events) = self.worker(router, Credentials::default(), settings);
        let handle = worker.handle();
        tokio::spawn(worker.run(broker_events, stop));
        handle
    }

    /// What others of this test consume, who are no workers: the lanes at once, and no orders.
    fn consumed(&self, settings: &Settings) -> Vec<Subscription> {
        let lanes = [self.topology.interactive(), self.topology.background()];
        let mut all = subscriptions(&self.topology, settings);
        all.retain(|it| !matches!(it, Subscription::Stream { .. }));
        for subscription in &mut all {
            if let Subscription::Queue { name, paused, .. } = subscription {
                *paused &= !lanes.contains(name);
            }
        }
        all
    }

    /// A worker for a finAPI of one's own, which has not started yet.
    fn worker(&self, router: Router, credentials: Credentials, settings: Settings) -> (Worker, BrokerEvents) {
        let at_finapi = json!({
            "access_url": "http://finapi.test", "web_form_url": "http://finapi.test",
            "client_id": "a", "client_secret": "b",
            "api_version": "v2",
        });
        let finapi = FinApi::new(
            Transport::InProcess(router),
            serde_json::from_value(at_finapi).expect("settings"),
            credentials,
            breaker::Settings::default(),
            None,
        );
        let (client, broker_events) = self.server.connect(subscriptions(&self.topology, &settings));
        let (broker, topology) = (Broker::Memory(client), self.topology.clone());
        let mut policy = Policy::default();
        policy.retry.initial = POLL_INTERVAL_MIN;
        policy.client = Some("live".to_owned());
        let worker = Worker::new(WorkerParts {
            broker,
            finapi,
            topology,
            policy,
            settings,
            clock: self.clock,
            seed: 1,
        });
        (worker, broker_events)
    }

    /// A refresh whose task runs, on its way to be tried alone.
    async fn quarantine(&self) {
        let now = self.clock.now();
        let command = parsed(command(1));
        let task = TaskRef {
            id: "0190f1c0-0000-7000-8000-000000000002".into(),
            created_at: now,
        };
        let refresh = Refresh {
            phase: Phase::Updating { task },
            ..Refresh::new(command, now, Envelope::default(), now)
        };
        let delivery = Delivery {
            tag: Tag {
                generation: 1,
                subscription: 0,
                number: 1,
            },
            queue: self.topology.steps(),
            redeliveries: QUARANTINE_REDELIVERIES,
            flaw: None,
            message: message::checkpoint(&self.topology, &refresh, now).message,
        };
        let quarantined = message::quarantine(&self.topology, &delivery, now);
        self.client.publish(vec![quarantined]).await.expect("published");
    }

    async fn send(&self, lane: &str, connection: i64) {
        let now = self.clock.now();
        let outgoing = message::command(&self.topology, command(connection), &Envelope::default(), now);
        self.publish(lane, outgoing.message).await;
    }

    async fn publish(&self, lane: &str, message: Message) {
        let outgoing = Outgoing {
            exchange: self.topology.commands(),
            routing_key: lane.to_owned(),
            message,
        };
        self.client.publish(vec![outgoing]).await.expect("published");
    }

    /// How many wait in delay queues.
    fn parked(&self) -> usize {
        let depths = self.server.depths();
        let depth = |(delay, _): &(&str, Duration)| depths[&self.topology.delay_queue(delay)].0;
        DELAYS.iter().map(depth).sum()
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

fn command(connection: i64) -> RefreshConnection {
    RefreshConnection {
        command_id: format!("0190f1c0-0000-7000-8000-{connection:012}"),
        user_id: "user".to_owned(),
        bank_connection_id: connection,
        access_token: "token".to_owned(),
        ..RefreshConnection::default()
    }
}

fn parsed(command: RefreshConnection) -> Command {
    Command::parse(command).expect("a command")
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_refreshs_task_is_not_polled_within_a_second_of_the_last_poll_and_then_at_once() {
    let alone = Alone::new();
    alone.start(NOT_FOUND);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Somebody polled the task just now, and died.
    alone.quarantine().await;
    tokio::time::sleep(Duration::from_millis(950)).await;
    assert_eq!(alone.calls(), 0);
    let (_, in_flight) = alone.server.depths()[&alone.topology.quarantine()];
    assert_eq!(in_flight, 1, "it waits alone, and not among those it may take along");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_refresh_that_was_tried_and_waits_makes_way_for_the_next() {
    let alone = Alone::new();
    alone.quarantine().await;
    alone.start(StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_millis(1550)).await;
    assert_eq!(alone.calls(), 1);
    let depths = alone.server.depths();
    assert_eq!(depths[&alone.topology.quarantine()], (0, 0));
    assert_eq!(depths[&alone.topology.delay_queue("1s")], (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_died_silently_fails_liveness_and_is_made_again() {
    let alone = Alone::new();
    let handle = alone.start(NOT_FOUND);
    tokio::task::yield_now().await;
    alone.server.kill_consumers(&alone.topology.quarantine());
    alone.quarantine().await;
    until(&handle, |status| status.stuck).await;
    until(&handle, |status| !status.stuck).await;
    assert_eq!(alone.calls(), 1, "what waited in the queue was continued");
}

#[tokio::test(start_paused = true)]
async fn while_commands_wait_for_room_long_waits_are_parked_and_short_ones_are_held() {
    for (retry_after, parked, waiting) in [("20", 1, 0), ("4", 0, 1)] {
        let alone = Alone::new();
        alone.send("interactive", 1).await;
        alone.send("background", 2).await;
        let answer = (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, retry_after)]);
        let settings = Settings {
            in_flight: 1,
            ..Settings::default()
        };
        let handle = alone.start_with(answer, settings);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let status = handle.status().await.expect("the loop answers");
        let held: usize = status.held.values().map(|held| held.count).sum();
        let found = (held, alone.parked(), status.backlog);
        assert_eq!(found, (1, parked, waiting), "Retry-After: {retry_after}");
    }
}

fn one_in_flight() -> Settings {
    Settings {
        in_flight: 1,
        hold_max: Duration::from_secs(10),
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_room_too_long_goes_back_to_its_lane() {
    let alone = Alone {
        latency: Duration::from_secs(18),
        ..Alone::new()
    };
    alone.send("interactive", 1).await;
    alone.send("background", 2).await;
    let handle = alone.start_with(NOT_FOUND, one_in_flight());
    tokio::time::sleep(Duration::from_secs(17)).await;
    let lane = alone.server.peek(&alone.topology.background());
    assert_eq!(lane.len(), 1);
    assert_eq!(lane[0].properties.timestamp, Some(15), "published again");
    assert_eq!(
        handle.status().await.expect("the loop answers").backlog,
        1,
        "and taken again"
    );
    let read = RefreshConnection::decode(lane[0].body.clone()).expect("a command");
    assert_eq!(read.requested_at, Some(from_timestamp(Timestamp::UNIX_EPOCH)));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_room_when_its_worker_stops_goes_back_as_if_it_had_never_been_taken() {
    let alone = Alone::new();
    alone.send("interactive", 1).await;
    alone.send("background", 2).await;
    let answer = (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "4")]);
    let stop = tokio::time::sleep(Duration::from_secs(1));
    alone.start_until(answer, one_in_flight(), stop);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(alone.parked(), 1, "the one that was begun");
    let other = alone.consumed(&one_in_flight());
    let (_other, mut broker_events) = alone.server.connect(other);
    assert!(matches!(
        broker_events.recv().await,
        Some(BrokerEvent::Connected { .. })
    ));
    let Some(BrokerEvent::Delivery(delivery)) = broker_events.recv().await else {
        panic!("no delivery")
    };
    assert_eq!(
        (delivery.queue, delivery.redeliveries),
        (alone.topology.background(), 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_dropped_while_the_first_runs_or_waits_in_the_same_worker() {
    let alone = Alone {
        latency: Duration::from_secs(1),
        ..Alone::new()
    };
    alone.send("interactive", 1).await;
    alone.start((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "20")]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lane = || alone.server.depths()[&alone.topology.interactive()];
    alone.send("interactive", 1).await;
    tokio::task::yield_now().await;
    assert_eq!((alone.parked(), lane()), (0, (0, 1)), "the first one runs");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((alone.parked(), lane()), (0, (0, 1)), "the first one waits");
    alone.send("interactive", 1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!((alone.parked(), lane()), (0, (0, 1)));
    assert_eq!(
        (alone.calls(), alone.server.depths()[&alone.topology.steps()]),
        (1, (0, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn what_finapi_answers_after_the_broker_was_lost_is_not_published() {
    let alone = Alone {
        latency: Duration::from_secs(1),
        ..Alone::new()
    };
    alone.send("interactive", 1).await;
    alone.start(NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(500)).await;
    alone.server.outage(true);
    alone.server.outage(false);
    let published = || alone.server.depths()[&alone.topology.unrouted_events()].0;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((alone.calls(), published()), (1, 0));
    // The command, which came back meanwhile, waits until nobody works on it any more.
    tokio::time::sleep(DUPLICATE_WAIT + Duration::from_secs(2)).await;
    assert_eq!((alone.calls(), published()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_the_broker_asks_nothing_more() {
    let alone = Alone {
        latency: Duration::from_secs(1),
        ..Alone::new()
    };
    alone.send("interactive", 1).await;
    // No task is found, so one would be started.
    alone.start(r#"{"items":[],"paging":{"page":1,"perPage":20,"pageCount":1,"totalCount":0}}"#);
    tokio::time::sleep(Duration::from_millis(500)).await;
    alone.server.outage(true);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_say_when_it_was_sent_goes_to_the_end_of_its_lane_once() {
    let alone = Alone::new();
    alone.send("interactive", 1).await;
    let missing_requested_at = Message {
        body: command(2).encode_to_vec().into(),
        ..Message::default()
    };
    alone.publish("background", missing_requested_at).await;
    let answer = (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "4")]);
    let handle = alone.start_with(answer, one_in_flight());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handle.status().await.expect("the loop answers").backlog, 1);
    let lane = alone.server.peek(&alone.topology.background());
    let read = RefreshConnection::decode(lane[0].body.clone()).expect("a command");
    assert!(read.requested_at.is_some());
    assert_eq!(alone.server.depths()[&alone.topology.steps()], (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_in_a_lane_is_a_dead_letter() {
    let alone = Alone::new();
    let wake_up = crate::callbacks::wake_up(&alone.topology, "0190f1c0-0000-7000-8000-000000000001");
    alone.publish("interactive", wake_up.message).await;
    alone.start(NOT_FOUND);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(alone.server.depths()[&alone.topology.dead_letters()], (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_command_is_refused_is_a_dead_letter_that_names_the_field() {
    let alone = Alone::new();
    let now = alone.clock.now();
    let refresh = Refresh::new(parsed(command(1)), now, Envelope::default(), now);
    let mut outgoing = message::checkpoint(&alone.topology, &refresh, now);
    let mut state = RefreshState::decode(outgoing.message.body).expect("a checkpoint");
    state.command.as_mut().expect("a command").allowed_interfaces = vec![99];
    outgoing.message.body = state.encode_to_vec().into();
    alone.client.publish(vec![outgoing]).await.expect("published");
    alone.start(NOT_FOUND);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let dead = alone.server.peek(&alone.topology.dead_letters());
    let reason = dead[0].properties.headers[message::REASON_HEADER].as_text();
    assert_eq!(
        reason,
        Some(
            "command.allowed_interfaces: must be at most 3 of XS2A, FINTS_SERVER and WEB_SCRAPER (this release does not know the value 99)"
        )
    );
    assert_eq!((dead.len(), alone.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_newer_releases_checkpoint_waits_for_as_long_as_a_refresh_may_take() {
    let alone = Alone::new();
    let now = alone.clock.now();
    let refresh = Refresh::new(parsed(command(1)), now, Envelope::default(), now);
    let mut outgoing = message::checkpoint(&alone.topology, &refresh, now);
    let newer = RefreshState {
        version: crate::refresh::state::VERSION + 1,
        ..RefreshState::default()
    };
    outgoing.message.body = newer.encode_to_vec().into();
    alone.client.publish(vec![outgoing]).await.expect("published");
    alone.start(NOT_FOUND);
    let dead = || alone.server.peek(&alone.topology.dead_letters());
    tokio::time::sleep(Duration::from_secs(23 * 3600)).await;
    assert_eq!(dead().len(), 0);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let reason = dead()[0].properties.headers[message::REASON_HEADER]
        .as_text()
        .map(str::to_owned);
    assert!(reason.is_some_and(|reason| reason.contains("needs a newer release")));
    assert_eq!(alone.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_forwarded_as_it_came_leaves_headers_behind_that_are_too_long() {
    let alone = Alone::new();
    let long = Header::Text("x".repeat(3000));
    let foreign = [("a", long.clone()), ("b", long), ("tenant", "blue".into())];
    let delivery = Delivery {
        tag: Tag {
            generation: 1,
            subscription: 0,
            number: 1,
        },
        queue: alone.topology.interactive(),
        redeliveries: 0,
        flaw: None,
        message: Message {
            properties: Properties {
                headers: foreign.map(|(name, value)| (name.to_owned(), value)).into(),
                ..Properties::default()
            },
            ..Message::default()
        },
    };
    let reason = "x".repeat(500);
    let dead = message::dead_letter(&alone.topology, &delivery, &reason, alone.clock.now());
    let headers = &dead.message.properties.headers;
    assert!(headers.contains_key("tenant") && headers.contains_key(message::REASON_HEADER));
    alone.client.publish(vec![dead]).await.expect("it can be sent");
}

/// Waits for a minute at most.
async fn until(handle: &Handle, expected: impl Fn(&Status) -> bool) {
    let wait = async {
        while !expected(&handle.status().await.expect("the loop answers")) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("within a minute");
}
