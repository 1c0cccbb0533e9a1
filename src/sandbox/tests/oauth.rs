//! `POST /oauth/token`, and what tokens are good for.

use super::*;

const CLIENT: &str = "client_id=sandbox-client&client_secret=sandbox-secret";

#[tokio::test(start_paused = true)]
async fn a_token_is_the_same_until_it_expires() {
    let probe = Probe::new();
    let form = format!("grant_type=password&{CLIENT}&username=anna&password=secret-anna");
    let first = probe.form(&form).await.json();
    assert_eq!(first["token_type"], "bearer");
    assert_eq!(first["scope"], "all");
    assert_eq!(first["expires_in"], 3600);
    pass(100).await;
    let second = probe.form(&form).await.json();
    assert_eq!(second["access_token"], first["access_token"]);
    assert_eq!(second["expires_in"], 3500);
    assert_ne!(probe.token("bob").await, text(&first["access_token"]));
    pass(3500).await;
    let third = probe.form(&form).await.json();
    assert_ne!(third["access_token"], first["access_token"]);
    assert_eq!(third["refresh_token"], first["refresh_token"]);
    let asked = &probe.sandbox.asked().users["anna"];
    assert_eq!((asked.token_responses, asked.tokens_made), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_is_refused_by_each_surface_in_its_own_words() {
    let probe = Probe::new();
    let token = probe.token("anna").await;
    let ask = |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        probe.send(request.body(Body::empty()).expect("a request"))
    };
    assert_eq!(ask("/api/tasks").await.expect("an answer").status, 200);
    pass(3600).await;
    let web_form = ask("/api/tasks").await.expect("an answer");
    assert_eq!(web_form.status, 401);
    assert_eq!(web_form.json()["code"], "UNAUTHORIZED");
    assert_eq!(web_form.json()["endpoint"], "GET /api/tasks");
    assert_eq!(web_form.json()["timestamp"], "2021-03-08T09:36:15.000+0000");
    let access = ask("/api/v1/accounts").await.expect("an answer");
    assert_eq!(access.status, 401);
    assert_eq!(
        access.json(),
        json!({"error": "invalid_token", "error_description": format!("Invalid access token: {token}")})
    );
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_dead_and_a_new_one_lives() {
    let probe = Probe::new();
    let token = probe.token("anna").await;
    probe.sandbox.revoke_token("anna");
    let request = Request::get("/api/tasks").header("authorization", format!("Bearer {token}"));
    let answer = probe.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.expect("an answer").status, 401);
    assert_eq!(probe.get("/api/tasks").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_have_a_token() {
    let user = |user_id: &str| ScriptedUser {
        user_id: user_id.to_owned(),
        ..ScriptedUser::default()
    };
    let probe = Probe::of(SandboxConfig {
        users: vec![
            ScriptedUser {
                locked: true,
                ..user("locked")
            },
            ScriptedUser {
                unverified: true,
                ..user("new")
            },
            ScriptedUser {
                password: Some("other".to_owned()),
                ..user("other")
            },
        ],
        ..SandboxConfig::default()
    });
    let password =
        |user: &str, password: &str| format!("grant_type=password&{CLIENT}&username={user}&password={password}");
    for (form, status, error) in [
        (password("anna", "wrong"), 400, "BAD_REQUEST"),
        (password("other", "secret-other"), 400, "BAD_REQUEST"),
        (password("locked", "secret-locked"), 423, "LOCKED"),
        (password("new", "secret-new"), 403, "USER_NOT_VERIFIED"),
        (password("anna", "secret-anna") + "&more=1", 400, "invalid_request"),
        (
            format!("grant_type=password&{CLIENT}&username=anna"),
            400,
            "invalid_request",
        ),
        (format!("grant_type=none&{CLIENT}"), 400, "unsupported_grant_type"),
        (
            format!("grant_type=refresh_token&{CLIENT}&refresh_token=x"),
            400,
            "BAD_REQUEST",
        ),
        (
            "grant_type=client_credentials&client_id=sandbox-client&client_secret=no".to_owned(),
            401,
            "invalid_client",
        ),
        ("grant_type=client_credentials".to_owned(), 401, "invalid_client"),
    ] {
        let answer = probe.form(&form).await;
        assert_eq!(answer.status, status, "{form}: {}", answer.text);
        let body = answer.json();
        let (code, text) = match body.get("errors") {
            Some(errors) => (&errors[0]["code"], &errors[0]["message"]),
            None => (&body["error"], &body["error_description"]),
        };
        assert_eq!(code, error, "{form}");
        assert!(text.is_string());
    }
    assert_eq!(probe.form(&password("other", "other")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_in_a_row_lock_a_user() {
    let probe = Probe::new();
    let form = |password: &str| format!("grant_type=password&{CLIENT}&username=anna&password={password}");
    for wrong in ["a", "b"] {
        assert_eq!(probe.form(&form(wrong)).await.status, 400);
    }
    assert_eq!(probe.form(&form("secret-anna")).await.status, 200);
    for wrong in ["a", "b", "c"] {
        assert_eq!(probe.form(&form(wrong)).await.status, 400);
    }
    assert_eq!(probe.form(&form("secret-anna")).await.status, 423);
}

#[tokio::test(start_paused = true)]
async fn the_client_has_a_token_that_is_no_users() {
    let probe = Probe::new();
    let answer = probe
        .form(&format!("grant_type=client_credentials&{CLIENT}"))
        .await
        .json();
    assert!(answer.get("refresh_token").is_none());
    let token = text(&answer["access_token"]);
    for (path, code) in [("/api/tasks", "/code"), ("/api/v1/accounts", "/errors/0/code")] {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let answer = probe
            .send(request.body(Body::empty()).expect("a request"))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 403);
        assert_eq!(answer.json().pointer(code), Some(&json!("FORBIDDEN")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_gives_an_access_token() {
    let probe = Probe::new();
    let form = format!("grant_type=password&{CLIENT}&username=anna&password=secret-anna");
    let first = probe.form(&form).await.json();
    pass(3600).await;
    let refresh = text(&first["refresh_token"]);
    let second = probe
        .form(&format!("grant_type=refresh_token&{CLIENT}&refresh_token={refresh}"))
        .await
        .json();
    assert_ne!(second["access_token"], first["access_token"]);
    assert_eq!(text(&second["access_token"]), probe.token("anna").await);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_zero_life_lives_for_ever() {
    let probe = Probe::of(SandboxConfig {
        token_life: Duration::ZERO,
        ..SandboxConfig::default()
    });
    let form = format!("grant_type=password&{CLIENT}&username=anna&password=secret-anna");
    let first = probe.form(&form).await.json();
    assert_eq!(first["expires_in"], 0);
    pass(1_000_000).await;
    assert_eq!(probe.form(&form).await.json()["access_token"], first["access_token"]);
}
