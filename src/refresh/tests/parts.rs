//! How an outcome is split: every part within the limit, every transaction once, wherever and whenever a part is made.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::*;

fn publish(size_max: usize, data: &Data) -> Vec<TransactionsUpdated> {
    let events = Transactions {
        size_max,
        ..Transactions::default()
    };
    let policy = Policy {
        events,
        ..Policy::default()
    };
    let mut run = Run::under(policy, command());
    run.find([])
        .start(completed())
        .connection(ready())
        .collect(data.clone());
    let read = |event: &Event| TransactionsUpdated::decode(event.encode().as_slice()).expect("a part");
    run.published.iter().map(read).collect()
}

fn check(size_max: usize, data: &Data, parts: &[TransactionsUpdated]) {
    let ids = parts.iter().flat_map(|part| &part.transactions).map(|t| t.id);
    let all: Vec<i64> = data.transactions.iter().map(|t| t.id.get()).collect();
    assert_eq!(ids.collect::<Vec<_>>(), all, "each once, in order");
    let mut per_account: BTreeMap<i64, u32> = BTreeMap::new();
    let mut event_ids = BTreeSet::new();
    for (number, part) in (1..).zip(parts) {
        assert!(part.encoded_len() <= size_max, "{} of {size_max}", part.encoded_len());
        assert_eq!((part.part, part.last), (number, number as usize == parts.len()));
        assert_eq!(part.new_transactions as usize, if part.last { all.len() } else { 0 });
        assert_eq!(part.interfaces.is_empty(), !part.last);
        assert_eq!(part.bank.is_some(), part.last);
        assert!(part.covered_from.is_some() && part.covered_until.is_some());
        assert!(
            part.last || part.transactions.len() + part.accounts.len() > 0,
            "an empty part"
        );
        assert!(event_ids.insert(part.refresh.clone().expect("a context").event_id));
        for account in &part.accounts {
            *per_account.entry(account.id).or_default() += account.new_transactions;
        }
    }
    assert_eq!(per_account.len(), 2, "accounts come once");
    assert_eq!(per_account.values().sum::<u32>() as usize, all.len());
}

fn random_data(random: &mut fastrand::Rng, count: i64) -> Data {
    let mut data = collected(count);
    for transaction in &mut data.transactions {
        transaction.purpose = "x".repeat(random.usize(0..80));
        transaction.counterpart_name = "ü".repeat(random.usize(0..20));
    }
    data
}

#[test]
fn any_data_is_split() {
    for seed in 0..300 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let count = random.i64(0..60);
        let data = random_data(random, count);
        let size_max = random.usize(600..1500);
        check(size_max, &data, &publish(size_max, &data));
    }
}

#[test]
fn more_than_127_parts_have_longer_numbers() {
    let random = &mut fastrand::Rng::with_seed(1);
    let data = random_data(random, 900);
    let parts = publish(700, &data);
    assert!(parts.len() > 128, "{}", parts.len());
    check(700, &data, &parts);
}

#[test]
fn what_fits_is_one_part() {
    let data = collected(100);
    let parts = publish(64 * 1024, &data);
    assert_eq!(parts.len(), 1);
    check(64 * 1024, &data, &parts);
}

#[test]
fn a_transaction_longer_than_a_part_is_published_all_the_same() {
    let mut data = collected(3);
    data.transactions[1].counterpart_name = "x".repeat(2000);
    let parts = publish(600, &data);
    let ids = parts.iter().flat_map(|part| &part.transactions).map(|t| t.id);
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3]);
    assert!(parts.iter().all(|part| part.transactions.len() <= 2));
}

#[test]
fn accounts_that_do_not_fit_come_in_the_parts_before_the_last() {
    let mut data = collected(0);
    for account in &mut data.accounts {
        account.name = "x".repeat(400);
    }
    let parts = publish(700, &data);
    assert_eq!(parts.len(), 2);
    check(1000, &data, &parts);
}

#[test]
fn a_part_has_the_id_of_what_is_in_it_and_the_last_one_that_of_the_outcome() {
    let ids = |data: &Data| {
        let parts = publish(700, data).into_iter();
        let ids: Vec<String> = parts.map(|part| part.refresh.expect("a context").event_id).collect();
        ids
    };
    let data = collected(60);
    let before = ids(&data);
    assert!(before.len() > 2);
    assert_eq!(ids(&data), before, "what is published again is a repeat");
    let mut other = data.clone();
    other.transactions.remove(0);
    let after = ids(&other);
    assert_ne!(after[0], before[0], "a part that is cut differently is another event");
    assert_eq!(after.last(), before.last(), "the outcome is one");
    // Two accounts may have one transaction id.
    other = data.clone();
    other.transactions[0].account_id = accounts()[1 - usize::from(data.transactions[0].account_id != accounts()[0])];
    assert_ne!(ids(&other)[0], before[0]);
}
