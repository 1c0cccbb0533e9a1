//! What follows from a step is published in an order that holds also where the broker takes only a part of it.

use axum::extract::Request;
use axum::response::{Json, Response};

use super::*;
use crate::broker::memory::PublishFault;

/// A finAPI whose task has a web form that the user aborted before anyone read it.
fn aborted() -> Router {
    let form = json!({"id": "f", "status": "ABORTED", "expiresAt": null, "payload": null});
    let task = json!({
        "id": "t", "createdAt": "1970-01-01T00:00:00Z", "status": "WEB_FORM_REQUIRED",
        "payload": {"bankConnectionId": 1, "webForm": {"id": "f", "url": "https://webform.test/f"}},
    });
    let answer = move |request: Request| {
        let is_form = request.uri().path().contains("webForms");
        let body = if is_form { form.clone() } else { task.clone() };
        async move { Json(body).into_response() as Response }
    };
    Router::new().fallback(answer)
}

/// A form that has ended when it is first read leads to a notification and an outcome at once.
#[tokio::test(start_paused = true)]
async fn a_user_is_notified_before_the_outcome_also_when_the_broker_refuses_the_notification() {
    let alone = Alone::new();
    alone.quarantine().await;
    let (worker, broker_events) = alone.worker(aborted(), Credentials::default(), Settings::default());
    tokio::spawn(worker.run(broker_events, std::future::pending()));
    alone.server.fail_next_publish(PublishFault::Refused { which: 0 });
    tokio::time::sleep(Duration::from_secs(10)).await;
    let published = alone.server.peek(&alone.topology.unrouted_events());
    let kinds: Vec<_> = published
        .iter()
        .map(|message| message.properties.kind.as_deref())
        .collect();
    let expected = ["bankrefresh.v1.UserActionRequired", "bankrefresh.v1.RefreshFailed"];
    assert_eq!(kinds, expected.map(Some));
}

/// A finAPI that has no task and refuses to start one; it counts how often it was asked for that.
fn unsupported(starts: Arc<AtomicU64>) -> Router {
    let answer = move |request: Request| {
        let is_start = request.method() == axum::http::Method::POST;
        starts.fetch_add(u64::from(is_start), Ordering::Relaxed);
        async move {
            if is_start {
                let error = json!({"code": "BANK_NOT_SUPPORTED", "description": "no", "endpoint": "POST /api/tasks"});
                return (StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response();
            }
            let page = json!({"page": 1, "perPage": 20, "pageCount": 1, "totalCount": 0});
            Json(json!({"items": [], "paging": page})).into_response()
        }
    };
    Router::new().fallback(answer)
}

/// The outcome is known: while the broker refuses its event, finAPI is not asked to start again, however long that takes.
#[tokio::test(start_paused = true)]
async fn a_failure_that_the_broker_refuses_waits_and_asks_finapi_nothing_more() {
    let alone = Alone::new();
    let starts = Arc::new(AtomicU64::new(0));
    let finapi = unsupported(Arc::clone(&starts));
    let (worker, broker_events) = alone.worker(finapi, Credentials::default(), Settings::default());
    let handle = worker.handle();
    tokio::spawn(worker.run(broker_events, std::future::pending()));
    let refuse = || alone.server.fail_next_publish(PublishFault::Refused { which: 0 });
    let outcomes = || alone.server.peek(&alone.topology.unrouted_events()).len();
    let refusals = async || handle.status().await.expect("a status").refusals;
    // At first once more after a moment, then parked for 15 s, for 45 s, and so on; nothing of it holds a run.
    // The first publish announces the start.
    alone.send("interactive", 1).await;
    refuse();
    refuse();
    refuse();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((refusals().await, alone.parked(), outcomes()), (1, 1, 0));
    refuse();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!((refusals().await, alone.parked(), outcomes()), (2, 1, 0));
    // The refresh is past its deadline by the time that the broker takes it.
    for _ in 0..20 {
        refuse();
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    alone.server.fail_no_more();
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!((alone.parked(), outcomes()), (0, 1));
    assert_eq!(starts.load(Ordering::Relaxed), 1, "finAPI was asked to start once");
}

/// Other workers may take a while to hear of a start. Whoever waits for that leaves finAPI to the others.
#[tokio::test(start_paused = true)]
async fn a_start_that_is_announced_holds_no_permit() {
    let alone = Alone::new();
    let starts = Arc::new(AtomicU64::new(0));
    let finapi = unsupported(Arc::clone(&starts));
    let (worker, broker_events) = alone.worker(finapi, Credentials::default(), Settings::default());
    let handle = worker.handle();
    tokio::spawn(worker.run(broker_events, std::future::pending()));
    alone.send("interactive", 1).await;
    alone
        .server
        .fail_next_publish(PublishFault::Late { by: Duration::ZERO });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let status = handle.status().await.expect("a status");
    let held = (status.running, status.finapi_calls.running, status.publishing);
    assert_eq!((held, starts.load(Ordering::Relaxed)), ((0, 0, 1), 0));
    // A broker that takes longer keeps nobody waiting.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(starts.load(Ordering::Relaxed), 1);
}
