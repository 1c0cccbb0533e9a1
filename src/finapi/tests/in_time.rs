//! What the client makes of answers that are strange in time: old ones, data that is stored late, tokens that die between two calls, and
//! refusals for load between two pages.

use super::*;
use crate::broken::Broken;
use crate::sandbox::{Late, RetryAfter, Transactions};

/// With a fault that may begin and end.
fn meets(world: &World, at: Endpoint, kind: FaultKind) -> Fault {
    let fault = Fault::at(at, kind);
    world.sandbox.add_fault(fault.clone());
    fault
}

fn old(seconds: u64) -> FaultKind {
    FaultKind::Stale {
        by: After::secs(seconds),
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_list_of_tasks_lacks_the_newest_and_a_newer_one_has_it() {
    let world = World::new();
    let old = meets(&world, Endpoint::Tasks, old(5));
    let started = world.start(1).await;
    assert_eq!(world.find(1).await.len(), 0);
    pass(6).await;
    let found = world.find(1).await;
    assert_eq!(found.len(), 1);
    world.sandbox.remove_fault(&old);
    assert_eq!(world.find(1).await[0].id, started.id);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_an_old_answer_does_not_know_is_there_a_moment_later() {
    let world = World::new();
    let started = world.start(1).await;
    meets(&world, Endpoint::Task, old(2));
    let failure = world.failure(&Query::Task(started.id.clone())).await;
    assert_eq!(failure.code.as_deref(), Some("NOT_FOUND"));
    pass(3).await;
    assert_eq!(world.poll(1, started.id.as_str()).await.id, started.id);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_as_it_was_before_the_update() {
    let world = World::new();
    let task = world.start(1).await;
    pass(5).await;
    let old = meets(&world, Endpoint::BankConnection, old(60));
    let before = world.connection(1).await;
    assert!(before.ready && before.last_success_at().is_none(), "{before:?}");
    world.sandbox.remove_fault(&old);
    let after = world.connection(1).await.last_success_at();
    assert!(after.is_some_and(|at| at >= task.created_at), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_late_is_read_once_it_is_there() {
    let world = World::scripted(Script {
        transactions: Transactions {
            older: 0,
            per_update: 4,
        },
        late: Some(Late {
            count: 3,
            after: After::secs(180),
        }),
        ..Script::default()
    });
    world.start(1).await;
    pass(10).await;
    assert!(world.connection(1).await.ready);
    assert_eq!(world.transactions(1, Timestamp::UNIX_EPOCH).await.len(), 4);
    pass(180).await;
    let all = world.transactions(1, Timestamp::UNIX_EPOCH).await;
    let latest = all.iter().filter_map(|transaction| transaction.imported_at).max();
    assert_eq!(all.len(), 7);
    assert_eq!(latest, Some(start() + secs(184)), "three minutes after it was READY");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_dies_at_any_moment_costs_another_one_and_no_answer() {
    for after_work in [false, true] {
        for at in Endpoint::ALL {
            for skip in 0..4 {
                let world = World::of(
                    SandboxConfig {
                        faults: vec![Fault {
                            skip,
                            first: Some(1),
                            ..Fault::at(at, FaultKind::TokenDies { after_work })
                        }],
                        ..SandboxConfig::default()
                    },
                    Settings {
                        page_size: 2,
                        ..settings()
                    },
                );
                let task = world.start(1).await;
                world.poll(1, task.id.as_str()).await;
                pass(10).await;
                world.find(1).await;
                assert_eq!(world.accounts(1).await.len(), 2);
                let read = world.transactions(1, Timestamp::UNIX_EPOCH).await;
                let moment = format!("{at:?}, after its work: {after_work}, after {skip} calls");
                assert_eq!(read.len(), 11, "{moment}");
                assert_eq!(world.sandbox.asked().tasks, 1, "{moment}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_between_two_pages_says_how_long_and_loses_nothing() {
    const UNDERSTOOD: &str = "a wait that is asked for between two pages is understood";
    let mut broken = Broken::default();
    for retry_after in [RetryAfter::Seconds(7), RetryAfter::Date { date_in: 7 }] {
        let world = World::of(
            SandboxConfig {
                faults: vec![Fault {
                    skip: 3,
                    first: Some(1),
                    ..Fault::at(
                        Endpoint::Transactions,
                        FaultKind::Status {
                            status: 429,
                            code: None,
                            retry_after: Some(retry_after.clone()),
                        },
                    )
                }],
                ..SandboxConfig::default()
            },
            Settings {
                page_size: 2,
                ..settings()
            },
        );
        world.start(1).await;
        pass(10).await;
        let accounts = world.connection(1).await.account_ids;
        let page = |number| page_of(accounts.clone(), Timestamp::UNIX_EPOCH, number);
        for number in 1..=3 {
            world.collected(1, &page(number)).await;
        }
        let refused = world.failure(&page(4)).await;
        let FailureClass::RateLimited(wait) = refused.class else {
            panic!("{retry_after:?}: {refused:?}")
        };
        broken.unless(wait == Some(secs(7)), UNDERSTOOD, || {
            format!("{retry_after:?}: {wait:?}")
        });
        pass(7).await;
        let read = world.transactions(1, Timestamp::UNIX_EPOCH).await;
        let ids: std::collections::BTreeSet<_> = read.iter().map(|transaction| transaction.id).collect();
        assert_eq!((read.len(), ids.len()), (11, 11), "{retry_after:?}");
    }
    broken.judge("finapi/between pages");
}
