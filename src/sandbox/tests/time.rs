//! Answers that are old, data that comes late, tokens that die.

use super::faults::one;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_stale_read_does_not_know_what_was_just_made() {
    let probe = Probe::new();
    let task = probe.start(1).await;
    let stale = |at| Fault::at(at, FaultKind::Stale { by: After::secs(2) }).first(2);
    probe.sandbox.add_fault(stale(Endpoint::Task));
    probe.sandbox.add_fault(stale(Endpoint::Tasks));
    let path = format!("/api/tasks/{}", id(&task));
    let poll = probe.get(&path).await;
    assert_eq!((poll.status.as_u16(), &poll.json()["code"]), (404, &json!("NOT_FOUND")));
    assert_eq!(probe.get("/api/tasks").await.json()["items"], json!([]));
    pass(4).await;
    assert_eq!(probe.task_status(&task).await, "IN_PROGRESS", "it is over by now");
    assert_eq!(probe.task_status(&task).await, "COMPLETED");
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_ready_as_before_the_update() {
    let probe = Probe::new();
    probe.start(1).await;
    pass(60).await;
    let before = probe.connection(1).await;
    probe.start(1).await;
    pass(3).await;
    let stale = Fault::at(Endpoint::BankConnection, FaultKind::Stale { by: After::secs(4) }).first(1);
    probe.sandbox.add_fault(stale);
    assert_eq!(probe.connection(1).await, before);
    assert_eq!(probe.connection(1).await["updateStatus"], "IN_PROGRESS", "it settles");
    pass(1).await;
    assert_eq!(probe.connection(1).await["updateStatus"], "READY");
}

#[tokio::test(start_paused = true)]
async fn a_stale_web_form_is_as_it_was() {
    let probe = Probe::new();
    let task = probe.start(9004).await;
    let form = id(&task["payload"]["webForm"]);
    pass(60).await;
    let stale = Fault::at(Endpoint::WebForm, FaultKind::Stale { by: After::secs(52) }).first(1);
    probe.sandbox.add_fault(stale);
    assert_eq!(probe.web_form(&form).await["status"], "IN_PROGRESS");
    assert_eq!(probe.web_form(&form).await["status"], "COMPLETED");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_stale() {
    let probe = Probe::new();
    let stale = Fault::new(FaultKind::Stale { by: After::secs(60) });
    probe.sandbox.add_fault(stale);
    let task = probe.update(one()).await.json();
    assert_eq!(task["createdAt"], "2021-03-08T08:36:15.000+0000");
}

#[tokio::test(start_paused = true)]
async fn some_transactions_are_stored_late_and_imported_then() {
    let probe = Probe::scripted(Script {
        late: Some(Late {
            count: 3,
            after: After::secs(120),
        }),
        transactions: Transactions {
            older: 0,
            per_update: 5,
        },
        ..Script::default()
    });
    let task = probe.start(1).await;
    pass(10).await;
    assert_eq!(probe.connection(1).await["updateStatus"], "READY");
    assert_eq!(
        probe.transactions("accountIds=1001,1002").await["paging"]["totalCount"],
        5
    );
    pass(120).await;
    let all = probe.transactions("accountIds=1001,1002&perPage=500").await;
    assert_eq!(all["paging"]["totalCount"], 8);
    assert_eq!(all["transactions"][7]["importDate"], "2021-03-08 09:38:19.000");
    let imports = &probe.sandbox.asked().connections[&1].imports;
    assert_eq!(
        imports.last().and_then(|import| import.task_id.clone()),
        Some(id(&task))
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_dies_before_or_after_a_call() {
    for (after_work, first) in [(false, 401), (true, 200)] {
        let probe = Probe::new();
        let token = probe.token("anna").await;
        let dies = Fault::at(Endpoint::Tasks, FaultKind::TokenDies { after_work }).first(1);
        probe.sandbox.add_fault(dies);
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let request = Request::get("/api/tasks").header("authorization", format!("Bearer {token}"));
            let answer = probe.send(request.body(Body::empty()).expect("a request")).await;
            statuses.push(answer.expect("an answer").status.as_u16());
        }
        assert_eq!(statuses, [first, 401]);
        assert_ne!(probe.token("anna").await, token);
    }
}
