//! `GET /api/v1/bankConnections/{id}`, `/accounts` and `/transactions`.

use std::collections::BTreeSet;

use super::*;

fn settling() -> Script {
    Script {
        updates: vec![Behaviour::Silent { after: After::secs(4) }],
        settles: After::secs(6),
        categorizes: After::secs(10),
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_settles_and_is_categorized_later() {
    let probe = Probe::scripted(settling());
    let status = || async {
        let connection = probe.connection(1).await;
        (
            text(&connection["updateStatus"]),
            text(&connection["categorizationStatus"]),
        )
    };
    let is = |update: &str, categorization: &str| (update.to_owned(), categorization.to_owned());
    assert_eq!(status().await, is("READY", "READY"));
    let task = probe.start(1).await;
    assert_eq!(status().await, is("IN_PROGRESS", "READY"));
    pass(4).await;
    assert_eq!(probe.task_status(&task).await, "COMPLETED");
    assert_eq!(status().await, is("IN_PROGRESS", "PENDING"));
    assert_eq!(
        probe.transactions("").await["paging"]["totalCount"],
        6 + 2,
        "half of them show"
    );
    pass(6).await;
    assert_eq!(status().await, is("READY", "IN_PROGRESS"));
    assert_eq!(probe.transactions("").await["paging"]["totalCount"], 6 + 5);
    pass(10).await;
    assert_eq!(status().await, is("READY", "READY"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_as_in_the_contract() {
    let probe = Probe::scripted(Script {
        interfaces: vec![Interface {
            user_action_required: true,
            ..Interface::default()
        }],
        ..settling()
    });
    probe.start(1).await;
    pass(10).await;
    let last_manual_update = json!({
        "result": "OK", "errorMessage": null, "errorType": null, "timestamp": "2021-03-08 09:36:19.000",
    });
    assert_eq!(
        probe.connection(1).await,
        json!({
            "id": 1,
            "bank": {
                "id": 641_782, "name": "Sandbox Bank", "bic": null, "blz": "50010517", "location": null, "city": null,
                "isTestBank": true, "popularity": 95,
            },
            "name": null,
            "updateStatus": "READY",
            "categorizationStatus": "IN_PROGRESS",
            "accountIds": [1001, 1002],
            "owners": null,
            "bankId": 641_782,
            "bankingUserId": null,
            "bankingCustomerId": null,
            "bankingPin": null,
            "type": "ONLINE",
            "lastManualUpdate": last_manual_update,
            "lastAutoUpdate": null,
            "defaultTwoStepProcedureId": null,
            "twoStepProcedures": [],
            "interfaces": [{
                "interface": "XS2A",
                "loginCredentials": [],
                "defaultTwoStepProcedureId": null,
                "twoStepProcedures": [],
                "maxDaysForDownload": 0,
                "userActionRequired": true,
                // In summer time by then.
                "aisConsent": { "status": "PRESENT", "expiresAt": "2021-06-06 10:36:15.000" },
                "lastManualUpdate": last_manual_update,
                "lastAutoUpdate": null,
            }],
        })
    );
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_access() {
    let probe = Probe::new();
    let token = probe.token("anna").await;
    let request = Request::get("/api/v1/bankConnections/9404")
        .header("authorization", format!("Bearer {token}"))
        .header("x-request-id", "r-1");
    let answer = probe
        .send(request.body(Body::empty()).expect("a request"))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json(),
        json!({
            "errors": [{
                "message": "The bank connection does not exist.",
                "code": "UNKNOWN_ENTITY",
                "type": "BUSINESS",
                "multiStepAuthentication": null,
            }],
            "date": "2021-03-08 09:36:15.000",
            "requestId": "r-1",
            "endpoint": "GET /api/v1/bankConnections/9404",
            "authContext": "1/1",
            "bank": null,
        })
    );
    assert_eq!(probe.get("/api/v1/bankConnections/abc").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn accounts_are_as_in_the_contract() {
    let probe = Probe::scripted(settling());
    probe.start(1).await;
    pass(10).await;
    let answer = probe.get("/api/v1/accounts?bankConnectionIds=1").await;
    let mut body = answer.json();
    let first = body["accounts"][0].take();
    let written = answer
        .text
        .split("\"balance\":")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let decimals = written
        .and_then(|number| number.split_once('.'))
        .map(|(_, decimals)| decimals.len());
    assert_eq!(decimals, Some(2), "{written:?}");
    assert_eq!(
        first,
        json!({
            "id": 1001,
            "bankConnectionId": 1,
            "accountName": "Girokonto",
            "iban": "DE63500105170000001001",
            "accountNumber": "0000001001",
            "subAccountNumber": null,
            "accountHolderName": "Žofie Nováková",
            "accountHolderId": null,
            "accountType": "Checking",
            "accountCurrency": "EUR",
            "balance": first["balance"],
            "overdraft": 0.0,
            "overdraftLimit": 500.0,
            "availableFunds": first["availableFunds"],
            "isNew": false,
            "isSeized": false,
            "accountTypeId": 1,
            "accountTypeName": "Checking",
            "status": "UPDATED",
            "lastSuccessfulUpdate": "2021-03-08 09:36:25.000",
            "lastUpdateAttempt": "2021-03-08 09:36:19.000",
            "supportedOrders": [],
            "clearingAccounts": [],
            "interfaces": [{
                "interface": "XS2A",
                "status": "UPDATED",
                "capabilities": ["DATA_DOWNLOAD"],
                "paymentCapabilities": {},
                "lastSuccessfulUpdate": "2021-03-08 09:36:25.000",
                "lastUpdateAttempt": "2021-03-08 09:36:19.000",
            }],
        })
    );
    assert_eq!(body["accounts"][1]["accountName"], Value::Null);
    assert_eq!(
        probe.get("/api/v1/accounts").await.json()["accounts"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    for wrong in ["bankConnectionIds=x", "ids=1"] {
        assert_eq!(
            probe.get(&format!("/api/v1/accounts?{wrong}")).await.status,
            400,
            "{wrong}"
        );
    }
    let other = probe
        .try_get("bob", "/api/v1/accounts?bankConnectionIds=1")
        .await
        .expect("an answer");
    assert_eq!(other.json(), json!({ "accounts": [] }));
}

#[tokio::test(start_paused = true)]
async fn new_accounts_come_only_when_asked_for_and_of_the_types_asked_for() {
    let kinds = |answer: Answer| {
        let accounts = answer.json()["accounts"].as_array().expect("accounts").clone();
        accounts
            .iter()
            .map(|a| (text(&a["accountType"]), a["isNew"] == true))
            .collect::<Vec<_>>()
    };
    let is = |kinds: &[(&str, bool)]| {
        kinds
            .iter()
            .map(|(kind, new)| ((*kind).to_owned(), *new))
            .collect::<Vec<_>>()
    };
    let old = [("Checking", false), ("Savings", false)];
    let probe = Probe::new();
    let update = |more: Value| {
        let mut body = json!({ "bankConnectionIds": [9007] });
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let probe = &probe;
        async move {
            assert_eq!(probe.update(body).await.status, 201);
            pass(5).await;
            kinds(probe.get("/api/v1/accounts?bankConnectionIds=9007").await)
        }
    };
    assert_eq!(update(json!({})).await, is(&old));
    assert_eq!(update(json!({ "importNewAccounts": false })).await, is(&old));
    let import = json!({ "importNewAccounts": true, "accountTypes": ["SECURITY", "LOAN"] });
    assert_eq!(update(import).await, is(&[old[0], old[1], ("Security", true)]));
    let import = json!({ "importNewAccountsMode": "CONDITIONAL" });
    assert_eq!(
        update(import).await,
        is(&[old[0], old[1], ("Security", false), ("CreditCard", true)])
    );
}

#[tokio::test(start_paused = true)]
async fn a_transaction_has_every_field() {
    let probe = Probe::scripted(settling());
    let body = probe.transactions("").await;
    let first = body["transactions"][0].as_object().expect("an object");
    let mut names: Vec<_> = first.keys().map(String::as_str).collect();
    let mut wanted = vec![
        "bankTransactionCode",
        "children",
        "compensationAmount",
        "counterpartAccountNumber",
        "counterpartBankName",
        "counterpartBlz",
        "counterpartCreditorId",
        "counterpartCustomerReference",
        "counterpartDebitorId",
        "differentCreditor",
        "differentDebitor",
        "labels",
        "originalAmount",
        "originalCurrency",
        "paypalData",
        "primanota",
        "sepaPurposeCode",
        "typeCodeSwift",
        "typeCodeZka",
        "id",
        "parentId",
        "accountId",
        "valueDate",
        "bankBookingDate",
        "finapiBookingDate",
        "amount",
        "currency",
        "purpose",
        "counterpartName",
        "counterpartIban",
        "counterpartBic",
        "counterpartMandateReference",
        "endToEndReference",
        "type",
        "category",
        "isPotentialDuplicate",
        "isAdjustingEntry",
        "isNew",
        "importDate",
    ];
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for name in ["income", "spending", "balance"] {
        assert!(body[name].is_number(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_imported_before_the_update_are_on_the_same_day_too() {
    let probe = Probe::scripted(settling());
    probe.start(1).await;
    pass(10).await;
    let all = probe.transactions("perPage=500").await;
    let dates = |body: &Value| {
        let all = body["transactions"].as_array().expect("transactions").clone();
        all.iter().map(|t| text(&t["importDate"])).collect::<Vec<_>>()
    };
    let mut wanted = vec!["2021-02-06 09:36:15.000"; 2];
    wanted.extend(["2021-03-08 00:00:00.000"; 2]);
    wanted.extend(["2021-03-08 09:36:14.000"; 2]);
    wanted.extend(["2021-03-08 09:36:19.000"; 5]);
    assert_eq!(dates(&all), wanted);
    assert_eq!(
        dates(&probe.transactions("minImportDate=2021-03-08").await),
        wanted[2..]
    );
    assert_eq!(
        dates(&probe.transactions("minImportDate=2021-03-09").await),
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn transactions_are_paged_ordered_and_filtered() {
    let probe = Probe::new();
    probe.start(9008).await;
    pass(5).await;
    let mut seen = Vec::new();
    for page in 1..=5 {
        let query = format!("accountIds=9008001,9008002&order=id,ASC&perPage=500&page={page}");
        let body = probe.transactions(&query).await;
        assert_eq!(
            body["paging"],
            json!({"page": page, "perPage": 500, "pageCount": 4, "totalCount": 2000})
        );
        let transactions = body["transactions"].as_array().expect("transactions").clone();
        seen.extend(transactions.iter().map(|t| (t["id"].as_i64(), t["accountId"].as_i64())));
    }
    assert_eq!(seen.len(), 2000);
    assert!(seen.is_sorted());
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 2000);
    let accounts: BTreeSet<_> = seen.iter().map(|(_, account)| *account).collect();
    assert_eq!(accounts, BTreeSet::from([Some(9_008_001), Some(9_008_002)]));
    let one = probe.transactions("accountIds=9008001&order=id,DESC&perPage=1").await;
    assert_eq!(one["paging"]["totalCount"], 1000);
    let last = seen.iter().rev().find(|(_, account)| *account == Some(9_008_001));
    assert_eq!(one["transactions"][0]["id"].as_i64(), last.and_then(|(id, _)| *id));
}

#[tokio::test(start_paused = true)]
async fn parameters_of_transactions_are_checked() {
    let probe = Probe::new();
    let bank = "/api/v1/transactions?view=bankView";
    for wrong in [
        "/api/v1/transactions".to_owned(),
        "/api/v1/transactions?view=theirView".to_owned(),
        format!("{bank}&perPage=501"),
        format!("{bank}&perPage=0"),
        format!("{bank}&page=0"),
        format!("{bank}&order=amount,ASC"),
        format!("{bank}&minImportDate=2021-3-8"),
        format!("{bank}&minImportDate=2021-03-08T00:00:00"),
        format!("{bank}&accountIds=a"),
        format!("{bank}&bankConnectionIds=1"),
    ] {
        let answer = probe.get(&wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert_eq!(answer.json()["errors"][0]["code"], "ILLEGAL_FIELD_VALUE");
    }
    assert_eq!(probe.get("/api/v1/transactions?view=userView").await.status, 200);
}
