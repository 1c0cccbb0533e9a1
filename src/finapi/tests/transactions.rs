//! The accounts and the transactions of a span, exactly.

use super::*;
use crate::sandbox::Transactions;

async fn updated(world: &World, connection: i64) -> Timestamp {
    let task = world.start(connection).await;
    pass(10).await;
    task.created_at
}

#[tokio::test(start_paused = true)]
async fn only_what_was_imported_since_then_is_published() {
    let world = World::scripted(Script {
        transactions: Transactions {
            older: 30,
            per_update: 7,
        },
        ..Script::default()
    });
    // Of the older ones, some were imported as this day began and some a second ago: the day alone does not decide.
    let since = updated(&world, 1).await;
    let transactions = world.transactions(1, since).await;
    assert_eq!(transactions.len(), 7);
    assert!(transactions.is_sorted_by_key(|transaction| transaction.id));
    assert!(transactions.iter().all(|t| [1001, 1002].contains(&t.account_id.get())));
    let imported: Vec<_> = transactions.iter().map(|t| t.imported_at).collect();
    assert_eq!(imported, [Some(start() + secs(3)); 7]);
    assert_eq!(world.transactions(1, start() + secs(4)).await.len(), 0);
    let long_ago = world.transactions(1, Timestamp::MIN).await;
    assert_eq!(long_ago.len(), 37, "since the beginning of time");
}

#[tokio::test(start_paused = true)]
async fn accounts_alone_take_one_call() {
    let world = World::new();
    let accounts = world.accounts(1).await;
    assert_eq!(accounts.len(), 2);
    let account = &accounts[0];
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
    let since = updated(&world, 9008).await;
    let transactions = world.transactions(9008, since).await;
    assert_eq!((transactions.len(), world.calls(Endpoint::Transactions)), (1700, 4));
    let amounts: Vec<_> = transactions.iter().map(|t| t.amount.to_string()).collect();
    for exact in ["0.10", "-0.30", "1234567.89", "-90071992547409.93"] {
        assert!(amounts.iter().any(|amount| amount == exact), "{exact}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_page_says_what_all_pages_have_and_which_ids_are_on_it() {
    let world = World::new();
    let since = updated(&world, 9008).await;
    let (first, second) = (world.page(9008, since, 1).await, world.page(9008, since, 2).await);
    assert!(first.totals.count.is_some() && first.totals.income.is_some() && first.totals.spending.is_some());
    assert_eq!(first.totals, second.totals);
    let (first, second) = (first.ids.expect("ids"), second.ids.expect("ids"));
    assert!(first.first < first.last && first.last < second.first && first.last_accounts.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn too_many_pages_are_an_error_and_not_a_part_of_the_truth() {
    let settings = Settings {
        pages_max: 3,
        ..settings()
    };
    let world = World::of(SandboxConfig::default(), settings);
    let since = updated(&world, 9008).await;
    let accounts = vec![9_008_001.into(), 9_008_002.into()];
    let asked = world.query(9008, &page_of(accounts, since, 1)).await;
    let failure = asked.expect_err("too many");
    assert_eq!(failure.class, FailureClass::Unexpected);
    assert!(failure.message.contains("pages_max"), "{}", failure.message);
    assert_eq!(world.calls(Endpoint::Transactions), 1, "before anything is published");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_fails_the_accounts_with_it() {
    let world = World::with_fault(Endpoint::Transactions, None, status(500));
    let since = updated(&world, 1).await;
    let Query::Collect(wanted) = page_of(vec![1001.into()], since, 1) else {
        unreachable!("a page")
    };
    let both = Query::Collect(Wanted {
        accounts: true,
        ..wanted
    });
    assert_eq!(world.failure(&both).await.class, FailureClass::MaybeDown);
}

const PAGING: &str = r#""paging":{"page":1,"perPage":500,"pageCount":3,"totalCount":3}"#;

#[tokio::test(start_paused = true)]
async fn another_page_than_the_one_asked_for_and_pages_without_order_are_no_good() {
    let row = |id: i64| format!(r#"{{"id":{id},"accountId":7,"amount":1}}"#);
    let pages = |rows: &str, paging: &str| always(200, format!(r#"{{"transactions":[{rows}],{paging}}}"#));
    let refresh = refresh(command(1));
    let ask = async |client: FinApi, page| {
        client
            .result_of(&refresh, &page_of(vec![7.into()], start(), page))
            .await
    };
    let rows = format!("{},{}", row(1), row(2));
    let first = ask(pages(&rows, PAGING), 1).await;
    assert!(first.is_ok(), "{first:?}");
    let repeated = ask(pages(&rows, PAGING), 2).await.expect_err("page 1 again");
    assert_eq!(repeated.class, FailureClass::Unexpected);
    let disordered = format!("{},{}", row(2), row(1));
    let failure = ask(pages(&disordered, PAGING), 1).await.expect_err("no order");
    assert_eq!(failure.class, FailureClass::Unexpected);
    // On the only page it does not matter.
    let only = PAGING.replace(r#""pageCount":3"#, r#""pageCount":1"#);
    assert!(ask(pages(&disordered, &only), 1).await.is_ok());
    // Totals that can't be read cost nothing.
    let odd = PAGING.replace(r#""totalCount":3"#, r#""totalCount":"x""#) + r#","income":"x","spending":[1]"#;
    let Ok(Response::Collected(collected)) = ask(pages(&rows, &odd), 1).await else {
        panic!("not read")
    };
    assert_eq!(collected.page.expect("a page").transactions.len(), 2);
}
