//! What is no good answer, by class.

use super::*;
use crate::refresh::model::TaskStatus;

fn every_query() -> Vec<(Endpoint, Query)> {
    vec![
        (Endpoint::StartUpdate, Query::Start),
        (Endpoint::Tasks, Query::FindTask),
        (Endpoint::BankConnection, Query::Connection),
        (Endpoint::Accounts, all_accounts()),
        (Endpoint::Transactions, page_of(vec![1001.into()], start(), 1)),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_status_means_the_same_at_every_endpoint() {
    let classes = [
        (400, FailureClass::Rejected),
        (403, FailureClass::ClientUnauthorized),
        (404, FailureClass::NotFound),
        (405, FailureClass::Rejected),
        (408, FailureClass::MaybeDown),
        (422, FailureClass::NotSupported),
        (423, FailureClass::Locked),
        (429, FailureClass::RateLimited(None)),
        (500, FailureClass::MaybeDown),
        (502, FailureClass::MaybeDown),
        (503, FailureClass::MaybeDown),
        (504, FailureClass::MaybeDown),
        (302, FailureClass::Unexpected),
    ];
    for (endpoint, query) in every_query() {
        for (code, class) in classes {
            let world = World::with_fault(endpoint, None, status(code));
            let failure = world.failure(&query).await;
            assert_eq!(failure.class, class, "{code} at {endpoint:?}");
            assert!(failure.message.contains(&code.to_string()), "{}", failure.message);
            // Access may say so of a user who is locked, which a new token would show.
            let asks_for_token = code == 423 && ![Endpoint::StartUpdate, Endpoint::Tasks].contains(&endpoint);
            assert_eq!(
                world.calls(endpoint),
                1 + u64::from(asks_for_token),
                "the client itself does not try again"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_that_is_no_text_matters_only_where_it_is_read() {
    let poll = async |body: &'static [u8]| {
        let query = Query::Task("a-1".into());
        always(200, body).result_of(&refresh(command(1)), &query).await
    };
    let unread =
        b"{\"id\":\"a-1\",\"note\":\"\xff\",\"createdAt\":\"2021-03-08T08:36:15.000+0000\",\"status\":\"COMPLETED\"}";
    assert_eq!(task(poll(unread).await).id.as_str(), "a-1");
    let read = b"{\"id\":\"a-1\",\"createdAt\":\"2021-03-08T08:36:15.000+0000\",\"status\":\"\xff\"}";
    let read = task(poll(read).await);
    assert_eq!(
        (read.status, read.unreadable),
        (TaskStatus::Running, vec!["text".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn codes_are_passed_on_as_they_came() {
    let kind = FaultKind::Status {
        status: 422,
        code: Some("SOMETHING_NEW".into()),
        retry_after: None,
    };
    for (endpoint, query) in every_query() {
        let failure = World::with_fault(endpoint, None, kind.clone()).failure(&query).await;
        assert_eq!(failure.code.as_deref(), Some("SOMETHING_NEW"), "{endpoint:?}");
        assert_eq!(failure.class, FailureClass::Rejected);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_read() {
    for code in [429, 503] {
        let kind = FaultKind::retry_after(code, 17);
        let failure = World::with_fault(Endpoint::Tasks, None, kind)
            .failure(&Query::FindTask)
            .await;
        assert_eq!(failure.class, FailureClass::RateLimited(Some(secs(17))), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_without_a_body_and_with_a_strange_one_have_their_class() {
    for body in [
        "",
        "<html>",
        "[]",
        "null",
        r#"{"errors":null}"#,
        r#"{"errors":[{}],"code":7}"#,
    ] {
        let failure = always(500, body)
            .result_of(&refresh(command(1)), &Query::FindTask)
            .await;
        assert_eq!(failure.expect_err("a failure").class, FailureClass::MaybeDown, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_or_something_else_is_unexpected() {
    for (endpoint, query) in every_query() {
        let failure = World::with_fault(endpoint, None, FaultKind::Malformed)
            .failure(&query)
            .await;
        assert_eq!(failure.class, FailureClass::Unexpected, "{endpoint:?}");
    }
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        r#"{"id":"../x","createdAt":"now","status":7}"#,
    ] {
        let failure = always(200, body)
            .result_of(&refresh(command(1)), &Query::Task("t".into()))
            .await;
        assert_eq!(
            failure.expect_err("a failure").class,
            FailureClass::Unexpected,
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_drops_and_an_answer_that_is_lost_are_trouble() {
    for kind in [FaultKind::Dropped, FaultKind::ResponseLost] {
        for (endpoint, query) in every_query() {
            let failure = World::with_fault(endpoint, None, kind.clone()).failure(&query).await;
            assert_eq!(failure.class, FailureClass::MaybeDown, "{kind:?} at {endpoint:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_of_a_lost_answer_is_there_to_be_found() {
    let world = World::with_fault(Endpoint::StartUpdate, Some(1), FaultKind::ResponseLost);
    world.failure(&Query::Start).await;
    assert_eq!(world.find(1).await.len(), 1);
    let world = World::with_fault(Endpoint::StartUpdate, Some(1), FaultKind::Dropped);
    world.failure(&Query::Start).await;
    assert_eq!(world.find(1).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_call_takes_longer_than_its_timeout() {
    let slow = FaultKind::Slow { by: After::secs(60) };
    for (endpoint, query) in every_query() {
        let world = World::with_fault(endpoint, None, slow.clone());
        let began = tokio::time::Instant::now();
        let failure = world.failure(&query).await;
        assert_eq!(failure.class, FailureClass::MaybeDown, "{endpoint:?}");
        assert_eq!(began.elapsed(), secs(20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_not_read() {
    let settings = Settings {
        body_max: 400,
        ..settings()
    };
    let world = World::of(SandboxConfig::default(), settings);
    world.start(1).await;
    world.start(2).await;
    assert_eq!(world.failure(&Query::FindTask).await.class, FailureClass::Unexpected);
}

const USERS: [&str; 3] = ["anna", "bert", "cleo"];

#[tokio::test(start_paused = true)]
async fn while_finapi_is_down_three_users_ask_it_once_in_a_while() {
    let world = World::new();
    let outage = world.client.watch_outage();
    for name in USERS {
        world.client.fetch_token(&user(name)).await.expect("a token");
    }
    world.sandbox.go_down(status(503));
    for user in USERS {
        assert_eq!(*outage.borrow(), Outage::None);
        let failure = world.failure_of(user, &Query::FindTask).await;
        let expected = match user {
            "cleo" => FailureClass::Unavailable,
            _ => FailureClass::MaybeDown,
        };
        assert_eq!(failure.class, expected, "{user}");
    }
    assert_eq!(*outage.borrow(), Outage::Lasting);
    let asked = world.calls(Endpoint::Tasks);
    for query in [Query::FindTask, Query::Start, Query::Task("a".into())] {
        let failure = world.failure(&query).await;
        assert_eq!(failure.class, FailureClass::NotSent(secs(2)));
    }
    assert_eq!(world.calls(Endpoint::Tasks), asked, "it is left alone");
    pass(2).await;
    for user in USERS {
        let failure = world.failure_of(user, &Query::FindTask).await;
        assert!(failure.is_not_sent(), "no refresh's failure: {failure:?}");
    }
    assert_eq!(world.calls(Endpoint::Tasks), asked + 3, "the trials");
    let failure = world.failure(&Query::FindTask).await;
    assert_eq!(failure.class, FailureClass::NotSent(secs(4)));
    world.sandbox.come_up();
    pass(4).await;
    pass(4).await;
    world.find(1).await;
    assert_eq!(*outage.borrow(), Outage::None);
    world.find(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_is_down_by_itself() {
    let world = World::with_fault(Endpoint::Tasks, None, status(503));
    let outage = world.client.watch_outage();
    for user in USERS {
        world.connection(1).await;
        world.failure_of(user, &Query::FindTask).await;
    }
    assert_eq!(*outage.borrow(), Outage::Lasting);
    assert!(world.failure(&Query::FindTask).await.is_not_sent());
    world.connection(1).await;
    assert_eq!(*outage.borrow(), Outage::Lasting);
}

/// A world whose host of tasks counts as down, and where the next call finds out whether it is back.
async fn half_open() -> World {
    let world = World::new();
    let outage = Fault::at(Endpoint::Tasks, status(500));
    world.sandbox.add_fault(outage.clone());
    for user in USERS {
        world.failure_of(user, &Query::FindTask).await;
    }
    world.sandbox.remove_fault(&outage);
    pass(2).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_asked_for_a_wait_is_no_call_that_was_not_sent() {
    let world = half_open().await;
    world
        .sandbox
        .add_fault(Fault::at(Endpoint::Tasks, FaultKind::retry_after(503, 17)));
    let failure = world.failure(&Query::FindTask).await;
    assert_eq!(failure.class, FailureClass::RateLimited(Some(secs(17))));
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_may_have_started_an_update_is_no_call_that_was_not_sent() {
    let world = half_open().await;
    world
        .sandbox
        .add_fault(Fault::at(Endpoint::StartUpdate, FaultKind::ResponseLost));
    let failure = world.failure(&Query::Start).await;
    assert_eq!(world.sandbox.asked().tasks, 1);
    assert!(!failure.is_refusal(), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn one_users_failures_are_its_own() {
    let world = World::of(
        SandboxConfig {
            faults: vec![Fault {
                user_id: Some("anna".to_owned()),
                ..Fault::at(Endpoint::Tasks, status(500))
            }],
            ..SandboxConfig::default()
        },
        settings(),
    );
    let outage = world.client.watch_outage();
    let limit = world.client.calls().limit;
    for _ in 0..50 {
        assert_eq!(world.failure(&Query::FindTask).await.class, FailureClass::MaybeDown);
        pass(1).await;
    }
    for number in 0..3 {
        let command = RefreshConnection {
            user_id: format!("well-{number}"),
            ..command(2)
        };
        let found = world.client.result_of(&refresh(command), &Query::FindTask).await;
        assert!(found.is_ok(), "{found:?}");
    }
    for _ in 0..50 {
        let failure = world.failure(&Query::FindTask).await;
        assert_eq!(failure.class, FailureClass::Unavailable, "it counts, others are well");
        pass(1).await;
    }
    assert_eq!(*outage.borrow(), Outage::None);
    assert_eq!(world.client.calls().limit, limit);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_says_nothing_of_the_host() {
    let endless = || async {
        let begun = futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) });
        axum::body::Body::from_stream(futures_util::StreamExt::chain(begun, futures_util::stream::pending()))
    };
    let router = Router::new().fallback(endless);
    let client = client(router, settings(), from_service());
    let outage = client.watch_outage();
    for number in 0..12 {
        let command = RefreshConnection {
            user_id: format!("user-{number}"),
            access_token: "t".to_owned(),
            ..command(2)
        };
        let failure = client.result_of(&refresh(command), &Query::FindTask).await;
        assert!(failure.expect_err("no end").message.contains("no response in time"));
    }
    assert_eq!(*outage.borrow(), Outage::None);
}

#[tokio::test(start_paused = true)]
async fn the_source_of_credentials_is_down_by_itself() {
    let broken = Router::new().route("/users/{user}", get(|| async { StatusCode::BAD_GATEWAY }));
    let sandbox = Sandbox::new(SandboxConfig::default());
    let client = client(sandbox.router().merge(broken), settings(), from_service());
    let outage = client.watch_outage();
    for name in USERS {
        assert!(client.fetch_token(&user(name)).await.is_err());
    }
    assert_eq!(*outage.borrow(), Outage::Lasting);
    let failure = client.fetch_token(&user("dora")).await.expect_err("it is down");
    assert!(failure.is_not_sent(), "{failure:?}");
    let with_token = RefreshConnection {
        access_token: "t".to_owned(),
        ..command(1)
    };
    let asked = client.result_of(&refresh(with_token), &Query::FindTask).await;
    assert_eq!(asked.expect_err("an unknown token").class, FailureClass::TokenRefused);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_outage() {
    let world = World::with_fault(Endpoint::Tasks, None, status(404));
    let outage = world.client.watch_outage();
    for number in 0..50 {
        world.failure_of(&format!("user-{number}"), &Query::FindTask).await;
    }
    assert_eq!(*outage.borrow(), Outage::None);
}

#[tokio::test(start_paused = true)]
async fn requests_for_tokens_take_permits_and_wait_for_them() {
    let settings = Settings {
        calls_max: 1,
        ..settings()
    };
    let world = World::of(SandboxConfig::default(), settings);
    let permit = world.client.try_permit().expect("a free permit");
    let fetching = tokio::time::timeout(secs(1), world.client.fetch_token(&user("anna"))).await;
    assert!(fetching.is_err(), "it has no permit");
    drop(permit);
    world.client.fetch_token(&user("anna")).await.expect("a token");
    assert!(world.client.try_permit().is_some(), "it gave the permit back");
}

#[tokio::test(start_paused = true)]
async fn requests_come_no_faster_than_they_may() {
    let settings = Settings {
        requests_per_second: Some(2),
        ..settings()
    };
    let world = World::of(SandboxConfig::default(), settings);
    let began = tokio::time::Instant::now();
    futures_util::future::join_all((0..6).map(|_| world.find(1))).await;
    // Six, and one for their token.
    assert_eq!(world.sandbox.asked().calls.values().sum::<u64>(), 7);
    assert_eq!(began.elapsed(), secs(3));
}
