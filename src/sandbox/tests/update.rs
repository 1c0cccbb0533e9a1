//! `POST /api/tasks/backgroundUpdate`: what is taken and what is refused.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_answer_is_a_task_as_in_the_contract() {
    let probe = Probe::new();
    pass(1).await;
    let answer = probe.update(json!({ "bankConnectionIds": [1] })).await;
    assert_eq!(answer.status, 201);
    let task = answer.json();
    assert_eq!(id(&task).len(), 36);
    assert_eq!(
        task,
        json!({
            "id": id(&task),
            "createdAt": "2021-03-08T08:36:16.000+0000",
            "type": "BANK_CONNECTION_UPDATE",
            "status": "NOT_YET_STARTED",
            "payload": { "bankConnectionId": 1 },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn every_field_is_known_by_the_guides_or_the_references_name() {
    let common = json!({
        "accountTypes": ["BAUSPAREN", "CHECKING", "CREDIT_CARD", "LOAN", "MEMBERSHIP", "SAVINGS", "SECURITY"],
        "allowedInterfaces": ["XS2A", "FINTS_SERVER", "WEB_SCRAPER"],
        "skipBalancesDownload": true,
        "skipPositionsDownload": true,
        "loadOwnerData": false,
        "callbacks": { "finalised": "https://a.example/f", "webFormRequired": "https://a.example/w" },
        "profileId": "a2c9fc3b-1777-403c-8b2f-1ce4d90157a2",
        "redirectUrl": "https://a.example/back",
        "userMetadata": { "ipAddress": "10.0.0.1", "deviceOs": "iOS", "userAgent": "app" },
    });
    let with = |own: Value| {
        let mut body = common.clone();
        let fields = body.as_object_mut().expect("an object");
        fields.extend(own.as_object().expect("an object").clone());
        body
    };
    let guide = |id: i64| {
        with(json!({"bankConnectionIds": [id], "importNewAccounts": true, "editSavedSettings": ["CREDENTIALS"]}))
    };
    let reference = |id: i64| {
        with(json!({
            "bankConnectionId": id,
            "importNewAccountsMode": "FORCED",
            "manageSavedSettings": ["DEFAULT_TWO_STEP_PROCEDURE"],
        }))
    };
    for (dialect, guide_status, reference_status) in [
        (Dialect::Both, 201, 201),
        (Dialect::Guide, 201, 400),
        (Dialect::Reference, 400, 201),
    ] {
        let probe = Probe::of(SandboxConfig {
            dialect,
            ..SandboxConfig::default()
        });
        let answer = probe.update(guide(1)).await;
        assert_eq!(answer.status, guide_status, "{dialect:?} {}", answer.text);
        let answer = probe.update(reference(2)).await;
        assert_eq!(answer.status, reference_status, "{dialect:?} {}", answer.text);
        assert_eq!(
            probe.sandbox.asked().tasks,
            if dialect == Dialect::Both { 2 } else { 1 }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_dialects_field_is_named() {
    let of = |dialect| {
        Probe::of(SandboxConfig {
            dialect,
            ..SandboxConfig::default()
        })
    };
    let guide = of(Dialect::Guide);
    let answer = guide.update(json!({ "bankConnectionId": 1 })).await;
    assert_eq!(answer.wrong_fields(), ["bankConnectionIds", "bankConnectionId"]);
    let body = answer.json();
    assert_eq!(body["timestamp"], "2021-03-08T08:36:15.000+0000");
    assert_eq!(body["endpoint"], "POST /api/tasks/backgroundUpdate");
    assert_eq!(
        body["errors"][1],
        json!({"field": "bankConnectionId", "message": "is unknown"})
    );
    let answer = guide.update(json!({ "bankConnectionIds": [1], "manageSavedSettings": ["CREDENTIALS"] }));
    assert_eq!(answer.await.wrong_fields(), ["manageSavedSettings"]);
    let reference = of(Dialect::Reference);
    let answer = reference.update(json!({ "bankConnectionIds": [1] })).await;
    assert_eq!(answer.wrong_fields(), ["bankConnectionId", "bankConnectionIds"]);
    assert_eq!(reference.sandbox.asked().tasks, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_refused_by_name() {
    let probe = Probe::new();
    let long = format!("https://a.example/{}", "x".repeat(2048));
    let metadata = json!({ "ipAddress": "10.0.0.1", "deviceOs": "iOS" });
    for (body, wrong) in [
        (json!({}), "bankConnectionIds"),
        (json!({"bankConnectionIds": 1}), "bankConnectionIds"),
        (json!({"bankConnectionIds": ["1"]}), "bankConnectionIds"),
        (json!({"bankConnectionIds": []}), "bankConnectionIds"),
        (json!({"bankConnectionIds": [1, 2]}), "bankConnectionIds"),
        (json!({"bankConnectionId": [1]}), "bankConnectionId"),
        (
            json!({"bankConnectionId": 1, "bankConnectionIds": [1]}),
            "bankConnectionId",
        ),
        (json!({"bankConnectionIds": [1], "surprise": 1}), "surprise"),
        (
            json!({"bankConnectionIds": [1], "importNewAccounts": "yes"}),
            "importNewAccounts",
        ),
        (
            json!({"bankConnectionIds": [1], "importNewAccountsMode": "MAYBE"}),
            "importNewAccountsMode",
        ),
        (
            json!({"bankConnectionIds": [1], "accountTypes": ["CHECKING"]}),
            "accountTypes",
        ),
        (
            json!({"bankConnectionIds": [1], "importNewAccounts": true, "accountTypes": ["Checking"]}),
            "accountTypes",
        ),
        (
            json!({"bankConnectionIds": [1], "importNewAccountsMode": "SKIP", "accountTypes": ["LOAN"]}),
            "accountTypes",
        ),
        (
            json!({"bankConnectionIds": [1], "allowedInterfaces": ["FAX"]}),
            "allowedInterfaces",
        ),
        (
            json!({"bankConnectionIds": [1], "skipBalancesDownload": true}),
            "skipBalancesDownload",
        ),
        (json!({"bankConnectionIds": [1], "loadOwnerData": 1}), "loadOwnerData"),
        (
            json!({"bankConnectionIds": [1], "editSavedSettings": ["ALL"]}),
            "editSavedSettings",
        ),
        (
            json!({"bankConnectionIds": [1], "callbacks": {"finalised": "http://a.example"}}),
            "callbacks.finalised",
        ),
        (
            json!({"bankConnectionIds": [1], "callbacks": {"finalised": "http://127.0.0.1:1/x"}}),
            "callbacks.finalised",
        ),
        (
            json!({"bankConnectionIds": [1], "callbacks": {"webFormRequired": long}}),
            "callbacks.webFormRequired",
        ),
        (
            json!({"bankConnectionIds": [1], "callbacks": {"started": "https://a.example"}}),
            "callbacks.started",
        ),
        (json!({"bankConnectionIds": [1], "profileId": "short"}), "profileId"),
        (
            json!({"bankConnectionIds": [1], "redirectUrl": "app://back"}),
            "redirectUrl",
        ),
        (
            json!({"bankConnectionIds": [1], "userMetadata": metadata}),
            "userMetadata.userAgent",
        ),
    ] {
        let answer = probe.update(body.clone()).await;
        assert_eq!(answer.wrong_fields(), [wrong], "{body}");
    }
    assert_eq!(probe.sandbox.asked().tasks, 0);
}

#[tokio::test(start_paused = true)]
async fn the_licence_decides_about_the_redirect_url() {
    for (redirect_url, without, with) in [(RedirectUrl::Required, 400, 201), (RedirectUrl::Forbidden, 201, 400)] {
        let probe = Probe::of(SandboxConfig {
            redirect_url,
            ..SandboxConfig::default()
        });
        assert_eq!(probe.update(json!({ "bankConnectionIds": [1] })).await.status, without);
        let body = json!({ "bankConnectionIds": [2], "redirectUrl": "https://a.example/back" });
        assert_eq!(probe.update(body).await.status, with);
    }
}

#[tokio::test(start_paused = true)]
async fn http_callbacks_to_this_machine_can_be_allowed() {
    let probe = Probe::of(SandboxConfig {
        allow_http_callbacks: true,
        ..SandboxConfig::default()
    });
    let with = |url: &str| probe.update(json!({ "bankConnectionIds": [1], "callbacks": {"finalised": url} }));
    assert_eq!(with("http://127.0.0.1.example/x").await.status, 400);
    assert_eq!(with("http://127.0.0.1:8080/x").await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn unknown_connections_and_profiles_and_those_of_others_do_not_exist() {
    let probe = Probe::new();
    let nil = "00000000-0000-0000-0000-000000000000";
    for body in [
        json!({"bankConnectionIds": [9404]}),
        json!({"bankConnectionIds": [-1]}),
        json!({"bankConnectionIds": [i64::MAX]}),
        json!({"bankConnectionIds": [1], "profileId": nil}),
    ] {
        let answer = probe.update(body.clone()).await;
        assert_eq!(answer.status, 404, "{body}");
        assert_eq!(answer.json()["code"], "NOT_FOUND");
    }
    let task = probe.start(1).await;
    let other = probe.try_update("bob", json!({ "bankConnectionIds": [1] })).await;
    assert_eq!(other.expect("an answer").status, 404);
    let other = probe.try_get("bob", &format!("/api/tasks/{}", id(&task))).await;
    assert_eq!(other.expect("an answer").status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_request_must_be_json_and_say_so() {
    let probe = Probe::new();
    let token = probe.token("anna").await;
    for (content_type, body) in [
        ("text/plain", "{\"bankConnectionIds\":[1]}"),
        ("application/json", "[1]"),
    ] {
        let request = Request::post("/api/tasks/backgroundUpdate")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", content_type);
        let answer = probe.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(answer.expect("an answer").status, 400, "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_id_is_echoed() {
    let probe = Probe::new();
    for (length, status) in [(255, 401), (256, 400)] {
        let request_id = "r".repeat(length);
        let request = Request::get("/api/tasks").header("x-request-id", &request_id);
        let answer = probe
            .send(request.body(Body::empty()).expect("a request"))
            .await
            .expect("an answer");
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["x-request-id"], request_id.as_str());
    }
}
