//! What a gateway answers in finAPI's place, and what happens to a body on its way: never a verdict.

use super::*;
use crate::broken::Broken;
use crate::sandbox::{BodyFault, Gateway, GatewayBody, RetryAfter};

/// finAPI's endpoints, each with a query that asks it.
fn every_endpoint() -> Vec<(Endpoint, Query)> {
    vec![
        (Endpoint::Token, Query::FindTask),
        (Endpoint::StartUpdate, Query::Start),
        (Endpoint::Tasks, Query::FindTask),
        (Endpoint::Task, Query::Task("a-1".into())),
        (Endpoint::WebForm, Query::WebForm("a-1".into())),
        (Endpoint::BankConnection, Query::Connection),
        (Endpoint::Accounts, all_accounts()),
        (Endpoint::Transactions, page_of(vec![1001.into()], start(), 1)),
    ]
}

/// What comes of a query while an endpoint meets this.
async fn asked(endpoint: Endpoint, query: &Query, kind: FaultKind) -> (World, QueryResult) {
    let world = World::new();
    world.sandbox.go_down_at(kind, &[endpoint]);
    let result = world.query(1, query).await;
    (world, result)
}

fn is_transient(result: &QueryResult) -> bool {
    use FailureClass::{Foreign, MaybeDown, RateLimited, Unavailable, Unexpected};
    matches!(
        result,
        Err(Failure {
            class: Unavailable | MaybeDown | Unexpected | Foreign | RateLimited(_),
            ..
        })
    )
}

fn class(result: &QueryResult) -> String {
    match result {
        Ok(_) => "read".to_owned(),
        Err(failure) => format!("{:?}", failure.class),
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateways_answer_is_no_word_of_finapis() {
    const STATUSES: [u16; 21] = [
        200, 201, 204, 301, 302, 307, 400, 401, 403, 404, 405, 408, 413, 415, 422, 423, 429, 431, 500, 502, 504,
    ];
    const NO_VERDICT: &str = "what a gateway answers is trouble on the way and no verdict";
    let bodies = [
        GatewayBody::Html,
        GatewayBody::Empty,
        GatewayBody::Json,
        GatewayBody::Text(r#"{"message":"Forbidden"}"#.into()),
    ];
    let mut broken = Broken::default();
    for (endpoint, query) in every_endpoint() {
        for status in STATUSES {
            for body in &bodies {
                let gateway = Gateway {
                    location: Some("https://login.example/".into()),
                    ..Gateway::new(status, body.clone())
                };
                let (_, result) = asked(endpoint, &query, FaultKind::Gateway(gateway)).await;
                broken.unless(is_transient(&result), NO_VERDICT, || {
                    format!("{endpoint:?} {status} {body:?}: {}", class(&result))
                });
            }
        }
    }
    broken.judge("finapi/gateway");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_asked_for_is_understood_in_both_forms() {
    const UNDERSTOOD: &str = "Retry-After is read as seconds and as a date, and is absent when it is neither";
    let waits = [
        (RetryAfter::Seconds(30), Some(30)),
        (RetryAfter::Date { date_in: 30 }, Some(30)),
        (RetryAfter::Seconds(u32::MAX), Some(24 * 3600)),
        (RetryAfter::Date { date_in: i32::MAX }, Some(24 * 3600)),
        (RetryAfter::Date { date_in: -30 }, None),
        (RetryAfter::Text("-1".into()), None),
        (RetryAfter::Text("1.5".into()), None),
        (RetryAfter::Text("soon".into()), None),
        (RetryAfter::Text(String::new()), None),
    ];
    let mut broken = Broken::default();
    for (endpoint, query) in every_endpoint() {
        for status in [429, 503] {
            for (retry_after, wait) in &waits {
                let gateway = Gateway {
                    retry_after: Some(retry_after.clone()),
                    ..Gateway::new(status, GatewayBody::Html)
                };
                let (_, result) = asked(endpoint, &query, FaultKind::Gateway(gateway)).await;
                let expected = match wait {
                    None if status == 503 => FailureClass::MaybeDown,
                    wait => FailureClass::RateLimited(wait.map(secs)),
                };
                let holds = matches!(&result, Err(failure) if failure.class == expected);
                broken.unless(holds, UNDERSTOOD, || {
                    format!("{endpoint:?} {status} {retry_after:?}: {}", class(&result))
                });
            }
        }
    }
    broken.judge("finapi/retry after");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_suffers_on_its_way_is_read_or_asked_for_again() {
    const AGAIN: &str = "an answer that can't be read is asked for again";
    const READ: &str = "an answer whose text can be made out is read";
    let drips = |bytes, every| BodyFault::Drips { bytes, every };
    let unreadable = [
        BodyFault::Truncated { at: 0 },
        BodyFault::Truncated { at: 40 },
        BodyFault::BreaksOff { at: 40 },
        BodyFault::Hangs { at: 40 },
        drips(1, secs(1)),
        BodyFault::Endless,
        BodyFault::Utf16,
    ];
    let readable = [
        drips(16, Duration::from_millis(1)),
        BodyFault::ContentType("text/html".into()),
        BodyFault::ByteOrderMark,
        BodyFault::Latin1,
    ];
    let mut broken = Broken::default();
    for (endpoint, _) in every_endpoint() {
        for fault in &unreadable {
            let result = read_with(endpoint, fault).await;
            broken.unless(is_transient(&result), AGAIN, || {
                format!("{endpoint:?} {fault:?}: {}", class(&result))
            });
        }
        for fault in &readable {
            let result = read_with(endpoint, fault).await;
            broken.unless(result.is_ok(), READ, || {
                format!("{endpoint:?} {fault:?}: {}", class(&result))
            });
        }
    }
    broken.judge("finapi/bodies");
}

/// What comes of asking for something that is there, while an endpoint's bodies suffer this.
async fn read_with(endpoint: Endpoint, fault: &BodyFault) -> QueryResult {
    let world = World::scripted(Script {
        bank_name: "Sparkasse Köln".into(),
        ..Script::of(crate::sandbox::Behaviour::ImmediateWebForm {
            user: crate::sandbox::UserDoes::Waits,
        })
    });
    let (_, mut query) = every_endpoint().swap_remove(0);
    if endpoint != Endpoint::Token {
        // A token is there, and a task with a web form where one is asked for.
        world.connection(1).await;
        query = match endpoint {
            Endpoint::Task => Query::Task(world.start(1).await.id),
            Endpoint::WebForm => Query::WebForm(world.start(1).await.web_form.expect("a web form").id),
            _ => {
                every_endpoint()
                    .into_iter()
                    .find(|(at, _)| *at == endpoint)
                    .expect("a query")
                    .1
            }
        };
    }
    world.sandbox.go_down_at(FaultKind::Body(fault.clone()), &[endpoint]);
    world.query(1, &query).await
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let gateway = Gateway {
            location: Some("http://access.test/api/tasks".into()),
            ..Gateway::new(status, GatewayBody::Html)
        };
        let (world, result) = asked(Endpoint::StartUpdate, &Query::Start, FaultKind::Gateway(gateway)).await;
        assert!(is_transient(&result), "{status}: {}", class(&result));
        assert_eq!(world.calls(Endpoint::Tasks), 0, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_a_gateway_hides_a_task_that_is_found() {
    let timeout = FaultKind::Gateway(Gateway {
        after_work: true,
        ..Gateway::new(504, GatewayBody::Html)
    });
    let world = World::with_fault(Endpoint::StartUpdate, Some(1), timeout);
    assert_eq!(world.failure(&Query::Start).await.class, FailureClass::MaybeDown);
    assert_eq!(world.find(1).await.len(), 1);
}

#[test]
fn each_known_violation_is_of_a_check_here() {
    const CHECKS: [&str; 6] = [
        "gateway",
        "retry after",
        "between pages",
        "bodies",
        "null or missing",
        "one bad field",
    ];
    for known in crate::known::of("finapi") {
        let name = known.check.strip_prefix("finapi/").unwrap_or_default();
        assert!(
            CHECKS.contains(&name),
            "known-violations.txt: nothing checks {}",
            known.check
        );
    }
}
