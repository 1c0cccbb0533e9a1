//! What is no good answer, by class.

use super::*;

fn every_query() -> Vec<(Endpoint, Query)> {
    let span = Span {
        since: start(),
        until: start() + secs(60),
    };
    vec![
        (Endpoint::StartUpdate, Query::Start),
        (Endpoint::Tasks, Query::FindTask),
        (Endpoint::BankConnection, Query::Connection),
        (Endpoint::Accounts, Query::Collect(vec![1001.into()], None)),
        (Endpoint::Transactions, Query::Collect(vec![1001.into()], Some(span))),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_status_means_the_same_at_every_endpoint() {
    let classes = [
        (400, FailureClass::Rejected),
        (403, FailureClass::ClientUnauthorized),
        (404, FailureClass::NotFound),
        (405, FailureClass::Rejected),
        (408, FailureClass::Unavailable),
        (422, FailureClass::NotSupported),
        (423, FailureClass::Locked),
        (429, FailureClass::RateLimited(None)),
        (500, FailureClass::Unavailable),
        (502, FailureClass::Unavailable),
        (503, FailureClass::Unavailable),
        (504, FailureClass::Unavailable),
        (302, FailureClass::Unexpected),
    ];
    for (endpoint, query) in every_query() {
        for (code, class) in classes {
            let world = World::with_fault(endpoint, None, status(code));
            let failure = world.failure(&query).await;
            assert_eq!(failure.class, class, "{code} at {endpoint:?}");
            assert!(failure.message.contains(&code.to_string()), "{}", failure.message);
            assert_eq!(world.calls(endpoint), 1, "the client itself does not try again");
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
    let failure = poll(read).await.expect_err("a failure");
    assert_eq!(failure.class, FailureClass::Unexpected);
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
        let kind = FaultKind::Status {
            status: code,
            code: None,
            retry_after: Some(17),
        };
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
        assert_eq!(
            failure.expect_err("a failure").class,
            FailureClass::Unavailable,
            "{body}"
        );
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
            assert_eq!(failure.class, FailureClass::Unavailable, "{kind:?} at {endpoint:?}");
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
        assert_eq!(failure.class, FailureClass::Unavailable, "{endpoint:?}");
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

fn counts_as_down_after_three(sandbox: Arc<Sandbox>) -> World {
    let router = sandbox.router().merge(credential_service());
    let breaker = breaker::Settings {
        failures: 3,
        ..breaker::Settings::default()
    };
    let transport = Transport::InProcess(router);
    let client = FinApi::new(transport, settings(), from_service(), breaker, None);
    World { sandbox, client }
}

#[tokio::test(start_paused = true)]
async fn while_finapi_is_down_it_is_asked_once_in_a_while() {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let world = counts_as_down_after_three(sandbox);
    let outage = world.client.watch_outage();
    world.find(1).await;
    world.sandbox.go_down(status(503));
    for _ in 0..3 {
        assert!(!*outage.borrow());
        assert_eq!(world.failure(&Query::FindTask).await.class, FailureClass::Unavailable);
    }
    assert!(*outage.borrow());
    let asked = world.calls(Endpoint::Tasks);
    for query in [Query::FindTask, Query::Start, Query::Task("a".into())] {
        let failure = world.failure(&query).await;
        assert_eq!(failure.class, FailureClass::NotSent(secs(2)));
    }
    assert_eq!(world.calls(Endpoint::Tasks), asked, "it is left alone");
    pass(2).await;
    let probe = world.failure(&Query::FindTask).await.class;
    assert_eq!(probe, FailureClass::NotSent(secs(4)), "no refresh's failure");
    assert_eq!(world.calls(Endpoint::Tasks), asked + 1, "the probe");
    assert_eq!(
        world.failure(&Query::FindTask).await.class,
        FailureClass::NotSent(secs(4))
    );
    world.sandbox.come_up();
    pass(4).await;
    world.find(1).await;
    assert!(!*outage.borrow());
    world.find(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_is_probed_by_itself_and_what_the_other_answers_does_not_count() {
    let fault = Fault {
        at: Some(Endpoint::Tasks),
        first: Some(4),
        ..Fault::of(status(503))
    };
    let sandbox = Sandbox::new(SandboxConfig {
        faults: vec![fault],
        ..SandboxConfig::default()
    });
    let world = counts_as_down_after_three(sandbox);
    let outage = world.client.watch_outage();
    let asking = async {
        for _ in 0..3 {
            assert!(!*outage.borrow());
            world.connection(1).await;
            assert_eq!(world.failure(&Query::FindTask).await.class, FailureClass::Unavailable);
        }
        assert!(*outage.borrow());
        pass(3).await;
        world.connection(1).await;
        assert_eq!(world.calls(Endpoint::Tasks), 4, "the probe after 2 s met a fault, too");
        assert!(*outage.borrow());
        pass(4).await;
        assert!(!*outage.borrow());
        assert_eq!(world.calls(Endpoint::Tasks), 5);
        assert_eq!(world.calls(Endpoint::Token), 1, "nobody asked the other host");
    };
    tokio::select! {
        () = world.client.probe_while_down() => unreachable!("it never ends"),
        () = asking => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_outage() {
    let world = World::with_fault(Endpoint::Tasks, None, status(404));
    let outage = world.client.watch_outage();
    for _ in 0..50 {
        world.failure(&Query::FindTask).await;
    }
    assert!(!*outage.borrow());
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
