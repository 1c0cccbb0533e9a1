//! What the whole of a worker does, with a broker and a finAPI in this process, in virtual time.

use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::broker::memory::{Client, Server};
use crate::finapi::breaker;
use crate::finapi::credentials::Credentials;
use crate::finapi::transport::Transport;
use crate::proto::RefreshConnection;
use crate::refresh::{Envelope, TaskRef};

/// A worker whose finAPI counts its calls and answers all of them alike.
struct Alone {
    server: Server,
    client: Client,
    topology: Topology,
    clock: Clock,
    calls: Arc<AtomicU64>,
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
        }
    }

    fn start(&self, status: StatusCode) -> Handle {
        let counted = Arc::clone(&self.calls);
        let router = Router::new().fallback(move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            status
        });
        let settings = json!({
            "access_url": "http://finapi.test", "web_form_url": "http://finapi.test",
            "client_id": "a", "client_secret": "b",
        });
        let finapi = FinApi::new(
            Transport::InProcess(router),
            serde_json::from_value(settings).expect("settings"),
            Credentials::default(),
            breaker::Settings::default(),
            None,
        );
        let settings = Settings::default();
        let (client, notices) = self.server.connect(subscriptions(&self.topology, &settings));
        let (broker, topology) = (Broker::Memory(client), self.topology.clone());
        let mut policy = Policy::default();
        policy.retry.initial = LOOK_INTERVAL_MIN;
        let worker = Worker::new(broker, finapi, topology, policy, settings, self.clock, 1);
        let handle = worker.handle();
        tokio::spawn(worker.run(notices, std::future::pending()));
        handle
    }

    /// A refresh whose task runs, on its way to be tried alone.
    async fn suspect(&self) {
        let now = self.clock.now();
        let command = RefreshConnection {
            command_id: "0190f1c0-0000-7000-8000-000000000001".to_owned(),
            user_id: "user".to_owned(),
            bank_connection_id: 1,
            access_token: "token".to_owned(),
            ..RefreshConnection::default()
        };
        let task = TaskRef {
            id: "0190f1c0-0000-7000-8000-000000000002".to_owned(),
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
            redeliveries: SUSPECT_REDELIVERIES,
            message: message::bookmark(&self.topology, &refresh, now).message,
        };
        let suspect = message::suspect(&self.topology, &delivery, now);
        self.client.publish(vec![suspect]).await.expect("published");
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspects_task_is_not_looked_at_within_a_second_of_the_last_look_and_then_at_once() {
    let alone = Alone::new();
    // Somebody looked at the task just now, and died.
    alone.suspect().await;
    alone.start(StatusCode::NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(950)).await;
    assert_eq!(alone.calls(), 0);
    let (_, in_hand) = alone.server.depths()[&alone.topology.suspects()];
    assert_eq!(in_hand, 1, "it waits alone, and not among those it may take along");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_waited_for_its_turn_waits_no_longer() {
    let alone = Alone::new();
    alone.suspect().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    alone.start(StatusCode::NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(alone.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_was_tried_and_waits_makes_way_for_the_next() {
    let alone = Alone::new();
    alone.suspect().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    alone.start(StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(alone.calls(), 1);
    let depths = alone.server.depths();
    assert_eq!(depths[&alone.topology.suspects()], (0, 0));
    assert_eq!(depths[&alone.topology.delay_queue("1s")], (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_died_unnoticed_fails_liveness_and_is_made_anew() {
    let alone = Alone::new();
    let handle = alone.start(StatusCode::NOT_FOUND);
    tokio::task::yield_now().await;
    alone.server.kill_consumers(&alone.topology.suspects());
    alone.suspect().await;
    until(&handle, |status| status.stuck).await;
    until(&handle, |status| !status.stuck).await;
    assert_eq!(alone.calls(), 1, "what waited in the queue was gone on with");
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
