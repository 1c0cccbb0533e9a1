//! Tasks, web forms and what their scripts make of them.

use super::*;

fn during(user: UserDoes) -> Script {
    Script::of(Behaviour::WebFormDuring {
        after: After::secs(4),
        user,
    })
}

#[tokio::test(start_paused = true)]
async fn a_silent_update_runs_locks_and_completes() {
    let probe = Probe::scripted(Script::of(Behaviour::Silent { after: After::secs(4) }));
    let task = probe.start(1).await;
    assert_eq!(probe.task_status(&task).await, "NOT_YET_STARTED");
    pass(1).await;
    assert_eq!(probe.task_status(&task).await, "IN_PROGRESS");
    let answer = probe.update(json!({ "bankConnectionIds": [1] })).await;
    assert_eq!(answer.status, 423);
    assert_eq!(answer.json()["code"], "LOCKED");
    pass(3).await;
    let body = probe.task(&task).await;
    assert_eq!(body["status"], "COMPLETED");
    assert_eq!(body["payload"], json!({ "bankConnectionId": 1 }));
    probe.start(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_has_its_code_and_message() {
    let probe = Probe::scripted(Script::of(Behaviour::Fails {
        after: After::secs(4),
        error_code: "BANK_SERVER_REJECTION".to_owned(),
        error_message: "wrong PIN".to_owned(),
    }));
    let task = probe.start(1).await;
    pass(3).await;
    assert_eq!(probe.task(&task).await["payload"], json!({ "bankConnectionId": 1 }));
    pass(1).await;
    let body = probe.task(&task).await;
    assert_eq!(body["status"], "COMPLETED_WITH_ERROR");
    assert_eq!(body["payload"]["errorCode"], "BANK_SERVER_REJECTION");
    assert_eq!(body["payload"]["errorMessage"], "wrong PIN");
    let interface = probe.connection(1).await["interfaces"][0].clone();
    assert_eq!(
        interface["lastManualUpdate"],
        json!({
            "result": "BANK_SERVER_REJECTION",
            "errorMessage": "wrong PIN",
            "errorType": "BUSINESS",
            "timestamp": "2021-03-08 09:36:19.000",
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_web_form_is_followed_to_its_end() {
    for (user, end, code) in [
        (UserDoes::Completes { after: After::secs(10) }, "COMPLETED", None),
        (UserDoes::Aborts { after: After::secs(10) }, "ABORTED", None),
        (
            UserDoes::FailsWith {
                after: After::secs(10),
                code: "NO_ACCOUNTS_FOR_TYPE_LIST".to_owned(),
            },
            "COMPLETED_WITH_ERROR",
            Some("NO_ACCOUNTS_FOR_TYPE_LIST"),
        ),
    ] {
        let probe = Probe::scripted(during(user));
        let task = probe.start(1).await;
        pass(4).await;
        let required = probe.task(&task).await;
        assert_eq!(required["status"], "WEB_FORM_REQUIRED");
        let form = required["payload"]["webForm"].clone();
        assert_eq!(form["status"], "NOT_YET_OPENED");
        assert!(text(&form["url"]).starts_with("https://webform-sandbox.finapi.io/webForm/"));
        let body = probe.web_form(&id(&form)).await;
        assert_eq!(
            body,
            json!({
                "id": id(&form),
                "url": form["url"],
                "createdAt": "2021-03-08T08:36:19.000+0000",
                "expiresAt": "2021-03-08T08:56:19.000+0000",
                "type": "BANK_CONNECTION_UPDATE",
                "status": "NOT_YET_OPENED",
                "payload": { "bankConnectionId": 1 },
            })
        );
        pass(5).await;
        assert_eq!(probe.web_form(&id(&form)).await["status"], "IN_PROGRESS");
        assert_eq!(probe.update(json!({ "bankConnectionIds": [1] })).await.status, 423);
        pass(5).await;
        let body = probe.web_form(&id(&form)).await;
        assert_eq!(body["status"], end);
        assert_eq!(body["payload"].get("errorCode").and_then(Value::as_str), code);
        assert_eq!(
            probe.task_status(&task).await,
            "WEB_FORM_REQUIRED",
            "it never changes again"
        );
        let imported = probe.connection(1).await["interfaces"][0]["lastManualUpdate"]["result"] == "OK";
        assert_eq!(imported, end == "COMPLETED");
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_form_lives_for_20_minutes_or_as_set() {
    let probe = Probe::scripted(during(UserDoes::Expires));
    let task = probe.start(1).await;
    pass(4).await;
    let form = id(&probe.task(&task).await["payload"]["webForm"]);
    pass(20 * 60 - 1).await;
    assert_eq!(probe.web_form(&form).await["status"], "NOT_YET_OPENED");
    pass(1).await;
    assert_eq!(probe.web_form(&form).await["status"], "EXPIRED");

    let probe = Probe::of(SandboxConfig {
        web_form_life: Duration::from_secs(7),
        ..SandboxConfig::default()
    });
    probe
        .sandbox
        .script("anna", 1, during(UserDoes::Completes { after: After::secs(10) }));
    let task = probe.start(1).await;
    pass(11).await;
    let form = id(&probe.task(&task).await["payload"]["webForm"]);
    assert_eq!(
        probe.web_form(&form).await["status"],
        "EXPIRED",
        "the user was too slow"
    );
}

#[tokio::test(start_paused = true)]
async fn there_is_no_web_form_before_it_is_required() {
    let probe = Probe::scripted(during(UserDoes::Expires));
    let task = probe.start(1).await;
    assert!(task["payload"].get("webForm").is_none());
    pass(3).await;
    assert!(probe.task(&task).await["payload"].get("webForm").is_none());
    let unknown = probe.get("/api/webForms/5d0f3b44-1777-403c-8b2f-1ce4d90157a2").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["code"], "NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn an_immediate_web_form_is_in_the_posts_answer() {
    let user = UserDoes::Completes { after: After::secs(10) };
    let probe = Probe::scripted(Script::of(Behaviour::ImmediateWebForm { user }));
    let task = probe.start(1).await;
    assert_eq!(task["status"], "WEB_FORM_REQUIRED");
    assert_eq!(task["payload"]["webForm"]["status"], "NOT_YET_OPENED");
}

#[tokio::test(start_paused = true)]
async fn editing_saved_settings_always_leads_to_a_web_form_at_once() {
    let probe = Probe::scripted(during(UserDoes::Aborts { after: After::secs(10) }));
    let answer = probe
        .update(json!({ "bankConnectionIds": [1], "editSavedSettings": ["CREDENTIALS"] }))
        .await;
    let task = answer.json();
    assert_eq!(task["status"], "WEB_FORM_REQUIRED");
    pass(10).await;
    let form = id(&task["payload"]["webForm"]);
    assert_eq!(
        probe.web_form(&form).await["status"],
        "ABORTED",
        "as the scripted user does"
    );
}

#[tokio::test(start_paused = true)]
async fn updates_follow_their_script_one_after_another() {
    let probe = Probe::scripted(Script {
        updates: vec![
            Behaviour::ImmediateWebForm {
                user: UserDoes::Aborts { after: After::secs(0) },
            },
            Behaviour::Silent { after: After::secs(1) },
        ],
        ..Script::default()
    });
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(text(&probe.start(1).await["status"]));
        pass(5).await;
    }
    assert_eq!(first, ["WEB_FORM_REQUIRED", "NOT_YET_STARTED", "NOT_YET_STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn the_users_tasks_are_listed_in_pages() {
    let probe = Probe::new();
    let mut ids = Vec::new();
    for connection in 1..=5 {
        ids.push(id(&probe.start(connection).await));
        pass(1).await;
    }
    let other = probe.try_update("bob", json!({ "bankConnectionIds": [6] })).await;
    assert_eq!(other.expect("an answer").status, 201);
    let list = |query: &'static str| {
        let probe = &probe;
        async move {
            let body = probe.get(&format!("/api/tasks{query}")).await.json();
            let items = body["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(id)
                .collect::<Vec<_>>();
            (items, body["paging"].clone())
        }
    };
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    let (items, paging) = list("").await;
    assert_eq!(items, newest_first);
    assert_eq!(
        paging,
        json!({"page": 1, "perPage": 20, "pageCount": 1, "totalCount": 5})
    );
    assert_eq!(list("?order=createdAt,asc").await.0, ids);
    let (items, paging) = list("?order=createdAt%2Cdesc&page=2&perPage=2").await;
    assert_eq!(items, newest_first[2..4]);
    assert_eq!(
        paging,
        json!({"page": 2, "perPage": 2, "pageCount": 3, "totalCount": 5})
    );
    assert_eq!(list("?page=9").await.0, Vec::<String>::new());
    for wrong in [
        "?order=id,asc",
        "?page=0",
        "?perPage=501",
        "?perPage=x",
        "?limit=3",
        "?page=1&page=2",
    ] {
        assert_eq!(probe.get(&format!("/api/tasks{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_batch_update_locks_and_then_it_is_fresh() {
    let probe = Probe::scripted(Script {
        batch_update: Some(After::secs(10)),
        ..Script::default()
    });
    assert_eq!(probe.update(json!({ "bankConnectionIds": [1] })).await.status, 423);
    assert_eq!(probe.connection(1).await["updateStatus"], "IN_PROGRESS");
    pass(10).await;
    let connection = probe.connection(1).await;
    assert_eq!(connection["updateStatus"], "READY");
    assert_eq!(
        connection["interfaces"][0]["lastAutoUpdate"],
        json!({"result": "OK", "errorMessage": null, "errorType": null, "timestamp": "2021-03-08 09:36:25.000"})
    );
    assert_eq!(connection["interfaces"][0]["lastManualUpdate"], Value::Null);
    probe.start(1).await;
    assert!(
        !probe.sandbox.batch_update(1, Duration::from_secs(5)),
        "locked by the task"
    );
    pass(5).await;
    assert!(probe.sandbox.batch_update(1, Duration::from_secs(5)));
    assert_eq!(probe.update(json!({ "bankConnectionIds": [1] })).await.status, 423);
}

#[tokio::test(start_paused = true)]
async fn ids_pick_their_behaviour() {
    let probe = Probe::new();
    for (connection, post, after_14_seconds) in [
        (1, "NOT_YET_STARTED", "COMPLETED"),
        (9001, "NOT_YET_STARTED", "COMPLETED"),
        (9002, "NOT_YET_STARTED", "ABORTED"),
        (9003, "NOT_YET_STARTED", "NOT_YET_OPENED"),
        (9004, "WEB_FORM_REQUIRED", "COMPLETED"),
        (9005, "NOT_YET_STARTED", "COMPLETED_WITH_ERROR"),
        (9015, "NOT_YET_STARTED", "NOT_YET_OPENED"),
    ] {
        let task = probe.start(connection).await;
        assert_eq!(task["status"], post, "{connection}");
        pass(14).await;
        let task = probe.task(&task).await;
        let status = task["payload"]["webForm"].get("status").unwrap_or(&task["status"]);
        assert_eq!(status, after_14_seconds, "{connection}");
    }
    let answer = probe.update(json!({ "bankConnectionIds": [9013] })).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (422, &json!("BANK_NOT_SUPPORTED"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_sandbox() {
    let script = || {
        Script::of(Behaviour::Silent {
            after: After::Between {
                min: Duration::from_secs(1),
                max: Duration::from_secs(100),
            },
        })
    };
    let run = |seed| async move {
        let probe = Probe::of(SandboxConfig {
            seed,
            ..SandboxConfig::default()
        });
        probe.sandbox.script("anna", 1, script());
        let task = probe.start(1).await;
        let mut seconds = 0;
        while probe.task_status(&task).await != "COMPLETED" {
            pass(1).await;
            seconds += 1;
        }
        assert!((1..=100).contains(&seconds));
        (id(&task), seconds)
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}
