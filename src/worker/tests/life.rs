//! Panics, the end of the broker client, and what is delivered while a worker stops.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;

use super::*;
use crate::proto::{FailureReason, RefreshFailed};

/// The token, and the user, at whose request finAPI's stand-in panics in the task that sent the request.
const PANICS: &str = "panics";

/// How often each path was requested with a token.
type Requests = Arc<Mutex<BTreeMap<(String, String), u32>>>;

/// A finAPI that knows no connection, but panics when [`PANICS`] is in a path or is the token.
fn panicking() -> (Router, Requests) {
    let requests = Requests::default();
    let counted = Arc::clone(&requests);
    let answer = move |request: Request| {
        let path = request.uri().path().to_owned();
        let token = request.headers().get(AUTHORIZATION).cloned();
        let token = token.map(|token| token.to_str().expect("text").replace("Bearer ", ""));
        let token = token.unwrap_or_default();
        let panics = path.ends_with(PANICS) || token == PANICS;
        *counted.lock().expect("the requests").entry((path, token)).or_default() += 1;
        async move {
            assert!(!panics, "as planned");
            NOT_FOUND.into_response() as Response
        }
    };
    (Router::new().fallback(answer), requests)
}

impl Alone {
    /// The outcomes that were published, by command.
    fn outcomes(&self) -> BTreeMap<String, Vec<RefreshFailed>> {
        let mut outcomes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for message in self.server.peek(&self.topology.unrouted_events()) {
            let kind = message.properties.kind.expect("a type");
            assert_eq!(kind, "bankrefresh.v1.RefreshFailed");
            let failed = RefreshFailed::decode(message.body).expect("an event");
            let context = failed.refresh.clone().expect("a context");
            outcomes.entry(context.command_id).or_default().push(failed);
        }
        outcomes
    }

    /// Messages in any queue but those of events, ready or not acknowledged.
    fn left(&self) -> usize {
        let is_left = |(name, _): &(&String, _)| **name != self.topology.unrouted_events();
        let depths = self.server.depths();
        let depths = depths.iter().filter(is_left);
        depths.map(|(_, (ready, unacknowledged))| ready + unacknowledged).sum()
    }

    fn run(&self, router: Router, credentials: Credentials) {
        let (worker, broker_events) = self.worker(router, credentials, Settings::default());
        tokio::spawn(worker.run(broker_events, std::future::pending()));
    }
}

/// Sends a command that panics among two that do not; waits for an hour.
async fn panics_among_others(alone: &Alone, poison: RefreshConnection, credentials: Credentials) -> Requests {
    let (router, requests) = panicking();
    alone.send("background", 2).await;
    let message = message::command(&alone.topology, poison, &Envelope::default(), alone.clock.now());
    alone.publish("background", message.message).await;
    alone.send("background", 3).await;
    alone.run(router, credentials);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let neighbours = alone.outcomes();
    assert_eq!(neighbours.len(), 2, "the neighbours are done at once: {neighbours:?}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    requests
}

fn assert_internal(alone: &Alone) {
    let outcomes = alone.outcomes();
    assert_eq!(outcomes.len(), 3);
    for (command_id, outcomes) in outcomes {
        let is_poison = command_id == command(1).command_id;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        assert_eq!(
            outcomes[0].reason() == FailureReason::Internal,
            is_poison,
            "{outcomes:?}"
        );
    }
    assert_eq!(alone.left(), 0, "every delivery is acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_refresh_runs_is_a_failed_attempt_of_that_refresh_alone() {
    let alone = Alone::new();
    let poison = RefreshConnection {
        access_token: PANICS.to_owned(),
        ..command(1)
    };
    let requests = panics_among_others(&alone, poison, Credentials::default()).await;
    assert_internal(&alone);
    let requests = requests.lock().expect("the requests");
    let attempts = requests
        .iter()
        .filter(|((_, token), _)| token == PANICS)
        .map(|(_, count)| *count);
    assert_eq!(attempts.sum::<u32>(), Policy::default().retry.attempts);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_token_is_fetched_is_a_failed_attempt_of_its_users_refreshes_alone() {
    let alone = Alone::new();
    let poison = RefreshConnection {
        access_token: String::new(),
        user_id: PANICS.to_owned(),
        ..command(1)
    };
    let credentials = json!({ "source": "http", "url": "http://credentials.test" });
    let credentials = serde_json::from_value(credentials).expect("credentials");
    let requests = panics_among_others(&alone, poison, credentials).await;
    assert_internal(&alone);
    let requests = requests.lock().expect("the requests");
    let path = (format!("/{PANICS}"), String::new());
    assert_eq!(requests[&path], Policy::default().retry.attempts);
}

/// A log that panics at the first line that has a text.
#[derive(Clone)]
struct PanickingLog {
    text: &'static str,
    panics: Arc<AtomicU64>,
}

impl std::io::Write for PanickingLog {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let is_meant = String::from_utf8_lossy(line).contains(self.text);
        assert!(
            !is_meant || self.panics.fetch_add(1, Ordering::Relaxed) > 0,
            "as planned"
        );
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Logs to something that panics at this text, as long as the guard lives.
fn panic_at(text: &'static str) -> (tracing::subscriber::DefaultGuard, Arc<AtomicU64>) {
    let panics = Arc::new(AtomicU64::new(0));
    let log = PanickingLog {
        text,
        panics: Arc::clone(&panics),
    };
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
    let lines = lines.with_writer(move || log.clone()).finish();
    (tracing::subscriber::set_default(lines), panics)
}

#[tokio::test(start_paused = true)]
async fn a_panic_between_the_confirm_of_an_outcome_and_its_acknowledgement_publishes_it_again_with_its_id() {
    let alone = Alone::new();
    let (router, _) = panicking();
    let (_guard, panics) = panic_at("published ");
    alone.send("background", 2).await;
    alone.run(router, Credentials::default());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(panics.load(Ordering::Relaxed) >= 2, "one panic and one try after it");
    let outcomes: Vec<RefreshFailed> = alone.outcomes().into_values().flatten().collect();
    let id = |failed: &RefreshFailed| failed.refresh.as_ref().expect("a context").event_id.clone();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(id(&outcomes[0]), id(&outcomes[1]));
    assert_eq!(alone.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_refresh_is_parked_loses_nothing() {
    let alone = Alone::new();
    let (_guard, panics) = panic_at("parked the refresh until it is due");
    alone.send("background", 2).await;
    let parks_all = Settings {
        hold_wait_max: Duration::ZERO,
        ..Settings::default()
    };
    alone.start_with((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "200")]), parks_all);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let lane = || alone.server.depths()[&alone.topology.background()];
    assert_eq!((panics.load(Ordering::Relaxed), lane()), (1, (0, 1)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(panics.load(Ordering::Relaxed) >= 2, "one panic and one try after it");
    assert_eq!(lane(), (0, 0), "its delivery is acknowledged");
    assert!(alone.parked() >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_broker_client_ends_ends_with_an_error() {
    let alone = Alone::new();
    let (router, _) = panicking();
    let (worker, mut delivered) = alone.worker(router, Credentials::default(), Settings::default());
    let (broker_events, ended) = tokio::sync::mpsc::channel(1);
    let running = tokio::spawn(worker.run(ended, std::future::pending()));
    let up = delivered.recv().await.expect("it connects");
    broker_events.send(up).await.expect("it runs");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!running.is_finished());
    drop(broker_events);
    let run = running.await.expect("no panic");
    assert!(matches!(run, Err(WorkerError::BrokerEnded)), "{run:?}");
}

/// Runs a worker until `stop`, and answers with what the next worker gets: the redeliveries of each.
async fn redeliveries_after(alone: &Alone, stop: impl Future<Output = ()> + Send + 'static) -> Vec<u32> {
    let (router, _) = panicking();
    let (worker, broker_events) = alone.worker(router, Credentials::default(), Settings::default());
    worker.run(broker_events, stop).await.expect("it was stopped");
    let (_next, mut broker_events) = alone.server.connect(alone.consumed(&Settings::default()));
    let mut redeliveries = Vec::new();
    while let Ok(Some(broker_event)) = tokio::time::timeout(Duration::from_secs(5), broker_events.recv()).await {
        if let BrokerEvent::Delivery(delivery) = broker_event {
            redeliveries.push(delivery.redeliveries);
        }
    }
    redeliveries
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_while_a_worker_stops_is_requeued() {
    let alone = Alone::new();
    let (client, topology, now) = (alone.client.clone(), alone.topology.clone(), alone.clock.now());
    let stop = async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for lane in ["interactive", "background"] {
            for connection in 1..=10 {
                let mut sent = command(connection);
                sent.command_id = uuid::Uuid::now_v7().to_string();
                let mut outgoing = message::command(&topology, sent, &Envelope::default(), now);
                lane.clone_into(&mut outgoing.routing_key);
                outgoing.exchange = topology.commands();
                client.publish(vec![outgoing]).await.expect("published");
            }
        }
    };
    assert_eq!(redeliveries_after(&alone, stop).await, [0; 20]);
    assert!(alone.outcomes().is_empty(), "none of them was begun");
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_to_a_worker_that_was_stopped_before_it_began_is_requeued() {
    let alone = Alone::new();
    alone.send("interactive", 1).await;
    alone.send("background", 2).await;
    assert_eq!(redeliveries_after(&alone, std::future::ready(())).await, [0; 2]);
    assert!(alone.outcomes().is_empty(), "none of them was begun");
}
