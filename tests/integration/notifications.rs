//! Notifications of finAPI's batch update, from the page that sets them up to the events that follow.

use std::time::Duration;

use bankrefresh::proto::{UpdateOrigin, UserActionReason};
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::{ApiVersion, SandboxConfig};
use tokio::process::Command;

use crate::support::platform::{Platform, client, command, free_address, quick};

const PAGE: &str = include_str!("../../docs/operating/notifications.md");

/// The shell commands below a heading of the page, as this platform would change them.
fn commands_of(heading: &str, changes: &[(&str, &str)]) -> String {
    let (_, section) = PAGE.split_once(heading).expect("the heading");
    let (_, block) = section.split_once("```sh\n").expect("commands");
    let (block, _) = block.split_once("```").expect("their end");
    changes.iter().fold(block.to_owned(), |block, (from, to)| {
        assert!(block.contains(from), "the page has {from}");
        block.replace(from, to)
    })
}

/// Runs them, and says what they print.
async fn run(commands: &str, variables: &[(&str, &str)]) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", commands]);
    let output = shell
        .envs(variables.iter().copied())
        .output()
        .await
        .expect("bash, curl and jq");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{commands}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Follows the page word for word, in both versions: the URL, a rule for the connection, and what the batch update imports is published.
#[tokio::test]
async fn who_follows_the_page_on_notifications_hears_of_the_batch_update() {
    for (version, segment) in [(ApiVersion::V2, "v2"), (ApiVersion::V1, "v1")] {
        let config = SandboxConfig {
            api_version: version,
            ..quick()
        };
        let mut platform = Platform::start(config).await;
        let sending = tokio::spawn(platform.sandbox.clone().run_callbacks(client()));
        let (listen, finapi) = (free_address(), platform.finapi_url.clone());
        let (_, secret) = PAGE.split_once("notification_secret = \"").expect("a secret");
        let (secret, _) = secret.split_once('"').expect("its end");
        let _worker = platform.worker(&[
            ("CALLBACKS__LISTEN", &listen),
            ("CALLBACKS__NOTIFICATION_SECRET", secret),
        ]);
        let first = platform.send(command(1)).await;
        platform.outcome(&first).await;

        let callbacks = format!("http://{listen}/");
        let mut changes = vec![
            ("https://sandbox.finapi.io", finapi.as_str()),
            ("https://bank.example.org/", &callbacks),
        ];
        if version == ApiVersion::V1 {
            // As the page says.
            changes.extend([("/api/v2/oauth/token", "/oauth/token"), ("/api/v2/", "/api/v1/")]);
        }
        let client_of_finapi = [("CLIENT_ID", "sandbox-client"), ("CLIENT_SECRET", "sandbox-secret")];
        let setting = run(&commands_of("## 2.", &changes), &client_of_finapi).await;
        assert!(setting.contains(secret), "{setting}");

        let user = command(1).user_id;
        let own = format!("USER={user} CONNECTION=1 ACCOUNTS=1001,1002");
        let mut changes = vec![("USER=anna CONNECTION=101 ACCOUNTS=7,8", own.as_str())];
        if version == ApiVersion::V1 {
            changes.extend([("/api/v2/oauth/token", "/oauth/token"), ("/api/v2/", "/api/v1/")]);
        }
        let password = format!("secret-{user}");
        let mut variables = client_of_finapi.to_vec();
        variables.extend([("HOST", finapi.as_str()), ("PASSWORD", &password)]);
        let rules = run(&commands_of("## 3.", &changes), &variables).await;
        assert!(
            rules.contains("NEW_TRANSACTIONS") && rules.contains("BANK_LOGIN_ERROR"),
            "{rules}"
        );

        let before = platform.events.len();
        let update =
            format!("curl -fsS {finapi}/sandbox/batchUpdates -d '{{\"connection_id\":1,\"takes\":\"100ms\"}}'");
        run(&update, &[]).await;
        let event = platform.next_event().await;
        let EventKind::TransactionsUpdated(event) = event.kind() else {
            panic!("{segment}: {event:?}");
        };
        assert_eq!(event.origin(), UpdateOrigin::Batch);
        assert!(event.new_transactions > 0, "{segment}: {event:?}");
        assert_eq!(platform.events.len(), before + 1, "of another command");
        sending.abort();
    }
}

#[tokio::test]
async fn the_batch_updates_notifications_become_the_same_events() {
    let mut platform = Platform::start(quick()).await;
    let listen = free_address();
    let secret = "0123456789abcdef";
    let mut worker = platform.worker(&[
        ("CALLBACKS__LISTEN", &listen),
        ("CALLBACKS__NOTIFICATION_SECRET", secret),
    ]);
    let first = platform.send(command(1)).await;
    platform.outcome(&first).await;
    assert!(platform.sandbox.batch_update(1, Duration::from_millis(100)));
    platform.until_asked(|asked| asked.open_tasks == 0).await;
    let client = client();
    let post = |path: String, body: serde_json::Value| {
        let request = client.post(format!("http://{listen}/notifications/{path}"));
        request
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
    };
    let news = serde_json::json!({
        "notificationRuleId": 1, "triggerEvent": "NEW_TRANSACTIONS", "callbackHandle": "user-1/1",
        "newTransactions": [{"accountId": 1001, "newTransactionsCount": 5, "details": null}],
    });
    assert_eq!(
        post("guessed".into(), news.clone()).await.expect("an answer").status(),
        404
    );
    assert_eq!(
        post(secret.into(), serde_json::json!({"a": 1}))
            .await
            .expect("an answer")
            .status(),
        400
    );
    worker.log.until("a notification can't be understood").await;
    assert_eq!(post(secret.into(), news).await.expect("an answer").status(), 204);
    let event = platform.next_event().await;
    let EventKind::TransactionsUpdated(event) = event.kind() else {
        panic!("not TransactionsUpdated")
    };
    assert_eq!(event.origin(), UpdateOrigin::Batch);
    let login = serde_json::json!({"triggerEvent": "BANK_LOGIN_ERROR", "callbackHandle": "user-1/1"});
    assert_eq!(post(secret.into(), login).await.expect("an answer").status(), 204);
    let event = platform.next_event().await;
    let EventKind::UserActionRequired(event) = event.kind() else {
        panic!("not UserActionRequired")
    };
    assert_eq!(event.reason(), UserActionReason::BatchUpdate);
    assert!(event.web_form_url.is_empty());
    assert_eq!(platform.updates_per_connection_max(), 1);
}
