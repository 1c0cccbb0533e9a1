//! Collecting: what the outcome says of time, and what ends it.

use super::*;

/// So small that an event holds a few transactions.
fn small_events() -> Policy {
    let events = Transactions {
        size_max: 600,
        ..Transactions::default()
    };
    Policy {
        events,
        ..Policy::default()
    }
}

fn collecting(policy: Policy) -> Run {
    let mut run = Run::under(policy, command());
    run.find([]).start(completed()).connection(ready());
    run
}

/// The first page of several.
fn first_page() -> Collected {
    let Ok(Response::Collected(mut all)) = collected(100).said() else {
        panic!("collected")
    };
    if let Some(page) = &mut all.page {
        page.is_last = false;
    }
    all
}

fn covered(event: &TransactionsUpdated) -> Option<(Timestamp, Timestamp)> {
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().and_then(crate::proto::timestamp);
    Some((time(&event.covered_from)?, time(&event.covered_until)?))
}

#[test]
fn a_small_outcome_takes_one_call_and_one_event_and_no_checkpoint() {
    let mut run = Run::collecting();
    let page = PageQuery {
        accounts: accounts(),
        since: earlier(at(1), secs(3600)),
        page: 1,
    };
    run.asks(&Query::Collect(Wanted {
        accounts: true,
        page: Some(page),
    }));
    run.collect(collected(3));
    assert_eq!((run.published.len(), run.checkpoints), (1, 0));
    assert!(run.updated().last);
}

#[test]
fn a_part_once_begun_continues_beyond_the_deadline() {
    let mut run = collecting(small_events());
    run.collect(first_page()).late(secs(25 * 3600));
    assert_eq!(run.at().failed(run.now, &run.policy), None);
    run.collect(FailureClass::Unavailable);
    assert!(run.refresh.is_some());
}

#[test]
fn beyond_the_deadline_waits_are_as_long_as_ever() {
    let mut run = collecting(small_events());
    run.collect(first_page()).late(secs(25 * 3600));
    run.collect(FailureClass::NotSent(secs(7)));
    assert!(run.wait() >= secs(7));
    run.collect(FailureClass::RateLimited(Some(secs(30))));
    assert!(run.wait() >= secs(30));
    run.collect(FailureClass::Unavailable);
    assert!(run.wait() >= secs(1));
}

#[test]
fn before_the_first_part_the_deadline_counts() {
    let mut run = collecting(small_events());
    run.deadline();
    assert_eq!(run.failure(), (FailureReason::TimedOut, true));
}

#[test]
fn what_cannot_be_read_is_read_again() {
    let mut run = Run::collecting();
    run.collect(FailureClass::Unavailable).collect(FailureClass::Unexpected);
    assert_eq!(run.at().failures, 2);
    run.collect(collected(2));
    assert_eq!(run.updated().new_transactions, 2);
}

#[test]
fn a_failure_between_parts_has_the_id_of_the_outcome() {
    let mut run = collecting(small_events());
    run.collect(first_page()).collect(FailureClass::UserUnauthorized);
    assert_eq!(run.failure(), (FailureReason::UserUnauthorized, false));
    let id = |run: &Run| run.published.last().expect("an event").context().event_id.clone();
    let mut success = Run::collecting();
    success.collect(collected(1));
    assert_eq!(id(&run), id(&success));
}

#[test]
fn without_a_cursor_an_outcome_covers_the_update_and_a_margin() {
    let mut run = Run::settling();
    run.late(secs(30)).connection(ready());
    let asked = run.now;
    run.late(secs(500)).collect(collected(1));
    // Where finAPI's clock is not known, it may be two seconds behind.
    let expected = (earlier(at(1), secs(3600)), earlier(asked, secs(3602)));
    assert_eq!(covered(run.updated()), Some(expected));
}

#[test]
fn with_a_cursor_an_outcome_covers_everything_since_then() {
    let since = |seconds: i64| RefreshConnection {
        transactions_since: Some(from_timestamp(at(seconds))),
        ..command()
    };
    let long_ago = -90 * 24 * 3600;
    let mut run = Run::of(since(long_ago));
    run.find([]).start(completed()).connection(ready());
    let asked = run.now;
    run.collect(collected(1));
    assert_eq!(covered(run.updated()), Some((at(long_ago), earlier(asked, secs(3602)))));
    // Never before it: the consumer has that already.
    let mut run = Run::of(since(-60));
    run.find([])
        .start(completed())
        .connection(ready())
        .collect(collected(1));
    assert_eq!(covered(run.updated()), Some((at(-60), at(-60))));
}

#[test]
fn without_a_task_an_outcome_covers_the_update_that_serves_it() {
    let mut run = Run::of(max_age_command(3600));
    run.connection(updated_at(-1800)).collect(collected(1));
    let (from, _) = covered(run.updated()).expect("an interval");
    assert_eq!(from, earlier(at(-1800), secs(3600)));
    // A time that no one should send leaves no gap.
    let mut run = Run::of(max_age_command(3600));
    run.connection(updated_at(1_000_000)).collect(collected(1));
    let (from, until) = covered(run.updated()).expect("an interval");
    assert!(from <= until && until <= at(0), "{from} {until}");
}

#[test]
fn the_interval_is_fixed_before_the_first_page_and_stays_through_waits_and_checkpoints() {
    let mut run = collecting(Policy::default());
    let asked = run.now;
    run.collect(FailureClass::RateLimited(Some(secs(7000)))).taken_up();
    run.connection(ready());
    run.collect(first_page()).taken_up().late(secs(7000));
    run.collect(FailureClass::Unavailable).taken_up();
    let Query::Collect(Wanted { page: Some(page), .. }) = run.at().query() else {
        panic!("no page")
    };
    assert_eq!((page.page, page.since), (2, earlier(at(1), secs(3600))));
    run.collect(Collected {
        accounts: None,
        page: Some(Page {
            is_last: true,
            ids: page_ids(&collected(100).transactions),
            ..Page::default()
        }),
        ..Collected::default()
    });
    run.connection(ready());
    run.collect(Collected {
        accounts: Some(collected(0).accounts),
        page: None,
        ..Collected::default()
    });
    let (_, until) = covered(run.updated()).expect("an interval");
    assert_eq!(until, earlier(asked, secs(3602)).max(earlier(at(1), secs(3600))));
    assert_eq!(run.updated().new_transactions, 100, "counted once");
}

#[test]
fn an_outcome_without_transactions_states_no_interval() {
    let mut run = Run::of(RefreshConnection {
        skip_positions_download: true,
        ..command()
    });
    run.find([]).start(completed()).connection(ready());
    run.asks(&Query::Collect(Wanted {
        accounts: true,
        page: None,
    }));
    run.collect(Collected {
        accounts: Some(collected(0).accounts),
        page: None,
        ..Collected::default()
    });
    let event = run.updated();
    assert_eq!((covered(event), event.accounts.len()), (None, 2));
}

#[test]
fn only_what_was_imported_since_the_update_began_counts_as_new() {
    let mut data = collected(3);
    data.transactions[0].imported_at = Some(at(0));
    data.transactions[1].imported_at = Some(at(1));
    let mut run = Run::collecting();
    run.collect(data);
    let event = run.updated();
    assert_eq!((event.transactions.len(), event.new_transactions), (3, 2));
}
