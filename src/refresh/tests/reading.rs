//! Reading page by page from a finAPI whose transactions come and go meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::*;

/// What finAPI has stored: transactions by id and account, with the moment each was imported.
#[derive(Clone, Default)]
pub(super) struct Book {
    pub(super) accounts: Vec<AccountId>,
    /// Accounts that the connection itself does not name.
    pub(super) unnamed: Vec<AccountId>,
    pub(super) stored: BTreeMap<(i64, AccountId), Timestamp>,
    pub(super) page_size: usize,
    ids_used: i64,
    /// Asked for these, it refuses.
    pub(super) refused: Vec<AccountId>,
    /// Pages that it was asked for.
    pub(super) pages: Vec<u32>,
    /// Answers each page with page 1.
    pub(super) repeats: bool,
}

impl Book {
    pub(super) fn new(accounts: i64, page_size: usize) -> Self {
        Self {
            accounts: (1..=accounts).map(AccountId::from).collect(),
            page_size,
            ..Self::default()
        }
    }

    /// Stores so many transactions of all accounts in turn, with ids after those that are there.
    pub(super) fn import(&mut self, count: i64, at: Timestamp) {
        let next = self.ids_used + 1;
        self.ids_used += count;
        let accounts: Vec<AccountId> = self.accounts.iter().chain(&self.unnamed).copied().collect();
        for id in next..next + count {
            let account = accounts[usize::try_from(id).expect("an id") % accounts.len()];
            self.stored.insert((id, account), at);
        }
    }

    pub(super) fn connection(&self) -> Connection {
        Connection {
            account_ids: self.accounts.clone(),
            ..ready()
        }
    }

    pub(super) fn respond(&mut self, query: &Query) -> QueryResult {
        let Query::Collect(wanted) = query else {
            assert_eq!(*query, Query::Connection);
            return self.connection().said();
        };
        let account = |id: &AccountId| Account {
            id: *id,
            ..Account::default()
        };
        let page = match &wanted.page {
            Some(page) if page.accounts.iter().any(|id| self.refused.contains(id)) => {
                return FailureClass::NotFound.said();
            }
            page => page.as_ref().map(|page| self.page(page)),
        };
        let all = self.accounts.iter().chain(&self.unnamed);
        Ok(Response::Collected(Collected {
            accounts: wanted.accounts.then(|| all.map(account).collect()),
            page,
            ..Collected::default()
        }))
    }

    fn page(&mut self, wanted: &PageQuery) -> Page {
        assert!((1..=100).contains(&wanted.accounts.len()));
        self.pages.push(wanted.page);
        let day = earlier(
            wanted.since,
            secs(wanted.since.as_second().rem_euclid(24 * 3600).unsigned_abs()),
        );
        let mine = self
            .stored
            .iter()
            .filter(|((_, account), _)| wanted.accounts.contains(account));
        let mine: Vec<_> = mine.filter(|(_, at)| **at >= day).collect();
        let transaction = |((id, account), at): &(&(i64, AccountId), &Timestamp)| Transaction {
            id: (*id).into(),
            account_id: *account,
            imported_at: Some(**at),
            ..Transaction::default()
        };
        let number = if self.repeats { 1 } else { wanted.page as usize };
        let shown: Vec<Transaction> = mine.iter().map(transaction).collect();
        let shown: Vec<Transaction> = shown
            .chunks(self.page_size)
            .nth(number - 1)
            .unwrap_or_default()
            .to_vec();
        Page {
            ids: page_ids(&shown),
            is_last: wanted.page as usize * self.page_size >= mine.len(),
            totals: Totals {
                count: Some(mine.len() as u64),
                // So that what changes is seen: that the three may stay the same is documented.
                income: Some(Decimal::from(mine.iter().map(|((id, _), _)| id * id).sum::<i64>())),
                spending: None,
            },
            transactions: shown
                .into_iter()
                .filter(|shown| shown.imported_at >= Some(wanted.since))
                .collect(),
            ..Page::default()
        }
    }
}

/// A refresh that reads a book, with more accounts than the usual connection has.
pub(super) fn reading(book: &Book) -> Run {
    let mut run = Run::plain();
    run.find([]).start(completed()).connection(book.connection());
    run
}

/// Takes the next step.
fn step(run: &mut Run, book: &mut Book) {
    let said = book.respond(&run.at().query());
    run.respond(said);
}

impl Said for QueryResult {
    fn said(self) -> QueryResult {
        self
    }
}

fn finish(run: &mut Run, book: &mut Book) {
    for _ in 0..1000 {
        if run.refresh.is_none() {
            return;
        }
        step(run, book);
    }
    panic!("never ends");
}

/// What whoever remembers event ids has when the outcome has come.
pub(super) fn consumed(events: &[Event]) -> Vec<(i64, i64)> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for event in events {
        if !seen.insert(event.context().event_id.clone()) {
            continue;
        }
        if let EventKind::TransactionsUpdated(part) = event.kind() {
            rows.extend(part.transactions.iter().map(|t| (t.id, t.account_id)));
        }
        if event.is_last() {
            break;
        }
    }
    rows
}

fn all(book: &Book) -> Vec<(i64, i64)> {
    book.stored.keys().map(|(id, account)| (*id, account.get())).collect()
}

fn sorted(mut rows: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    rows.sort_unstable();
    rows
}

#[test]
fn each_page_is_read_once_and_each_part_is_checkpointed() {
    let mut book = Book::new(3, 10);
    book.import(95, at(2));
    let mut run = reading(&book);
    for checkpoints in 1.. {
        step(&mut run, &mut book);
        if run.refresh.is_none() {
            break;
        }
        if run.checkpoints == checkpoints {
            run.taken_up();
        }
    }
    assert_eq!(book.pages, (1..=10).collect::<Vec<_>>());
    assert_eq!(consumed(&run.published), all(&book));
    assert_eq!(
        (run.published.len(), run.checkpoints),
        (11, 10),
        "the last one has the accounts"
    );
    let event = run.updated();
    assert_eq!((event.part, event.new_transactions, event.accounts.len()), (11, 95, 3));
    let counts: Vec<u32> = event.accounts.iter().map(|account| account.new_transactions).collect();
    assert_eq!(counts.iter().sum::<u32>(), 95);
}

#[test]
fn a_refused_page_is_the_next_one_and_what_came_meanwhile_is_looked_for_before_it() {
    let mut book = Book::new(1, 10);
    book.import(50, at(2));
    let mut run = reading(&book);
    step(&mut run, &mut book);
    step(&mut run, &mut book);
    run.respond(FailureClass::RateLimited(Some(secs(9)))).taken_up();
    finish(&mut run, &mut book);
    assert_eq!(book.pages, [1, 2, 3, 2, 3, 4, 5]);
    assert_eq!(consumed(&run.published), all(&book));
    assert_eq!(run.updated().new_transactions, 50);
}

#[test]
fn an_interruption_after_every_call_still_leads_to_an_end() {
    let mut book = Book::new(2, 10);
    book.import(60, at(2));
    let mut run = reading(&book);
    for _ in 0..200 {
        if run.refresh.is_none() {
            break;
        }
        step(&mut run, &mut book);
        if run.refresh.is_some() {
            run.respond(FailureClass::RateLimited(Some(secs(90)))).taken_up();
        }
    }
    assert_eq!(sorted(consumed(&run.published)), all(&book));
    assert!(book.pages.len() <= 3 * 6, "{:?}", book.pages);
}

#[test]
fn what_moves_to_earlier_pages_is_found() {
    for deleted in 1..35 {
        let mut book = Book::new(2, 10);
        book.import(80, at(2));
        let mut run = reading(&book);
        for _ in 0..4 {
            step(&mut run, &mut book);
        }
        let gone: Vec<_> = book.stored.keys().take(deleted).copied().collect();
        book.stored.retain(|key, _| !gone.contains(key));
        finish(&mut run, &mut book);
        let rows = consumed(&run.published);
        assert!(all(&book).iter().all(|row| rows.contains(row)), "{deleted} deleted");
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "each once");
    }
}

#[test]
fn two_accounts_may_have_one_transaction_id() {
    let mut book = Book::new(3, 4);
    for id in 1..=20 {
        for account in 1..=3 {
            book.stored.insert((id, account.into()), at(2));
        }
    }
    let mut run = reading(&book);
    finish(&mut run, &mut book);
    assert_eq!(sorted(consumed(&run.published)), all(&book));
}

#[test]
fn accounts_are_asked_for_in_groups_of_a_hundred_and_those_the_connection_does_not_name_too() {
    let mut book = Book::new(250, 500);
    book.unnamed = (1001..1004).map(AccountId::from).collect();
    book.import(600, at(2));
    let mut run = reading(&book);
    finish(&mut run, &mut book);
    assert_eq!(book.pages, [1, 1, 1, 1]);
    assert_eq!(sorted(consumed(&run.published)), all(&book));
    let listed: usize = run
        .published
        .iter()
        .map(|event| match event.kind() {
            EventKind::TransactionsUpdated(part) => part.accounts.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(listed, 253);
}

#[test]
fn more_accounts_than_fit_a_checkpoint_are_a_failure() {
    let book = Book::new(1001, 500);
    let run = reading(&book);
    assert_eq!(run.failure(), (FailureReason::UnexpectedResponse, true));
}

#[test]
fn an_account_that_is_gone_is_left_out_of_its_group() {
    let mut book = Book::new(5, 10);
    book.import(70, at(2));
    let mut run = reading(&book);
    step(&mut run, &mut book);
    step(&mut run, &mut book);
    let gone = book.accounts.remove(2);
    book.refused = vec![gone];
    book.stored.retain(|(_, account), _| *account != gone);
    finish(&mut run, &mut book);
    let rows = consumed(&run.published);
    assert!(all(&book).iter().all(|row| rows.contains(row)));
    let event = run.updated();
    assert_eq!(
        (event.new_transactions, event.accounts.len()),
        (56, 4),
        "each counts once"
    );
    assert!(event.uncovered_account_ids.is_empty());
}

#[test]
fn an_account_that_is_refused_and_there_costs_the_others_nothing() {
    let mut book = Book::new(150, 100);
    book.import(900, at(2));
    book.refused = vec![77.into()];
    let since = Some(from_timestamp(at(-10_000)));
    let mut run = Run::of(RefreshConnection {
        transactions_since: since,
        ..command()
    });
    run.find([]).start(completed()).connection(book.connection());
    finish(&mut run, &mut book);
    let rows = consumed(&run.published);
    let missing: Vec<_> = all(&book).into_iter().filter(|row| !rows.contains(row)).collect();
    assert!(missing.iter().all(|(_, account)| *account == 77) && !missing.is_empty());
    let event = run.updated();
    assert_eq!(event.uncovered_account_ids, [77]);
    assert_eq!(
        (event.covered_from, event.covered_until),
        (since, since),
        "nothing new is covered"
    );
}

#[test]
fn where_each_account_is_refused_there_is_no_success() {
    let mut book = Book::new(2, 10);
    book.refused = book.accounts.clone();
    let mut run = reading(&book);
    finish(&mut run, &mut book);
    assert_eq!(run.failure(), (FailureReason::UnexpectedResponse, true));
}

#[test]
fn a_page_that_repeats_those_before_is_no_success() {
    for pages in 2..5 {
        let mut book = Book::new(2, 10);
        book.import(pages * 10, at(2));
        book.repeats = true;
        let mut run = reading(&book);
        finish(&mut run, &mut book);
        assert_eq!(run.failure(), (FailureReason::UnexpectedResponse, true));
        let rows = consumed(&run.published);
        assert_eq!(rows.len(), 10, "each id once");
    }
}

#[test]
fn totals_that_never_hold_still_come_to_an_end() {
    let mut book = Book::new(1, 10);
    book.import(50, at(2));
    let mut run = reading(&book);
    for _ in 0..1000 {
        if run.refresh.is_none() {
            break;
        }
        step(&mut run, &mut book);
        let first = *book.stored.keys().next().expect("one");
        book.stored.remove(&first);
        book.import(1, at(2));
        if book.pages.len() > 40 {
            break;
        }
    }
    finish(&mut run, &mut book);
}

/// A refresh whose messages are killed, delivered twice and continued by two workers, while finAPI stores and deletes. Whoever remembers the ids of
/// events has everything that was stored before the reading and not deleted, when the first outcome has come.
fn follow(seed: u64) -> bool {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut book = Book::new(random.i64(1..250), random.usize(3..40));
    book.import(random.i64(0..400), at(2));
    let before = all(&book);
    let begun = reading(&book).at().clone();
    let policy = Policy {
        events: Transactions {
            size_max: random.usize(600..4000),
            ..Transactions::default()
        },
        ..Policy::default()
    };
    // Each is a message of the command: the durable checkpoint, and the refresh that a worker has of it.
    let mut messages = vec![(begun.clone(), Some(begun))];
    let mut published: Vec<Event> = Vec::new();
    let (mut now, mut checked) = (at(10), true);
    for number_of_step in 0..6_000 {
        if messages.is_empty() {
            break;
        }
        let changes = number_of_step < 300;
        if changes && random.u32(0..20) == 0 {
            let gone = random.usize(0..3 * book.page_size);
            let from = random.usize(0..=book.stored.len());
            let gone: Vec<_> = book.stored.keys().skip(from).take(gone).copied().collect();
            book.stored.retain(|key, _| !gone.contains(key));
        }
        if changes && random.u32(0..20) == 0 {
            book.import(random.i64(0..30), now);
        }
        if changes && random.u32(0..60) == 0 && messages.len() < 3 {
            let copy = messages[random.usize(0..messages.len())].0.clone();
            messages.push((copy, None));
        }
        let number = random.usize(0..messages.len());
        let (durable, held) = &mut messages[number];
        let mut refresh = held.take().unwrap_or_else(|| {
            let mut read = state::decode(&state::encode(durable), now).expect("a checkpoint");
            read.interrupted();
            read
        });
        now = now.max(refresh.due_at) + SignedDuration::from_millis(random.i64(1..900));
        if refresh.failed(now, &policy).is_some() {
            return true;
        }
        let said = match random.u32(0..12) {
            0 => FailureClass::RateLimited(None).said(),
            1 => FailureClass::Unavailable.said(),
            _ => book.respond(&refresh.query()),
        };
        let context = StepContext {
            now,
            jitter: random.f64(),
            next_poll: None,
            clocks: Clocks::default(),
            announced: None,
        };
        let step = std::mem::replace(&mut refresh, durable.clone()).step(said, context, &policy);
        let survives = random.u32(0..15) > 0;
        let of_step = if survives {
            step.events.len()
        } else {
            random.usize(0..=step.events.len())
        };
        published.extend(step.events.into_iter().take(of_step));
        let outcome = |published: &[Event]| published.iter().any(Event::is_last);
        if checked && outcome(&published) {
            checked = false;
            if published
                .iter()
                .find(|event| event.is_last())
                .is_some_and(|event| matches!(event.kind(), EventKind::TransactionsUpdated(_)))
            {
                let rows: BTreeSet<_> = consumed(&published).into_iter().collect();
                let left: BTreeSet<_> = all(&book).into_iter().collect();
                let missing = before.iter().find(|row| left.contains(row) && !rows.contains(row));
                assert_eq!(missing, None, "seed {seed}");
            } else {
                return true;
            }
        }
        match step.next {
            // It comes again from its last checkpoint.
            _ if !survives => {}
            Next::Continue(next) => *held = Some(*next),
            Next::Checkpoint(next) => {
                // The worker forgets what a checkpoint has not, and nothing came between.
                let read = state::decode(&state::encode(&next), now).expect("a checkpoint");
                (*durable, *held) = (*next, Some(read));
            }
            Next::Done => drop(messages.remove(number)),
        }
    }
    assert!(!checked, "seed {seed}: never ends");
    false
}

#[test]
fn whatever_is_interrupted_deleted_and_stored_between_two_pages_nothing_is_missing() {
    let seeds = count("READING_SEEDS", 400);
    let failed = (0..seeds).filter(|seed| follow(*seed)).count();
    assert!(
        failed < seeds as usize / 5,
        "{failed} of {seeds} failed, and showed nothing"
    );
}

#[test]
fn what_cannot_be_read_on_a_page_after_a_step_back_holds_the_interval() {
    let mut book = Book::new(1, 3);
    book.import(9, at(-9_500));
    let mut run = Run::of(RefreshConnection {
        transactions_since: Some(from_timestamp(at(-10_000))),
        ..command()
    });
    run.find([]).start(completed()).connection(book.connection());
    step(&mut run, &mut book);
    step(&mut run, &mut book);
    run.respond(FailureClass::Unavailable);
    step(&mut run, &mut book);
    step(&mut run, &mut book);
    let Ok(Response::Collected(mut third)) = book.respond(&run.at().query()) else {
        panic!("a page");
    };
    third.page.as_mut().expect("a page").skipped = vec![Skipped {
        imported_at: Some(at(-9_000)),
    }];
    run.respond(third);
    finish(&mut run, &mut book);
    assert_eq!(book.pages, [1, 2, 3, 2, 3]);
    let updated = run.updated();
    assert_eq!(updated.skipped_transactions, 1);
    assert_eq!(updated.covered_until, Some(from_timestamp(at(-9_000))));
}

#[test]
fn an_account_without_a_readable_id_holds_the_interval() {
    let mut book = Book::new(1, 3);
    book.import(2, at(-9_500));
    let mut run = Run::of(RefreshConnection {
        transactions_since: Some(from_timestamp(at(-10_000))),
        ..command()
    });
    run.find([]).start(completed()).connection(book.connection());
    let Ok(Response::Collected(mut all)) = book.respond(&run.at().query()) else {
        panic!("accounts");
    };
    all.skipped_accounts = 1;
    run.respond(all);
    let updated = run.updated();
    assert_eq!((updated.skipped_accounts, updated.skipped_transactions), (1, 0));
    assert_eq!(updated.covered_until, Some(from_timestamp(at(-10_000))));
}
