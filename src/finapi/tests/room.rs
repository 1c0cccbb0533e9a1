//! Answers that find no room in the budget of bytes.

use super::*;
use crate::finapi::body_budget::{Bodies, BodyBudget};

/// A finAPI whose answers all have so many bytes, for a client whose budget has twice as many.
fn long(bytes: usize) -> FinApi {
    let body = format!(r#"{{"id":1,"updateStatus":"READY","filler":"{}"}}"#, "x".repeat(bytes));
    let mut client = always(200, body);
    client.bodies = BodyBudget::new(2 * bytes);
    client
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_is_asked_for_again_and_is_nobodys_failure() {
    const BYTES: usize = 128 * 1024;
    let client = long(BYTES);
    let refresh = refresh(command(1));
    let other = client.bodies.room(Some(2.into()));
    other.begin(BYTES + BYTES / 2).expect("room");
    let ask = async || {
        let stop = CancellationToken::new();
        client.query_within(&refresh, &Query::Connection, stop).await
    };
    let outcome = ask().await;
    assert!(matches!(outcome, Outcome::NeedsRoom(_)), "{outcome:?}");
    assert_eq!(client.bodies().waiting, 1);
    assert_eq!(*client.watch_outage().borrow(), Outage::None);
    drop(other);
    let outcome = ask().await;
    assert!(
        matches!(outcome, Outcome::Response(Ok(Response::Connection(_)))),
        "{outcome:?}"
    );
    assert_eq!(client.bodies(), Bodies::default());
}

/// finAPI may have started it.
#[tokio::test(start_paused = true)]
async fn a_start_whose_answer_finds_no_room_may_have_been_made() {
    const BYTES: usize = 128 * 1024;
    let client = long(BYTES);
    let all = client.bodies.room(Some(2.into()));
    all.begin(2 * BYTES).expect("room");
    let result = client.result_of(&refresh(command(1)), &Query::Start).await;
    let failure = result.expect_err("no answer");
    assert!(!failure.is_refusal(), "{failure:?}");
}
