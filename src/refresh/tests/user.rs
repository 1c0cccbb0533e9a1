//! NotifyingUser and AwaitingUser: the user is notified of the web form, whatever else happens, and the refresh waits then.

use super::*;

#[test]
fn the_user_is_notified_at_once_when_the_web_form_cannot_be_read() {
    for failure in failure_classes() {
        let mut run = Run::updating();
        run.poll(form_required());
        assert_eq!(run.wait(), Duration::ZERO);
        run.form(failure);
        assert_eq!(run.phase(), "awaiting_user", "{failure:?}");
        let expires_at = from_timestamp(later(run.now, WEB_FORM_LIFETIME));
        assert_eq!(run.forms()[0].expires_at, Some(expires_at), "{failure:?}");
        assert!(run.wait() >= secs(1));
    }
}

#[test]
fn the_user_is_notified_at_once_when_something_else_is_answered() {
    let mut run = Run::updating();
    run.poll(form_required()).form(ready());
    assert_eq!((run.phase(), run.forms().len()), ("awaiting_user", 1));
}

#[test]
fn a_success_by_the_user_comes_after_the_user_was_notified() {
    let mut run = Run::updating();
    run.poll(form_required())
        .form(form(WebFormStatus::Completed))
        .connection(ready())
        .collect(collected(0));
    let keys: Vec<_> = run.published.iter().map(Event::routing_key).collect();
    assert_eq!(keys, ["user-action.required", "transactions.updated"]);
    assert_eq!(run.updated().origin(), UpdateOrigin::UserActed);
}

#[test]
fn a_web_form_that_is_over_at_the_next_poll_is_published_with_its_outcome() {
    let mut run = Run::updating();
    run.poll(form_required()).form(form(WebFormStatus::Expired));
    let keys: Vec<_> = run.published.iter().map(Event::routing_key).collect();
    assert_eq!(keys, ["user-action.required", "refresh.failed"]);
}

#[test]
fn another_worker_notifies_the_user_again_under_the_same_id() {
    let mut run = Run::updating();
    run.poll(form_required()).taken_up();
    assert_eq!(run.phase(), "updating", "the URL is asked for again");
    run.late(secs(1)).poll(form_required()).form(open_form());
    run.redelivered().find([form_required()]).form(open_form());
    assert_eq!(run.forms().len(), 2);
    let ids = [0, 1].map(|n| run.published[n].context().event_id.as_str());
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn another_worker_that_finds_the_user_notified_continues_to_wait() {
    let mut run = Run::awaiting();
    run.taken_up().form(form(WebFormStatus::Completed));
    assert_eq!((run.phase(), run.forms().len()), ("settling", 1));
}

#[test]
fn another_web_form_is_another_event() {
    let mut run = Run::awaiting();
    let first = run.published[0].context().event_id.clone();
    let mut other = form_required();
    other.web_form = Some(WebFormLink {
        id: "form-2".into(),
        ..form_link()
    });
    run.redelivered().find([other]);
    run.respond(open_form());
    assert_ne!(first, run.published[1].context().event_id.clone());
}

#[test]
fn an_open_web_form_is_polled_until_a_while_after_its_end() {
    let mut run = Run::awaiting();
    let mut waits = Vec::new();
    while run.at().due_at < at(1200 + 300) {
        waits.push(run.wait());
        run.form(open_form());
    }
    assert!(
        waits[1..].is_sorted() && waits.iter().all(|wait| *wait <= secs(33)),
        "{waits:?}"
    );
    run.late(secs(1)).form(open_form());
    assert_eq!(run.failure(), (FailureReason::WebFormExpired, false));
}

#[test]
fn while_finapi_cannot_be_asked_the_web_form_does_not_expire() {
    let mut run = Run::awaiting();
    run.late(secs(7200)).form(FailureClass::Unavailable);
    assert_eq!(run.phase(), "awaiting_user");
    run.form(form(WebFormStatus::Completed));
    assert_eq!(run.phase(), "settling", "the user was in time");
}

#[test]
fn a_wait_that_is_asked_for_delays_the_next_poll_and_not_the_user() {
    for failure in [
        FailureClass::RateLimited(Some(secs(30))),
        FailureClass::NotSent(secs(30)),
    ] {
        let mut run = Run::updating();
        run.poll(form_required()).form(failure);
        assert_eq!((run.phase(), run.forms().len()), ("awaiting_user", 1));
        assert!(run.wait() >= secs(30), "{:?}", run.wait());
    }
}

#[test]
fn a_web_form_is_gone_when_finapi_has_said_so_three_times_in_a_row() {
    let mut run = Run::awaiting();
    for _ in 0..4 {
        run.form(FailureClass::NotFound);
        assert!(run.wait() >= secs(1));
    }
    assert_eq!(run.at().doubts, Doubts::default(), "it may only not be to be seen yet");
    run.late(secs(10));
    for other in [
        FailureClass::Foreign,
        FailureClass::Unavailable,
        FailureClass::TokenRefused,
    ] {
        run.form(FailureClass::NotFound)
            .form(FailureClass::NotFound)
            .form(other);
    }
    run.form(FailureClass::NotFound)
        .form(FailureClass::NotFound)
        .form(open_form());
    run.form(FailureClass::NotFound).taken_up();
    run.form(FailureClass::NotFound).form(FailureClass::NotFound);
    assert_eq!(run.failure(), (FailureReason::UserAborted, false));
}

#[test]
fn errors_of_a_web_form_are_published_with_their_code_whatever_it_is() {
    let cases = [
        ("BANK_SERVER_REJECTION", FailureReason::BankRejected, false),
        ("INTERRUPTED", FailureReason::WebFormFailed, true),
        ("INTERNAL_ERROR", FailureReason::WebFormFailed, true),
        ("NO_ACCOUNTS_FOR_TYPE_LIST", FailureReason::WebFormFailed, false),
        ("SOMETHING_NEW", FailureReason::WebFormFailed, false),
    ];
    for (code, reason, retryable) in cases {
        let mut run = Run::awaiting();
        run.form(WebForm {
            error: Some(bank_error(code)),
            ..form(WebFormStatus::Failed)
        });
        assert_eq!(run.failure(), (reason, retryable), "{code}");
        assert_eq!(run.failed().finapi_code, code);
    }
}
