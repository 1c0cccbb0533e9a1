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
