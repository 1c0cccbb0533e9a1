//! The moments of a refresh, as its events have them.

use super::state::{decode, encode};
use super::*;
use crate::proto::RefreshTimes;

fn times(run: &Run, event: usize) -> RefreshTimes {
    run.published[event].context().times.expect("times")
}

#[test]
fn each_event_says_what_happened_when_also_after_a_checkpoint() {
    let mut run = Run::updating();
    let first_run = run.now;
    run.refresh.as_mut().expect("a refresh").on_run(first_run);
    run.refresh.as_mut().expect("a refresh").on_run(first_run + secs(100));
    run.poll(form_required());
    let asked = run.now;
    run.form(open_form());
    // Whoever continues knows all of it from the checkpoint.
    let bytes = encode(run.refresh.as_ref().expect("a refresh"));
    run.refresh = Some(decode(&bytes, run.now).expect("a checkpoint"));
    run.form(form(WebFormStatus::Completed));
    let done = run.now;
    run.connection(ready());
    let stored = run.now;
    run.collect(collected(1));
    let first = times(&run, 0);
    assert_eq!(first.user_asked_at, Some(from_timestamp(asked)));
    assert_eq!((first.web_form_ended_at, first.data_stored_at), (None, None));
    let last = times(&run, 1);
    let task_created = run.published[1].context().times.and_then(|times| times.task_created_at);
    assert!(task_created.is_some());
    assert_eq!(
        last,
        RefreshTimes {
            requested_at: Some(from_timestamp(at(0))),
            first_run_at: Some(from_timestamp(first_run)),
            task_created_at: task_created,
            user_asked_at: Some(from_timestamp(asked)),
            web_form_ended_at: Some(from_timestamp(done)),
            data_stored_at: Some(from_timestamp(stored)),
        }
    );
}

#[test]
fn a_refresh_without_a_user_has_no_such_moments() {
    let mut run = Run::collecting();
    run.collect(collected(1));
    let times = times(&run, 0);
    assert_eq!((times.user_asked_at, times.web_form_ended_at), (None, None));
    assert!(times.data_stored_at.is_some());
}

#[test]
fn a_user_who_gave_up_was_asked_and_is_done() {
    let mut run = Run::awaiting();
    run.form(form(WebFormStatus::Aborted));
    let times = times(&run, 1);
    assert!(times.user_asked_at.is_some() && times.web_form_ended_at.is_some());
    assert_eq!(times.data_stored_at, None);
}

#[test]
fn a_failure_that_the_broker_refused_is_published_again_with_its_task_and_its_moments() {
    let policy = Policy::default();
    let command = Command::parse(command()).expect("a command");
    let mut refresh = Refresh::new(command, at(0), Envelope::default(), at(0));
    refresh.on_run(at(1));
    // The step that finds the failed task in a list ends with it at once.
    let step = refresh.clone().step(
        Ok(Response::Tasks(vec![task_failed("INTERNAL_ERROR")])),
        StepContext {
            now: at(5),
            jitter: 0.5,
            next_poll: None,
            clocks: Clocks::default(),
            announced: None,
        },
        &policy,
    );
    refresh.on_refused(&step.events, at(6));
    let refresh = decode(&encode(&refresh), at(6)).expect("a checkpoint");
    let again = refresh.failed(at(30), &policy).expect("a failure");
    let (first, again) = (step.events[0].context(), again.context());
    assert_eq!(again.task_id, "task-1");
    assert_eq!(again.event_id, first.event_id);
    assert_eq!(again.times, first.times);
}
