//! Several clients of finAPI: a command that reaches the wrong one.

use super::*;
use crate::proto::{FailureReason, RefreshFailed};

async fn ends_of(client: &str) -> (Vec<FailureReason>, u64, String) {
    let alone = Alone::new();
    alone.start(NOT_FOUND);
    let command = RefreshConnection {
        client: client.to_owned(),
        access_token: String::new(),
        ..command(1)
    };
    let outgoing = message::command(&alone.topology, command, &Envelope::default(), alone.clock.now());
    alone.publish("interactive", outgoing.message).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let events = alone.server.peek(&alone.topology.unrouted_events());
    let failed = events
        .iter()
        .map(|event| RefreshFailed::decode(event.body.clone()).expect("it failed"));
    let failed: Vec<_> = failed.collect();
    let message = failed.first().map(|failed| failed.message.clone()).unwrap_or_default();
    (
        failed.iter().map(RefreshFailed::reason).collect(),
        alone.calls(),
        message,
    )
}

#[tokio::test(start_paused = true)]
async fn a_command_for_another_client_that_comes_back_from_a_worker_is_not_searched_for_either() {
    let alone = Alone::new();
    let command = RefreshConnection {
        client: "sandbox".to_owned(),
        ..command(1)
    };
    let outgoing = message::command(&alone.topology, command, &Envelope::default(), alone.clock.now());
    alone.publish("interactive", outgoing.message).await;
    alone.server.connect(alone.consumed(&Settings::default())).0.kill();
    alone.start(NOT_FOUND);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let events = alone.server.peek(&alone.topology.unrouted_events());
    let failed = events
        .iter()
        .map(|event| RefreshFailed::decode(event.body.clone()).expect("it failed").reason());
    assert_eq!(failed.collect::<Vec<_>>(), [FailureReason::WrongClient]);
    assert_eq!(alone.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_for_another_client_ends_with_an_error_that_says_so_and_finapi_is_asked_nothing() {
    let (reasons, calls, message) = ends_of("sandbox").await;
    assert_eq!((reasons, calls), (vec![FailureReason::WrongClient], 0));
    assert!(
        message.contains("\"sandbox\"") && message.contains("\"live\""),
        "{message}"
    );
    for own in ["live", ""] {
        let (reasons, _, _) = ends_of(own).await;
        assert_ne!(reasons, [FailureReason::WrongClient], "{own:?}");
    }
}
