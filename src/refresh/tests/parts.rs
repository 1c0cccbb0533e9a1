//! How an outcome is split: every part within the limit, every transaction once, wherever and whenever a part is made.

use std::collections::BTreeMap;

use prost::Message as _;

use super::*;

/// Publishes an outcome part by part, each at a moment and by a worker of its own.
fn publish(size_max: usize, data: &Collected, moments: impl Iterator<Item = Timestamp>) -> Vec<TransactionsUpdated> {
    let events = Transactions {
        size_max,
        ..Transactions::default()
    };
    let policy = Policy {
        events,
        ..Policy::default()
    };
    let mut run = Run::under(policy, command());
    run.find([]).start(completed());
    for moment in moments {
        run.now = run.now.max(moment);
        run.taken_up().connection(ready()).collect(data.clone());
        if run.refresh.is_none() {
            break;
        }
    }
    let read = |event: &Event| TransactionsUpdated::decode(event.encode().as_slice()).expect("a part");
    run.published.iter().map(read).collect()
}

fn check(size_max: usize, data: &Collected, parts: &[TransactionsUpdated]) {
    let ids = parts.iter().flat_map(|part| &part.transactions).map(|t| t.id);
    let all: Vec<i64> = data.transactions.iter().map(|t| t.id.get()).collect();
    assert_eq!(ids.collect::<Vec<_>>(), all, "each once, in order");
    let mut per_account: BTreeMap<i64, u32> = BTreeMap::new();
    for (number, part) in (1..).zip(parts) {
        assert!(part.encoded_len() <= size_max, "{} of {size_max}", part.encoded_len());
        assert_eq!((part.part, part.parts as usize), (number, parts.len()));
        assert_eq!(part.new_transactions as usize, all.len());
        assert_eq!(part.accounts.is_empty(), number > 1, "accounts come once");
        assert_eq!(part.interfaces.is_empty(), number > 1, "so do interfaces");
        for account in &part.accounts {
            *per_account.entry(account.id).or_default() += account.new_transactions;
        }
    }
    assert_eq!(per_account.values().sum::<u32>() as usize, all.len());
}

fn random_data(random: &mut fastrand::Rng, count: i64) -> Collected {
    let mut data = collected(count);
    for transaction in &mut data.transactions {
        transaction.purpose = "x".repeat(random.usize(0..80));
        transaction.counterpart_name = "ü".repeat(random.usize(0..20));
    }
    data
}

#[test]
fn any_data_is_split_whenever_its_parts_are_made() {
    for seed in 0..300 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let count = random.i64(0..60);
        let data = random_data(random, count);
        let size_max = random.usize(500..1500);
        // Nanoseconds are written with none to five bytes, so that parts of one outcome begin with heads of all lengths.
        let mut moment = at(10);
        let moments = std::iter::repeat_with(|| {
            let nanos = *random.choice([0, 1, 300, 99_999, 999_999_999].iter()).unwrap_or(&0);
            moment += SignedDuration::from_secs(1);
            Timestamp::new(moment.as_second(), nanos).expect("a moment")
        });
        let parts = publish(size_max, &data, moments);
        check(size_max, &data, &parts);
    }
}

#[test]
fn more_than_127_parts_have_longer_numbers() {
    let random = &mut fastrand::Rng::with_seed(1);
    let data = random_data(random, 900);
    let parts = publish(600, &data, (0..).map(|second| at(10 + second)));
    assert!(parts.len() > 128, "{}", parts.len());
    check(600, &data, &parts);
}

#[test]
fn what_fits_is_one_part() {
    let data = collected(100);
    let parts = publish(64 * 1024, &data, std::iter::once(at(10)));
    assert_eq!(parts.len(), 1);
    check(64 * 1024, &data, &parts);
}

#[test]
fn a_transaction_longer_than_a_part_is_published_all_the_same() {
    let mut data = collected(3);
    data.transactions[1].counterpart_name = "x".repeat(2000);
    let parts = publish(600, &data, (0..).map(|second| at(10 + second)));
    let ids = parts.iter().flat_map(|part| &part.transactions).map(|t| t.id);
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3]);
    assert!(parts.iter().all(|part| part.transactions.len() <= 2));
}

/// A duplicate of a refresh may have found the connection fresh and know of no task, or no more than part of what is new.
#[test]
fn a_duplicate_that_took_another_way_cuts_the_same_parts() {
    let random = &mut fastrand::Rng::with_seed(1);
    let data = random_data(random, 200);
    let cuts = |update: &Update, data: &Collected, size_max: usize| {
        let settings = Transactions {
            size_max,
            ..Transactions::default()
        };
        let run = Run::collecting();
        let Phase::Collecting { connection, .. } = run.at().phase.clone() else {
            panic!("not collecting")
        };
        let phase = Phase::Collecting {
            update: update.clone(),
            connection: connection.clone(),
        };
        let refresh = Refresh {
            phase,
            ..run.at().clone()
        };
        event::transactions_updated(&refresh, at(10), update, &connection, data, &settings).resume_after
    };
    let own = Update::of(
        TaskRef {
            id: "0190f1c0-0000-7000-8000-000000000002".into(),
            created_at: at(1),
        },
        UpdateOrigin::Silent,
    );
    let fresh = Update {
        task: None,
        origin: UpdateOrigin::AlreadyFresh,
        ..own.clone()
    };
    let mut earlier = data.clone();
    earlier.transactions.truncate(190);
    for transaction in &mut earlier.transactions {
        transaction.category = "Freizeit, Hobbys & Soziales".repeat(random.usize(0..3));
        transaction.is_potential_duplicate = random.bool();
        transaction.is_adjusting_entry = random.bool();
    }
    for size_max in (20_000..24_000).step_by(7) {
        let cut = cuts(&own, &data, size_max);
        assert!(cut.is_some());
        assert_eq!(cuts(&fresh, &data, size_max), cut, "{size_max}");
        assert_eq!(cuts(&own, &earlier, size_max), cut, "{size_max}");
    }
}
