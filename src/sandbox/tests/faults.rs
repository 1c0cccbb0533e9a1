//! What goes wrong, in process and over HTTP.

use super::*;
use tokio::net::TcpListener;

pub(super) fn at(endpoint: Endpoint, first: Option<u32>, kind: FaultKind) -> Script {
    Script {
        faults: vec![Fault {
            first,
            ..Fault::at(endpoint, kind)
        }],
        ..Script::default()
    }
}

fn status(status: u16) -> FaultKind {
    FaultKind::status(status)
}

pub(super) fn one() -> Value {
    json!({ "bankConnectionIds": [1] })
}

#[tokio::test(start_paused = true)]
async fn errors_come_first_and_no_task_is_made() {
    let probe = Probe::scripted(at(Endpoint::StartUpdate, Some(2), status(500)));
    for _ in 0..2 {
        let answer = probe.update(one()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (500, &json!("INTERNAL_SERVER_ERROR"))
        );
    }
    assert_eq!(probe.sandbox.asked().tasks, 0);
    assert_eq!(probe.update(one()).await.status, 201);
    assert_eq!(probe.sandbox.asked().connections[&1].posts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_says_how_long() {
    let probe = Probe::new();
    let body = json!({ "bankConnectionIds": [9011] });
    let answer = probe.update(body.clone()).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "3");
    assert_eq!(probe.update(body).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_a_task_behind() {
    let probe = Probe::new();
    let body = json!({ "bankConnectionIds": [9009] });
    assert!(probe.try_update("anna", body.clone()).await.is_none());
    let list = probe.get("/api/tasks").await.json();
    assert_eq!(list["items"][0]["payload"]["bankConnectionId"], 9009);
    assert_eq!(probe.update(body).await.status, 423, "it runs");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_leaves_nothing_behind() {
    let probe = Probe::scripted(at(Endpoint::StartUpdate, Some(1), FaultKind::Dropped));
    assert!(probe.try_update("anna", one()).await.is_none());
    assert_eq!(probe.get("/api/tasks").await.json()["items"], json!([]));
    assert_eq!(probe.sandbox.asked().responses["start_update dropped"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_answer_is_no_json() {
    let probe = Probe::new();
    let body = json!({ "bankConnectionIds": [9012] });
    let answer = probe.update(body).await;
    assert_eq!(answer.status, 201);
    assert!(serde_json::from_str::<Value>(&answer.text).is_err(), "{}", answer.text);
    assert_eq!(probe.sandbox.asked().tasks, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_work_done_at_once() {
    let probe = Probe::scripted(at(Endpoint::StartUpdate, None, FaultKind::Slow { by: After::secs(60) }));
    let began = tokio::time::Instant::now();
    let timeout = tokio::time::timeout(Duration::from_secs(10), probe.update(one())).await;
    assert!(timeout.is_err());
    assert_eq!(probe.sandbox.asked().tasks, 1, "whoever gives up has started something");
    assert_eq!(probe.update(one()).await.status, 201);
    assert_eq!(began.elapsed(), Duration::from_secs(70));
}

#[tokio::test(start_paused = true)]
async fn calls_can_be_skipped_before_a_fault() {
    let mut script = at(Endpoint::Task, Some(1), status(503));
    script.faults[0].skip = 1;
    let probe = Probe::scripted(script);
    let task = probe.start(1).await;
    let path = format!("/api/tasks/{}", id(&task));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(probe.get(&path).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 503, 200, 200]);
}

#[tokio::test(start_paused = true)]
async fn down_is_down_for_everyone_until_it_is_up() {
    let probe = Probe::new();
    probe.token("anna").await;
    probe.sandbox.go_down(status(503));
    assert_eq!(probe.form("grant_type=client_credentials").await.status, 503);
    let request = || Request::get("/api/tasks").body(Body::empty()).expect("a request");
    assert_eq!(probe.send(request()).await.expect("an answer").status, 503);
    probe.sandbox.go_down(FaultKind::Dropped);
    assert!(probe.send(request()).await.is_none());
    probe.sandbox.come_up();
    assert_eq!(probe.get("/api/tasks").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_settings_are_met_by_everyone() {
    let probe = Probe::of(SandboxConfig {
        faults: at(Endpoint::Token, Some(1), status(503)).faults,
        ..SandboxConfig::default()
    });
    let form = "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret";
    let answer = probe.form(form).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["errors"][0]["code"]),
        (503, &json!("UNEXPECTED_ERROR"))
    );
    assert_eq!(probe.form(form).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn random_faults_come_as_often_as_set() {
    let probe = Probe::of(SandboxConfig {
        random_faults: vec![status(500)],
        ..SandboxConfig::default()
    });
    let token = probe.token("anna").await;
    probe.sandbox.set_fault_rate(0.25);
    let mut failed = 0;
    for _ in 0..1000 {
        let request = Request::get("/api/tasks").header("authorization", format!("Bearer {token}"));
        let answer = probe.send(request.body(Body::empty()).expect("a request")).await;
        failed += u32::from(answer.expect("an answer").status == 500);
    }
    assert!((200..300).contains(&failed), "{failed}");
    probe.sandbox.set_fault_rate(0.0);
    assert_eq!(probe.get("/api/tasks").await.status, 200);
}

#[tokio::test]
async fn over_http_a_dropped_connection_is_a_transport_error() {
    // Whichever test of this process comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let probe = Probe::new();
    let token = probe.token("anna").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/api/tasks", listener.local_addr().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(Arc::clone(&probe.sandbox), listener, async {
        let _ = stopped.await;
    }));
    let client = reqwest::Client::new();
    let get = || client.get(&url).bearer_auth(&token).send();
    assert_eq!(get().await.expect("an answer").status(), 200);
    for kind in [FaultKind::Dropped, FaultKind::ResponseLost] {
        probe.sandbox.go_down(kind);
        let error = get().await.expect_err("no answer");
        assert!(error.is_request() && error.status().is_none(), "{error:?}");
    }
    probe.sandbox.come_up();
    assert_eq!(get().await.expect("an answer").status(), 200);
    drop(client);
    stop.send(()).expect("it serves");
    server.await.expect("no panic").expect("no error");
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_user_is_met_by_nobody_else() {
    let hangs = Fault {
        user_id: Some("anna".into()),
        ..Fault::new(FaultKind::Body(BodyFault::Hangs { at: 10 }))
    };
    let probe = Probe::new();
    let annas = probe.token("anna").await;
    probe.sandbox.add_fault(hangs.clone());
    let request = Request::get("/api/tasks").header("authorization", format!("Bearer {annas}"));
    let request = request.body(Body::empty()).expect("a request");
    let answer = tokio::time::timeout(Duration::from_secs(3600), probe.send(request)).await;
    assert!(answer.is_err(), "it hangs");
    let berta = probe.try_get("berta", "/api/tasks").await.expect("an answer");
    assert_eq!(berta.status, 200, "{}", berta.text);
    probe.sandbox.remove_fault(&hangs);
    assert_eq!(probe.get("/api/tasks").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_users_token_fails_for_that_user_alone() {
    let probe = Probe::new();
    probe.sandbox.add_fault(Fault {
        user_id: Some("anna".into()),
        ..Fault::at(Endpoint::Token, status(500))
    });
    let client = "grant_type=password&client_id=sandbox-client&client_secret=sandbox-secret";
    let answer = probe
        .form(&format!("{client}&username=anna&password=secret-anna"))
        .await;
    assert_eq!(answer.status, 500);
    probe.token("berta").await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_connection_lasts_and_spares_the_users_others() {
    let probe = Probe::of(SandboxConfig {
        faults: vec![Fault {
            connection_id: Some(7),
            ..Fault::new(status(500))
        }],
        ..SandboxConfig::default()
    });
    for _ in 0..3 {
        assert_eq!(probe.get("/api/v1/bankConnections/7").await.status, 500);
        assert_eq!(probe.update(json!({ "bankConnectionIds": [7] })).await.status, 500);
        assert_eq!(
            probe
                .get("/api/v1/transactions?view=bankView&accountIds=7001")
                .await
                .status,
            500
        );
        assert_eq!(probe.get("/api/v1/bankConnections/8").await.status, 200);
        assert_eq!(probe.get("/api/tasks").await.status, 200);
    }
    assert_eq!(probe.sandbox.asked().faults, 9);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_taken_back_leaves_the_others_as_they_were() {
    let once = |status| Fault::at(Endpoint::Tasks, FaultKind::status(status)).first(1);
    let probe = Probe::new();
    probe.sandbox.add_fault(once(500));
    probe.sandbox.add_fault(once(503));
    assert_eq!(probe.get("/api/tasks").await.status, 500);
    probe.sandbox.remove_fault(&once(500));
    assert_eq!(probe.get("/api/tasks").await.status, 503);
    assert_eq!(probe.get("/api/tasks").await.status, 200);
    probe.sandbox.add_fault(once(502));
    probe.sandbox.remove_faults();
    assert_eq!(probe.get("/api/tasks").await.status, 200);
}
