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

/// Each page of tasks takes the place of the one before.
#[tokio::test(start_paused = true)]
async fn many_pages_of_tasks_need_the_room_of_one() {
    const BYTES: usize = 128 * 1024;
    let filler = "x".repeat(BYTES);
    let task = r#"{"id":"t","type":"BANK_CONNECTION_UPDATE","status":"COMPLETED","createdAt":"2021-03-08T08:36:15Z"}"#;
    let mut client = always(
        200,
        format!(
            r#"{{"items":[{task}],"paging":{{"page":1,"perPage":1,"pageCount":9,"totalCount":9}},"filler":"{filler}"}}"#
        ),
    );
    client.bodies = BodyBudget::new(2 * BYTES);
    let result = client.result_of(&refresh(command(1)), &Query::FindTask).await;
    assert!(matches!(result, Ok(Response::Tasks(_))), "{result:?}");
}

/// Of two calls at once one is asked for a wait, and the answer of the other one finds no room.
#[tokio::test(start_paused = true)]
async fn a_wait_that_finapi_asks_for_counts_more_than_a_lack_of_room() {
    const BYTES: usize = 128 * 1024;
    for (limited, long, after) in [
        ("accounts", "transactions", Some(9)),
        ("transactions", "accounts", Some(9)),
        ("accounts", "transactions", None),
    ] {
        let token = r#"{"access_token":"t","token_type":"bearer","expires_in":3600,"scope":"all"}"#;
        let answer = move |uri: axum::http::Uri| async move {
            let mut headers = HeaderMap::new();
            if uri.path().contains(limited) {
                headers.extend(after.map(|after: u32| (axum::http::header::RETRY_AFTER, after.into())));
                return (StatusCode::TOO_MANY_REQUESTS, headers, String::new());
            }
            assert!(uri.path().contains(long), "{uri}");
            (StatusCode::OK, headers, "x".repeat(BYTES))
        };
        let router = Router::new()
            .route("/api/v2/oauth/token", axum::routing::post(move || async move { token }))
            .merge(credential_service())
            .fallback(answer);
        let mut client = client(router, settings(), from_service());
        client.bodies = BodyBudget::new(BYTES);
        let all = client.bodies.room(Some(2.into()));
        all.begin(BYTES).expect("room");
        let page = PageQuery {
            accounts: vec![1.into()],
            since: start(),
            page: 1,
        };
        let both = Query::Collect(Wanted {
            accounts: true,
            page: Some(page),
        });
        let stop = CancellationToken::new();
        let outcome = client.query_within(&refresh(command(1)), &both, stop).await;
        let Outcome::Response(Err(failure)) = outcome else {
            panic!("{limited}: {outcome:?}")
        };
        let asked = after.map(|after| secs(after.into()));
        assert_eq!(failure.class, FailureClass::RateLimited(asked), "{limited}");
    }
}
