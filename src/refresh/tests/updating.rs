//! Updating: the task is polled until it is final.

use super::*;

#[test]
fn polls_come_less_and_less_often() {
    let mut run = Run::updating();
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(run.wait());
        run.poll(running());
    }
    assert!((millis(1500)..=millis(1650)).contains(&waits[0]), "{waits:?}");
    assert!((secs(1)..=millis(1100)).contains(&waits[1]), "{waits:?}");
    assert!(waits[1..].is_sorted(), "{waits:?}");
    assert!((secs(10)..=secs(11)).contains(&waits[11]), "{waits:?}");
}

#[test]
fn the_next_poll_comes_when_tasks_of_the_bank_usually_are_done() {
    for (usual, wait) in [(secs(7), secs(7)), (millis(200), secs(1))] {
        let mut run = Run::plain();
        run.next_poll = Some(usual);
        run.find([]).start(running());
        assert_eq!(run.wait(), wait);
        run.poll(running());
        assert!(run.wait() < secs(2), "from then on as for any other");
    }
}

#[test]
fn a_task_that_never_ends_fails_on_finapis_own_word_only() {
    let mut run = Run::updating();
    run.late(secs(3600)).poll(FailureClass::Unavailable);
    assert_eq!(run.phase(), "updating", "finAPI could not be asked");
    run.poll(running());
    assert_eq!(run.failure(), (FailureReason::TimedOut, true));
}

#[test]
fn a_task_that_ends_late_is_as_good() {
    let mut run = Run::updating();
    run.late(secs(3600)).poll(completed());
    assert_eq!(run.phase(), "settling");
}

#[test]
fn errors_of_a_task_are_published_with_their_code_whatever_it_is() {
    let cases = [
        ("BANK_SERVER_REJECTION", FailureReason::BankRejected, false),
        ("INVALID_TOKEN", FailureReason::UpdateFailed, true),
        ("UNEXPECTED_ACCESS_RESPONSE", FailureReason::UpdateFailed, true),
        ("INTERNAL_ERROR", FailureReason::UpdateFailed, true),
        ("SOMETHING_NEW", FailureReason::UpdateFailed, false),
    ];
    for (code, reason, retryable) in cases {
        let mut run = Run::updating();
        run.poll(task_failed(code));
        assert_eq!(run.failure(), (reason, retryable), "{code}");
        assert_eq!(run.failed().finapi_code, code);
    }
    let mut run = Run::updating();
    run.poll(task(TaskStatus::Failed));
    assert_eq!(run.failure(), (FailureReason::UpdateFailed, false));
    assert_eq!(run.failed().finapi_code, "");
}

#[test]
fn a_web_form_that_is_not_named_is_asked_for_again_but_not_for_long() {
    let nameless = || Task {
        web_form: None,
        ..form_required()
    };
    let mut run = Run::updating();
    run.poll(nameless()).poll(form_required());
    assert_eq!(run.phase(), "notifying_user", "it came with the next poll");
    let mut run = Run::updating();
    for _ in 1..run.policy.retry.attempts {
        run.poll(nameless());
    }
    run.poll(nameless());
    assert_eq!(run.failure(), (FailureReason::UnexpectedResponse, true));
}

#[test]
fn a_task_that_is_not_to_be_seen_yet_is_polled_again() {
    let mut run = Run::updating();
    let since = run.at().phase_since;
    while run.at().due_at < later(since, secs(10)) {
        run.poll(FailureClass::NotFound);
        assert!(run.wait() >= secs(1));
        assert_eq!((run.phase(), run.at().failures), ("updating", 0));
    }
    run.poll(completed());
    assert_eq!((run.phase(), run.starts()), ("settling", 1));
}

#[test]
fn a_task_that_finapi_forgot_is_not_asked_for_again() {
    let mut run = Run::updating();
    run.late(secs(10)).poll(FailureClass::NotFound);
    assert_eq!(run.failure(), (FailureReason::NotFound, false));
    assert_eq!(run.starts(), 1);
}
