//! What each endpoint says, as facts.

use secrecy::ExposeSecret as _;

use super::*;
use crate::refresh::model::{TaskStatus, WebFormStatus};

#[tokio::test(start_paused = true)]
async fn a_task_is_started_polled_and_found() {
    let world = World::new();
    let started = world.start(1).await;
    assert_eq!(
        (started.status.clone(), started.created_at),
        (TaskStatus::Running, start())
    );
    assert_eq!(started.bank_connection_id, Some(1.into()));
    assert!(started.web_form.is_none() && started.error.is_none());
    pass(2).await;
    assert_eq!(world.poll(1, started.id.as_str()).await.status, TaskStatus::Running);
    pass(1).await;
    assert_eq!(world.poll(1, started.id.as_str()).await.status, TaskStatus::Completed);
    world.start(2).await;
    let again = world.start(1).await;
    let found: Vec<_> = world.find(1).await.into_iter().map(|task| task.id).collect();
    assert_eq!(found, [again.id, started.id], "the connection's, newest first");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_says_why() {
    let world = World::new();
    let started = world.start(9005).await;
    pass(10).await;
    let task = world.poll(9005, started.id.as_str()).await;
    assert_eq!(task.status, TaskStatus::Failed);
    let error = task.error.expect("an error");
    assert_eq!(error.code, "BANK_SERVER_REJECTION");
    assert!(error.message.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_web_form_is_named_by_its_task_and_followed_to_its_end() {
    let world = World::new();
    let started = world.start(9004).await;
    assert_eq!(started.status, TaskStatus::WebFormRequired);
    let link = started.web_form.expect("a web form");
    assert!(link.url.expose_secret().starts_with("https://"));
    let form = world.form(9004, link.id.as_str()).await;
    assert_eq!(form.status, WebFormStatus::Open);
    assert_eq!(form.expires_at, Some(start() + secs(20 * 60)));
    pass(60).await;
    assert_eq!(
        world.form(9004, link.id.as_str()).await.status,
        WebFormStatus::Completed
    );
    for (connection, end) in [(9002, WebFormStatus::Aborted), (9003, WebFormStatus::Expired)] {
        let started = world.start(connection).await;
        pass(30).await;
        let link = world
            .poll(connection, started.id.as_str())
            .await
            .web_form
            .expect("a web form");
        pass(20 * 60).await;
        assert_eq!(world.form(connection, link.id.as_str()).await.status, end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_says_whether_it_is_ready_and_when_it_was_updated() {
    let world = World::new();
    let before = world.connection(1).await;
    assert_eq!((before.bank_name.as_str(), before.ready), ("Sandbox Bank", true));
    assert_eq!(before.account_ids, [1001, 1002].map(AccountId::from));
    assert_eq!(before.last_success_at(), None);
    world.start(1).await;
    assert!(!world.connection(1).await.ready);
    pass(10).await;
    let after = world.connection(1).await;
    assert!(after.ready && after.categorized);
    assert_eq!(
        after.last_success_at(),
        Some(start() + secs(3)),
        "German time is read as such"
    );
    let consent = after.interfaces[0].consent_expires_at.expect("a consent");
    assert_eq!(
        consent,
        start() + 90 * secs(24 * 3600),
        "also over the change to summer time"
    );
}

#[tokio::test(start_paused = true)]
async fn categorization_comes_after_the_data() {
    let world = World::new();
    world.start(9014).await;
    pass(34).await;
    let stored = world.connection(9014).await;
    assert!(stored.ready && !stored.categorized);
    pass(60).await;
    assert!(world.connection(9014).await.categorized);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_found_among_many_others() {
    let world = World::new();
    let first = world.start(1).await;
    for other in 2..60 {
        world.start(other).await;
    }
    let found = world.find(1).await;
    assert!(found.iter().any(|task| task.id == first.id), "{} tasks", found.len());
}

#[tokio::test(start_paused = true)]
async fn tasks_of_long_ago_are_not_read() {
    let world = World::new();
    for other in 2..60 {
        world.start(other).await;
    }
    pass(24 * 3600).await;
    let now = start() + secs(24 * 3600);
    let later = Refresh::new(
        Command::parse(command(1)).expect("a command"),
        now,
        Envelope::default(),
        now,
    );
    world.client.result_of(&later, &Query::FindTask).await.expect("tasks");
    assert_eq!(world.calls(Endpoint::Tasks), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_null_missing_unknown_or_new_is_normal() {
    let task_body = r#"{"id":"t-1","createdAt":"2021-03-09T08:36:15.000+0000","type":"NEW","status":"FROZEN","payload":null,"x":1}"#;
    let asked = |body| async move {
        always(200, body)
            .result_of(&refresh(command(1)), &Query::Task("t-1".into()))
            .await
    };
    let read = task(asked(task_body).await);
    assert_eq!((read.status, read.bank_connection_id), (TaskStatus::Running, None));
    let failed = r#"{"id":"t-1","createdAt":"2021-03-09T08:36:15.000+0000","status":"COMPLETED_WITH_ERROR",
        "payload":{"bankConnectionId":1,"webForm":null,"errorCode":"SOMETHING_NEW"}}"#;
    let error = task(asked(failed).await).error.expect("an error");
    assert_eq!((error.code.as_str(), error.message), ("SOMETHING_NEW", None));
    let connection = r#"{"id":1,"updateStatus":"NEW","bank":{"id":null},"accountIds":null,"interfaces":[
        {"interface":"NEW","aisConsent":null,"lastManualUpdate":{"result":"NEW","timestamp":null},"lastAutoUpdate":null}]}"#;
    let result = always(200, connection)
        .result_of(&refresh(command(1)), &Query::Connection)
        .await;
    let Ok(Response::Connection(read)) = result else {
        panic!("no connection: {result:?}")
    };
    assert!(!read.ready && read.account_ids.is_empty());
    assert_eq!(
        (read.interfaces[0].name.as_str(), read.last_success_at()),
        ("NEW", None)
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_success_counts_as_an_update_by_whomever() {
    let connection = r#"{"id":1,"updateStatus":"READY","interfaces":[{"interface":"XS2A",
        "lastManualUpdate":{"result":"INTERNAL_SERVER_ERROR","timestamp":"2021-03-09 12:00:00.000"},
        "lastAutoUpdate":{"result":"OK","timestamp":"2021-03-09 04:00:00.000"}}]}"#;
    let result = always(200, connection)
        .result_of(&refresh(command(1)), &Query::Connection)
        .await;
    let Ok(Response::Connection(read)) = result else {
        panic!("no connection: {result:?}")
    };
    let expected: Timestamp = "2021-03-09T03:00:00Z".parse().expect("a timestamp");
    assert_eq!(read.last_success_at(), Some(expected));
}

#[tokio::test(start_paused = true)]
async fn every_call_has_a_request_id() {
    let world = World::with_fault(Endpoint::Tasks, None, status(404));
    let one = world.failure(&Query::FindTask).await.request_id.expect("an id");
    let other = world.failure(&Query::FindTask).await.request_id.expect("an id");
    assert!(uuid::Uuid::parse_str(&one).is_ok(), "{one}");
    assert_ne!(one, other);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_thousands_of_tasks_is_read_in_large_pages_and_no_further_back_than_needed() {
    let mut world = World::new();
    world.client = world.client.by_clock(crate::clock::Clock::starting_at(start()));
    let first = world.start(1).await;
    for connection in 2..=1200 {
        world.start(connection).await;
    }
    let before = world.calls(Endpoint::Tasks);
    let found: Vec<_> = world.find(1).await.into_iter().map(|task| task.id).collect();
    assert_eq!((found, world.calls(Endpoint::Tasks) - before), (vec![first.id], 3));
    // None of them can run any more when this command is sent.
    pass(2 * 3600).await;
    let mut later = refresh(command(1));
    later.requested_at = start() + secs(2 * 3600);
    let before = world.calls(Endpoint::Tasks);
    world.client.result_of(&later, &Query::FindTask).await.expect("a list");
    assert_eq!(world.calls(Endpoint::Tasks) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn finapis_clocks_are_measured_by_what_it_answers() {
    for off in [-30_i64, 0, 45] {
        let mut world = World::new();
        let ours = start() - jiff::SignedDuration::from_secs(off);
        world.client = world.client.by_clock(crate::clock::Clock::starting_at(ours));
        assert_eq!(world.client.clocks(), crate::refresh::Clocks::default());
        for _ in 0..4 {
            world.find(1).await;
            world.connection(1).await;
            tokio::time::sleep(std::time::Duration::from_millis(320)).await;
        }
        let clocks = world.client.clocks();
        for clock in [clocks.access, clocks.web_form] {
            let clock = clock.expect("an estimate");
            let off = jiff::SignedDuration::from_secs(off);
            assert!(clock.least <= off && off <= clock.most, "{clock:?} of {off:?}");
            assert!(
                clock.most - clock.least <= jiff::SignedDuration::from_secs(1),
                "{clock:?}"
            );
        }
    }
}
