//! The two versions of Access: who may speak which, and how each writes what there is.

use super::*;

const CLIENT: &str = "client_id=sandbox-client&client_secret=sandbox-secret";

async fn client_token(probe: &Probe) -> Answer {
    probe.form(&format!("grant_type=client_credentials&{CLIENT}")).await
}

async fn with_bearer(probe: &Probe, path: &str, token: &str) -> Answer {
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::empty()).expect("a request");
    probe.send(request).await.expect("an answer")
}

/// The names of all members, of lists those of the first element.
fn names(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                found.push(format!("{at}/{name}"));
                names(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(elements) => elements.iter().take(1).for_each(|first| names(first, at, found)),
        _ => {}
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().any(has_null),
        Value::Array(elements) => elements.iter().any(has_null),
        _ => false,
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_versions_services_answer_403_before_anything_else() {
    for (bound, other) in [(ApiVersion::V1, ApiVersion::V2), (ApiVersion::V2, ApiVersion::V1)] {
        let mut probe = Probe::speaking(bound, SandboxConfig::default());
        let token = probe.token("anna").await;
        probe.version = other;
        let refused = [
            probe.form("grant_type=password&client_secret=wrong").await,
            with_bearer(&probe, Endpoint::ClientConfiguration.path(other), "none").await,
            with_bearer(&probe, Endpoint::Accounts.path(other), &token).await,
            with_bearer(&probe, Endpoint::Transactions.path(other), &token).await,
            with_bearer(
                &probe,
                &Endpoint::BankConnection.path(other).replace("{id}", "9404"),
                "none",
            )
            .await,
        ];
        for answer in refused {
            assert_eq!(answer.status, 403, "{}", answer.text);
            assert_eq!(answer.json()["errors"][0]["code"], "FORBIDDEN");
            assert_eq!(answer.json()["errors"][0]["message"], "API Version mismatch");
        }
        assert_eq!(
            with_bearer(&probe, "/api/tasks", &token).await.status,
            200,
            "it has no versions"
        );
        let wrong = probe.sandbox.asked().users.get("anna").map(|user| user.wrong_passwords);
        assert_eq!(wrong, Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_switched_at_once() {
    let mut probe = Probe::speaking(ApiVersion::V1, SandboxConfig::default());
    assert_eq!(client_token(&probe).await.status, 200);
    let switch = Request::post("/sandbox/apiVersion").body(Body::from(r#"{"apiVersion":"V2"}"#));
    let switched = probe.send(switch.expect("a request")).await.expect("an answer");
    assert_eq!(switched.status, 204);
    assert_eq!(client_token(&probe).await.status, 403);
    probe.version = ApiVersion::V2;
    assert_eq!(client_token(&probe).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_clients_configuration_is_for_the_client() {
    for version in ApiVersion::ALL {
        let probe = Probe::speaking(version, SandboxConfig::default());
        let token = text(&client_token(&probe).await.json()["access_token"]);
        let path = Endpoint::ClientConfiguration.path(version);
        let answer = with_bearer(&probe, path, &token).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["mandatorLicense"], "UNLICENSED");
        let of_user = probe.token("anna").await;
        assert_eq!(with_bearer(&probe, path, &of_user).await.status, 403);
        assert_eq!(with_bearer(&probe, path, "none").await.status, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn v1_has_each_field_as_null_and_v2_leaves_those_without_a_value_out() {
    for version in ApiVersion::ALL {
        let probe = Probe::speaking(version, SandboxConfig::default());
        probe.start(1).await;
        pass(10).await;
        let bodies = [
            probe.connection(1).await,
            probe.get(Endpoint::Accounts.path(version)).await.json(),
            probe.transactions("accountIds=1001").await,
            probe
                .get(&Endpoint::BankConnection.path(version).replace("{id}", "9404"))
                .await
                .json(),
        ];
        for body in bodies {
            assert_eq!(has_null(&body), version == ApiVersion::V1, "{version:?} {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_version_has_fields_and_forms_of_its_own() {
    let mut written = Vec::new();
    for version in ApiVersion::ALL {
        let probe = Probe::speaking(version, SandboxConfig::default());
        probe.start(1).await;
        pass(10).await;
        let connection = probe.connection(1).await;
        let accounts = probe.get(Endpoint::Accounts.path(version)).await.json();
        let all = probe.transactions("accountIds=1001,1002&order=id,desc").await;
        let mut found = Vec::new();
        names(&connection, "", &mut found);
        names(&accounts, "", &mut found);
        for transaction in all["transactions"].as_array().expect("transactions") {
            names(transaction, "/transactions", &mut found);
        }
        let newest = &all["transactions"][0];
        let times = [
            &connection["interfaces"][0]["lastManualUpdate"]["timestamp"],
            &accounts["accounts"][0]["interfaces"][0]["lastSuccessfulUpdate"],
            &newest["importDate"],
            &newest["valueDate"],
        ];
        written.push((found, times.map(text)));
    }
    let [(v1, times_of_v1), (v2, times_of_v2)] = written.try_into().expect("two versions");
    assert_eq!(times_of_v1[0], "2021-03-08 09:36:18.000");
    assert_eq!(times_of_v2[0], "2021-03-08T09:36:18.000+01:00");
    assert_eq!(times_of_v1[3], "2021-03-08 00:00:00.000");
    assert_eq!(times_of_v2[3], "2021-03-08");
    for (of_v1, of_v2) in times_of_v1.iter().zip(&times_of_v2).take(3) {
        assert_eq!(of_v1.replace(' ', "T") + "+01:00", *of_v2);
    }
    let only = |own: &[String], other: &[String]| -> Vec<String> {
        own.iter().filter(|name| !other.contains(name)).cloned().collect()
    };
    let (only_v1, only_v2) = (only(&v1, &v2), only(&v2, &v1));
    for name in [
        "/interfaces/interface",
        "/bankId",
        "/bankingPin",
        "/accounts/accountTypeId",
        "/accounts/interfaces/interface",
    ] {
        assert!(only_v1.contains(&name.to_owned()), "{name}: {only_v1:?}");
    }
    let of_v2 = [
        "/interfaces/bankingInterface",
        "/interfaces/aisConsent/supportsImportNewAccounts",
        "/accounts/interfaces/bankingInterface",
    ];
    for name in of_v2 {
        assert!(only_v2.contains(&name.to_owned()), "{name}: {only_v2:?}");
    }
}
