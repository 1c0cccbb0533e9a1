//! The accounts and the transactions of a span, exactly.

use super::*;
use crate::sandbox::Transactions;

async fn updated(world: &World, connection: i64) -> Span {
    let task = world.start(connection).await;
    pass(10).await;
    Span {
        since: task.created_at,
        until: start() + secs(3600),
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_imported_in_the_span_is_published() {
    let world = World::scripted(Script {
        transactions: Transactions {
            older: 30,
            per_update: 7,
        },
        ..Script::default()
    });
    // Of the older ones, some were imported as this day began and some a second ago: the day alone does not decide.
    let span = updated(&world, 1).await;
    let collected = world.collect(1, Some(span)).await;
    assert_eq!(collected.transactions.len(), 7);
    assert!(collected.transactions.is_sorted_by_key(|transaction| transaction.id));
    assert!(
        collected
            .transactions
            .iter()
            .all(|t| [1001, 1002].contains(&t.account_id.get()))
    );
    let imported: Vec<_> = collected.transactions.iter().map(|t| t.imported_at).collect();
    assert_eq!(imported, [Some(start() + secs(3)); 7]);
    let nothing = Span {
        since: start() + secs(4),
        ..span
    };
    assert_eq!(world.collect(1, Some(nothing)).await.transactions.len(), 0);
    let before_any = Span {
        until: start() + secs(2),
        ..span
    };
    assert_eq!(world.collect(1, Some(before_any)).await.transactions.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_span_only_the_accounts_are_asked_for() {
    let world = World::new();
    let collected = world.collect(1, None).await;
    assert_eq!((collected.accounts.len(), collected.transactions.len()), (2, 0));
    let account = &collected.accounts[0];
    assert_eq!(
        (account.id.get(), account.name.as_str(), account.kind.as_str()),
        (1001, "Girokonto", "Checking")
    );
    assert_eq!(account.currency, "EUR");
    assert!(account.iban.starts_with("DE") && account.balance.is_some());
    assert_eq!(world.calls(Endpoint::Transactions), 0);
}

#[tokio::test(start_paused = true)]
async fn many_come_in_pages_of_500_and_every_digit_of_them() {
    let world = World::new();
    let span = updated(&world, 9008).await;
    let transactions = world.collect(9008, Some(span)).await.transactions;
    assert_eq!((transactions.len(), world.calls(Endpoint::Transactions)), (1700, 4));
    let amounts: Vec<_> = transactions
        .iter()
        .filter_map(|t| t.amount)
        .map(|amount| amount.to_string())
        .collect();
    for exact in ["0.10", "-0.30", "1234567.89", "-90071992547409.93"] {
        assert!(amounts.iter().any(|amount| amount == exact), "{exact}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_pages_are_an_error_and_not_a_part_of_the_truth() {
    let settings = Settings {
        pages_max: 3,
        ..settings()
    };
    let world = World::of(SandboxConfig::default(), settings);
    let span = updated(&world, 9008).await;
    let failure = world
        .query(
            9008,
            &Query::Collect(vec![9_008_001.into(), 9_008_002.into()], Some(span)),
        )
        .await
        .expect_err("too many");
    assert_eq!(failure.class, FailureClass::Unexpected);
    assert!(failure.message.contains("pages_max"), "{}", failure.message);
    assert_eq!(world.calls(Endpoint::Transactions), 3);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_fails_the_whole() {
    let world = World::with_fault(Endpoint::Transactions, None, status(500));
    let span = updated(&world, 1).await;
    let failure = world.failure(&Query::Collect(vec![1001.into()], Some(span))).await;
    assert_eq!(failure.class, FailureClass::MaybeDown);
}
