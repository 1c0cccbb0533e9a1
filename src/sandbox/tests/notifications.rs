//! The client's URL for notifications, users' rules, and what the batch update sends.

use axum::http::Method;

use super::*;

impl Probe {
    async fn change(&self, method: Method, endpoint: Endpoint, token: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(endpoint.path(self.version))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).expect("a request");
        self.send(request).await.expect("an answer")
    }

    async fn rule(&self, user: &str, body: Value) -> Answer {
        let token = self.token(user).await;
        self.change(Method::POST, Endpoint::NotificationRules, &token, body)
            .await
    }

    async fn url(&self, url: &str) -> Answer {
        let client = "client_id=sandbox-client&client_secret=sandbox-secret";
        let token = self.form(&format!("grant_type=client_credentials&{client}")).await;
        let token = token.json()["access_token"].as_str().expect("a token").to_owned();
        let body = json!({ "userNotificationCallbackUrl": url });
        self.change(Method::PATCH, Endpoint::ChangeClient, &token, body).await
    }

    /// What was sent by now.
    async fn sent(&self) -> Vec<Value> {
        let mut sent = Vec::new();
        while let Ok(callback) = tokio::time::timeout(Duration::ZERO, self.sandbox.next_callback()).await {
            assert_eq!(callback.url, "https://bank.example.org/notifications/x");
            sent.push(serde_json::from_str(&callback.body).expect("JSON"));
        }
        sent
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_is_sent_what_the_batch_update_imported_for_its_accounts() {
    for version in ApiVersion::ALL {
        let probe = Probe::speaking(version, SandboxConfig::default());
        for connection in [1, 2] {
            probe.connection(connection).await;
        }
        let url = probe.url("https://bank.example.org/notifications/x").await;
        assert_eq!(url.status, 200, "{}", url.text);
        let own =
            json!({"triggerEvent": "NEW_TRANSACTIONS", "params": {"accountIds": "1001"}, "callbackHandle": "anna/1"});
        let all = json!({"triggerEvent": "NEW_TRANSACTIONS", "callbackHandle": "anna/all"});
        for (rule, status) in [(&own, 201), (&all, 201), (&own, 422)] {
            assert_eq!(probe.rule("anna", rule.clone()).await.status, status, "{rule}");
        }
        // Another user's rule without parameters is not about anna's accounts.
        assert_eq!(probe.rule("berta", all).await.status, 201);

        for (connection, handles) in [(1, vec!["anna/1", "anna/all"]), (2, vec!["anna/all"])] {
            assert!(probe.sandbox.batch_update(connection, Duration::from_secs(2)));
            assert_eq!(probe.sent().await, Vec::<Value>::new(), "it is not over");
            pass(2).await;
            let sent = probe.sent().await;
            let sent_to: Vec<String> = sent.iter().map(|sent| text(&sent["callbackHandle"])).collect();
            assert_eq!(sent_to, handles);
            let account = &sent[0]["newTransactions"][0];
            assert_eq!(account["accountId"], connection * 1000 + 1, "{sent:?}");
            assert_eq!(account["newTransactionsCount"], 3, "of five, every other one: {sent:?}");
        }
        assert_eq!(probe.sent().await, Vec::<Value>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_rule_or_url_is_refused() {
    let probe = Probe::new();
    let long = format!("https://{}", "x".repeat(505));
    for url in ["bank.example.org", &long] {
        assert_eq!(probe.url(url).await.status, 400, "{url}");
    }
    for rule in [
        json!({"triggerEvent": "OLD_TRANSACTIONS"}),
        json!({"triggerEvent": "NEW_TRANSACTIONS", "params": {"accountIds": [1001]}}),
        json!({"triggerEvent": "NEW_TRANSACTIONS", "params": {"accountIds": "1001,x"}}),
        json!({"triggerEvent": "NEW_TRANSACTIONS", "params": {"bankConnectionIds": "1"}}),
        json!({"triggerEvent": "NEW_TRANSACTIONS", "callbackHandle": "x".repeat(513)}),
        json!({"triggerEvent": "NEW_TRANSACTIONS", "handle": "anna/1"}),
    ] {
        assert_eq!(probe.rule("anna", rule.clone()).await.status, 400, "{rule}");
    }
    // Each call has its own kind of token.
    let token = probe.token("anna").await;
    let body = json!({"userNotificationCallbackUrl": ""});
    let with_a_users = probe.change(Method::PATCH, Endpoint::ChangeClient, &token, body).await;
    assert_eq!(with_a_users.status, 403);
    // Without a URL nothing is sent.
    probe.connection(1).await;
    let all = json!({"triggerEvent": "NEW_TRANSACTIONS"});
    assert_eq!(probe.rule("anna", all).await.status, 201);
    assert!(probe.sandbox.batch_update(1, Duration::ZERO));
    assert_eq!(probe.sent().await, Vec::<Value>::new());
}
