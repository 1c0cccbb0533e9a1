//! The sandbox's own endpoints, what it counts, its settings and its callbacks.

use super::*;

async fn post(probe: &Probe, path: &str, body: &str) -> Answer {
    let request = Request::post(path)
        .body(Body::from(body.to_owned()))
        .expect("a request");
    probe.send(request).await.expect("an answer")
}

async fn waiting(probe: &Probe) -> String {
    let task = probe.start(9015).await;
    pass(3).await;
    id(&probe.task(&task).await["payload"]["webForm"])
}

#[tokio::test(start_paused = true)]
async fn someone_plays_the_user() {
    for (action, end) in [("complete", "COMPLETED"), ("abort", "ABORTED"), ("expire", "EXPIRED")] {
        let probe = Probe::new();
        let form = waiting(&probe).await;
        pass(600).await;
        assert_eq!(probe.web_form(&form).await["status"], "NOT_YET_OPENED");
        let act = |action: &str| format!("/sandbox/webForms/{form}/{action}");
        assert_eq!(post(&probe, &act("open"), "").await.status, 200);
        assert_eq!(probe.web_form(&form).await["status"], "IN_PROGRESS");
        assert_eq!(post(&probe, &act(action), "").await.status, 200);
        assert_eq!(probe.web_form(&form).await["status"], end);
        assert_eq!(post(&probe, &act(action), "").await.status, 409, "it is over");
        let imported = probe.connection(9015).await["interfaces"][0]["lastManualUpdate"]["result"] == "OK";
        assert_eq!(imported, action == "complete");
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_forms_url_works_once() {
    let probe = Probe::new();
    let form = waiting(&probe).await;
    let url = text(&probe.web_form(&form).await["url"]);
    let path = url.strip_prefix("https://webform-sandbox.finapi.io").expect("the host");
    let visit = || Request::get(path).body(Body::empty()).expect("a request");
    let page = probe.send(visit()).await.expect("an answer");
    assert!(
        page.text.contains(&format!("/sandbox/webForms/{form}/complete")),
        "{}",
        page.text
    );
    assert_eq!(probe.web_form(&form).await["status"], "IN_PROGRESS");
    assert_eq!(probe.send(visit()).await.expect("an answer").status, 410);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_is_counted() {
    let probe = Probe::new();
    let task = probe.start(9001).await;
    for wait in [2000, 1500, 2500] {
        probe.task(&task).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let form = id(&probe.task(&task).await["payload"]["webForm"]);
    probe.web_form(&form).await;
    assert_eq!(probe.sandbox.asked().open_tasks, 1);
    pass(10).await;
    let user = json!({ "ipAddress": "10.0.0.1", "deviceOs": "iOS", "userAgent": "app" });
    probe
        .update(json!({ "bankConnectionIds": [9001], "userMetadata": user }))
        .await;
    probe.update(json!({ "bankConnectionIds": [9001] })).await;
    let request = Request::get("/sandbox").body(Body::empty()).expect("a request");
    let answer = probe.send(request).await.expect("an answer");
    let asked: Asked = serde_json::from_str(&answer.text).expect("as documented");
    assert_eq!(asked, probe.sandbox.asked());
    assert_eq!(asked.calls[&Endpoint::StartUpdate], 3);
    assert_eq!(asked.responses["start_update 423"], 1);
    assert_eq!(asked.responses["task 200"], 4);
    assert_eq!(asked.smallest_interval_ms, Some(1500));
    let connection = &asked.connections[&9001];
    assert_eq!(
        (connection.posts, connection.tasks_made, connection.without_user),
        (3, 2, 1)
    );
    assert_eq!((connection.open_max, connection.web_form_polls), (1, 1));
    assert_eq!(connection.user_id.as_deref(), Some("anna"));
    let first = &connection.tasks[0];
    assert_eq!((first.id.as_str(), first.polls), (id(&task).as_str(), 4));
    assert_eq!(first.created_at, START);
    assert_eq!(first.web_form_status.as_deref(), Some("COMPLETED"));
}

#[tokio::test(start_paused = true)]
async fn the_page_escapes_what_users_are_called() {
    let probe = Probe::new();
    probe.sandbox.script("<script>&'\"", 1, Script::default());
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let page = probe.send(request).await.expect("an answer").text;
    assert!(page.contains("&lt;script&gt;&amp;'&quot;"), "{page}");
    assert!(!page.contains("<script>"));
}

#[tokio::test(start_paused = true)]
async fn scripts_and_users_and_outages_come_over_http() {
    let probe = Probe::new();
    let script =
        r#"{"user_id":"anna","connection_id":1,"script":{"updates":[{"immediate_web_form":{"user":"waits"}}]}}"#;
    assert_eq!(post(&probe, "/sandbox/script", script).await.status, 204);
    assert_eq!(probe.start(1).await["status"], "WEB_FORM_REQUIRED");
    let wrong = post(
        &probe,
        "/sandbox/script",
        r#"{"connection_id":1,"script":{"update":[]}}"#,
    )
    .await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text.contains("script.update: unknown field"), "{}", wrong.text);
    assert_eq!(
        post(&probe, "/sandbox/users", r#"{"user_id":"bob","locked":true}"#)
            .await
            .status,
        204
    );
    let client = "client_id=sandbox-client&client_secret=sandbox-secret";
    let bob = format!("grant_type=password&{client}&username=bob&password=secret-bob");
    assert_eq!(probe.form(&bob).await.status, 423);
    assert_eq!(post(&probe, "/sandbox/down", "").await.status, 204);
    assert_eq!(probe.form(&bob).await.status, 503);
    assert_eq!(
        post(&probe, "/sandbox/down", r#"{"status":{"status":500}}"#)
            .await
            .status,
        204
    );
    assert_eq!(probe.form(&bob).await.status, 500);
    assert_eq!(post(&probe, "/sandbox/up", "").await.status, 204);
    assert_eq!(probe.form(&bob).await.status, 423);
}

#[tokio::test(start_paused = true)]
async fn faults_are_added_and_taken_back_by_hand() {
    let probe = Probe::new();
    let fault = r#"{"user_id":"anna","at":"tasks","kind":{"gateway":{"status":404,"body":"html"}}}"#;
    assert_eq!(post(&probe, "/sandbox/faults", fault).await.status, 204);
    let answer = probe.get("/api/tasks").await;
    assert_eq!((answer.status.as_u16(), &answer.text[..6]), (404, "<html>"));
    let wrong = post(&probe, "/sandbox/faults", r#"{"user":"anna","kind":"dropped"}"#).await;
    assert!(wrong.text.contains("unknown field `user`"), "{}", wrong.text);
    let request = Request::delete("/sandbox/faults")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(probe.send(request).await.expect("an answer").status, 204);
    assert_eq!(probe.get("/api/tasks").await.status, 200);
}

#[test]
fn settings_are_read_from_toml() {
    let config = SandboxConfig::from_toml(
        r#"
        start = "2021-03-08T08:36:15Z"
        dialect = "reference"
        web_form_life = "30s"
        fault_rate = 0.5
        random_faults = ["dropped", { status = { status = 500 } }]
        [[users]]
        user_id = "bob"
        unverified = true
        [[connections]]
        user_id = "anna"
        connection_id = 7
        [connections.script]
        settles = "2m 5s"
        updates = [
            { silent = { after = { min = "1s", max = "5s" } } },
            { web_form_during = { after = "1s", user = "expires" } },
            { immediate_web_form = { user = { completes = { after = "3s" } } } },
        ]
        new_accounts = [{ kind = "CREDIT_CARD" }]
        faults = [{ kind = "response_lost", at = "start_update", first = 1 }]
        "#,
    )
    .expect("it is right");
    assert_eq!(config.dialect, Dialect::Reference);
    assert_eq!(config.web_form_life, Duration::from_secs(30));
    assert_eq!(config.random_faults.len(), 2);
    let script = &config.connections[0].script;
    assert_eq!(script.settles, After::secs(125));
    let between = After::Between {
        min: Duration::from_secs(1),
        max: Duration::from_secs(5),
    };
    assert_eq!(script.updates[0], Behaviour::Silent { after: between });
    assert_eq!(script.new_accounts, [Account::new(AccountType::CreditCard)]);
    assert_eq!(script.faults[0].kind, FaultKind::ResponseLost);
    assert_eq!(script.transactions, Transactions::default());
    let written = serde_json::to_string(script).expect("JSON");
    assert_eq!(&serde_json::from_str::<Script>(&written).expect("the same"), script);
    assert!(SandboxConfig::from_toml("sed = 1").is_err());
}

async fn called_back(connection: i64) -> (Probe, Value) {
    let probe = Probe::new();
    let callbacks = json!({"finalised": "https://a.example/f", "webFormRequired": "https://a.example/w"});
    let answer = probe
        .update(json!({ "bankConnectionIds": [connection], "callbacks": callbacks }))
        .await;
    (probe, answer.json())
}

async fn next(probe: &Probe) -> Option<(String, Value, u64)> {
    let began = tokio::time::Instant::now();
    let callback = tokio::time::timeout(Duration::from_secs(3600), probe.sandbox.next_callback()).await;
    let callback = callback.ok()?;
    let body = serde_json::from_str(&callback.body).expect("JSON");
    Some((callback.url, body, began.elapsed().as_secs()))
}

#[tokio::test(start_paused = true)]
async fn a_silent_task_is_called_back_once() {
    let (probe, task) = called_back(1).await;
    let body = json!({ "taskId": id(&task), "status": "COMPLETED" });
    assert_eq!(next(&probe).await, Some(("https://a.example/f".to_owned(), body, 3)));
    assert_eq!(next(&probe).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_web_form_is_called_back_when_it_is_required_and_when_it_ended() {
    let (probe, task) = called_back(9015).await;
    let (url, body, seconds) = next(&probe).await.expect("a callback");
    assert_eq!((url.as_str(), seconds), ("https://a.example/w", 3));
    assert_eq!(
        (&body["taskId"], &body["status"]),
        (&task["id"], &json!("WEB_FORM_REQUIRED"))
    );
    let form = id(&body["webForm"]);
    let ended = tokio::spawn({
        let sandbox = Arc::clone(&probe.sandbox);
        async move { sandbox.next_callback().await }
    });
    pass(30).await;
    let path = format!("/sandbox/webForms/{form}/complete");
    assert_eq!(post(&probe, &path, "").await.status, 200);
    let callback = ended.await.expect("a callback");
    assert_eq!(callback.url, "https://a.example/f");
    let body: Value = serde_json::from_str(&callback.body).expect("JSON");
    assert_eq!(body, json!({ "webFormId": form, "status": "COMPLETED" }));
    assert_eq!(next(&probe).await, None, "not again when the form would have expired");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_callbacks_hears_of_a_later_task() {
    let probe = Probe::new();
    let waits = tokio::spawn({
        let sandbox = Arc::clone(&probe.sandbox);
        async move { sandbox.next_callback().await }
    });
    pass(1).await;
    let callbacks = json!({ "finalised": "https://a.example/f" });
    probe
        .update(json!({ "bankConnectionIds": [1], "callbacks": callbacks }))
        .await;
    let callback = tokio::time::timeout(Duration::from_secs(10), waits).await;
    assert_eq!(callback.expect("in time").expect("no panic").url, "https://a.example/f");
}

#[tokio::test(start_paused = true)]
async fn an_immediate_web_form_is_not_called_back_for() {
    let (probe, _) = called_back(9004).await;
    let (url, body, seconds) = next(&probe).await.expect("a callback");
    assert_eq!((url.as_str(), seconds), ("https://a.example/f", 10));
    assert_eq!(body["status"], "COMPLETED");
    assert_eq!(next(&probe).await, None);
}

#[tokio::test]
async fn callbacks_are_posted() {
    // Whichever test of this process comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel::<String>();
    let platform = Router::new().route(
        "/callback",
        axum::routing::post(move |body: String| async move { heard.send(body).map_err(|_| StatusCode::GONE) }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/callback", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move { axum::serve(listener, platform).await });
    let probe = Probe::of(SandboxConfig {
        allow_http_callbacks: true,
        ..SandboxConfig::default()
    });
    let runs = tokio::spawn(Arc::clone(&probe.sandbox).run_callbacks(reqwest::Client::new()));
    let at_once = Script::of(Behaviour::Silent { after: After::secs(0) });
    probe.sandbox.script("anna", 1, at_once);
    let body = json!({ "bankConnectionIds": [1], "callbacks": { "finalised": url } });
    let task = probe.update(body).await.json();
    let body = hears.recv().await.expect("a callback");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body, json!({ "taskId": id(&task), "status": "COMPLETED" }));
    runs.abort();
    server.abort();
}
