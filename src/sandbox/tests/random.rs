//! Each user and each connection draws for itself.

use super::*;

fn config() -> SandboxConfig {
    let between = After::Between {
        min: Duration::from_secs(1),
        max: Duration::from_secs(100),
    };
    SandboxConfig {
        seed: 7,
        fault_rate: 0.4,
        // An answer that takes a while would let time pass for others, too.
        random_faults: vec![FaultKind::Dropped, FaultKind::ResponseLost, FaultKind::Malformed],
        default_script: Script {
            batch_update: Some(between),
            ..Script::of(Behaviour::WebFormDuring {
                after: between,
                user: UserDoes::Completes { after: between },
            })
        },
        ..SandboxConfig::default()
    }
}

/// Starts updates of a connection until it has one, and polls; what came of it all.
async fn drawn(probe: &Probe, user: &str, connection: i64, others: &[&str]) -> Vec<String> {
    let mut drawn = Vec::new();
    let path = format!("/api/v1/bankConnections/{connection}");
    for _ in 0..20 {
        for other in others {
            let _ = one_token(probe, other).await;
            let _ = bearer(probe, "unknown", "/api/tasks").await;
        }
        let Some(token) = one_token(probe, user).await else {
            drawn.push("no token".to_owned());
            continue;
        };
        drawn.push(token.clone());
        drawn.push(bearer(probe, &token, &path).await);
        drawn.push(bearer(probe, &token, "/api/tasks").await);
        let request = Request::post("/api/tasks/backgroundUpdate")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "bankConnectionIds": [connection] }).to_string()))
            .expect("a request");
        let started = probe.send(request).await;
        drawn.push(started.map_or_else(|| "dropped".to_owned(), |answer| answer.text));
        pass(30).await;
    }
    drawn
}

async fn one_token(probe: &Probe, user: &str) -> Option<String> {
    let client = "client_id=sandbox-client&client_secret=sandbox-secret";
    let form = format!("grant_type=password&{client}&username={user}&password=secret-{user}");
    let request = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
    let answer = probe.send(request.body(Body::from(form)).expect("a request")).await?;
    let body: Value = serde_json::from_str(&answer.text).ok()?;
    Some(body["access_token"].as_str()?.to_owned())
}

async fn bearer(probe: &Probe, token: &str, path: &str) -> String {
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    let answer = probe.send(request.body(Body::empty()).expect("a request")).await;
    answer.map_or_else(|| "dropped".to_owned(), |answer| answer.text)
}

#[tokio::test(start_paused = true)]
async fn what_others_do_changes_no_draw_of_a_user_or_a_connection() {
    let alone = drawn(&Probe::of(config()), "anna", 1, &[]).await;
    let among_others = drawn(&Probe::of(config()), "anna", 1, &["berta", "carla"]).await;
    assert_eq!(alone, among_others);
    // Faults came by, and tasks were made.
    assert!(alone.iter().any(|what| what == "dropped"));
    assert!(alone.iter().any(|what| what.contains("NOT_YET_STARTED")), "{alone:?}");
    let other = drawn(&Probe::of(config()), "anna", 2, &[]).await;
    assert_ne!(alone, other);
}
