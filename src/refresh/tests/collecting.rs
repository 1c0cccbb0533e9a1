//! Collecting: the outcome is published, in as many parts as it takes.

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

fn ids(events: &[Event]) -> Vec<i64> {
    let transactions = events.iter().flat_map(|event| match event.kind() {
        EventKind::TransactionsUpdated(event) => event.transactions.clone(),
        _ => panic!("no part: {event:?}"),
    });
    transactions.map(|transaction| transaction.id).collect()
}

#[test]
fn each_part_is_published_and_checkpointed_before_the_next() {
    let mut run = collecting(small_events());
    let span = run.at().query();
    let mut parts = 0;
    while run.refresh.is_some() {
        run.collect(collected(100));
        parts += 1;
        if run.refresh.is_some() {
            assert_eq!(
                (run.phase(), run.wait(), run.checkpoints),
                ("settling", Duration::ZERO, parts)
            );
            run.taken_up().late(secs(100)).connection(ready());
            assert_eq!(run.at().query(), span, "what a later update brings is not this one's");
        }
    }
    assert!(parts > 3, "{parts}");
    assert_eq!(ids(&run.published), (1..=100).collect::<Vec<_>>());
    for (number, event) in (1..).zip(&run.published) {
        let EventKind::TransactionsUpdated(event) = event.kind() else {
            panic!("no part")
        };
        assert_eq!((event.part, event.parts, event.new_transactions), (number, parts, 100));
    }
}

#[test]
fn a_part_once_begun_continues_beyond_the_deadline() {
    let mut run = collecting(small_events());
    run.collect(collected(100)).late(secs(25 * 3600));
    assert_eq!(run.at().failed(run.now, &run.policy), None);
    run.connection(ready()).collect(collected(100));
    assert!(run.refresh.is_some());
}

#[test]
fn beyond_the_deadline_waits_are_as_long_as_ever() {
    let mut run = collecting(small_events());
    run.collect(collected(100)).late(secs(25 * 3600));
    run.connection(FailureClass::NotSent(secs(7)));
    assert!(run.wait() >= secs(7));
    run.connection(FailureClass::RateLimited(Some(secs(30))));
    assert!(run.wait() >= secs(30));
    run.connection(FailureClass::Unavailable);
    assert!(run.wait() >= secs(1));
}

#[test]
fn before_the_first_part_the_deadline_counts() {
    let mut run = collecting(small_events());
    run.deadline();
    assert_eq!(run.failure(), (FailureReason::TimedOut, true));
}

#[test]
fn parts_that_are_no_longer_there_end_with_an_empty_one() {
    let mut run = collecting(small_events());
    run.collect(collected(100)).connection(ready()).collect(collected(1));
    let event = run.updated();
    assert_eq!((event.part, event.parts, event.transactions.len()), (2, 2, 0));
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
fn a_failure_between_parts_has_the_id_of_the_part_that_is_missing() {
    let mut run = collecting(small_events());
    run.collect(collected(100)).connection(FailureClass::NotFound);
    assert_eq!(run.failure(), (FailureReason::NotFound, false));
    let of = |event: &Event| event.context().event_id.clone();
    assert_ne!(of(&run.published[0]), of(&run.published[1]));
}
