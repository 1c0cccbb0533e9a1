//! Locating: nothing is started that may have been started.

use super::*;

#[test]
fn a_task_is_searched_for_before_one_is_started() {
    let mut run = Run::plain();
    run.asks(&Query::FindTask);
    run.find([]).asks(&Query::Start);
    assert_eq!(run.wait(), Duration::ZERO);
}

#[test]
fn the_lost_answer_of_a_start_leads_to_its_task() {
    for lost in [
        FailureClass::Unavailable,
        FailureClass::Unexpected,
        FailureClass::Internal,
    ] {
        let mut run = Run::plain();
        run.find([]).start(lost);
        assert!(run.wait() >= secs(1));
        run.find([running()]).poll(completed());
        assert_eq!((run.phase(), run.starts()), ("settling", 1));
    }
}

#[test]
fn a_start_whose_answer_was_lost_is_made_again_only_when_its_task_would_show() {
    let mut run = Run::plain();
    run.find([]).start(FailureClass::Unavailable);
    assert!(run.find_until_it_starts() >= secs(45));
    // So is the next one, also by whoever takes the refresh up meanwhile.
    run.start(FailureClass::Unexpected).find([]).taken_up();
    assert!(run.find_until_it_starts() >= secs(40));
    let mut run = Run::plain();
    run.find([]).start(FailureClass::Unavailable).find([]);
    run.late(secs(20)).find([running()]);
    assert_eq!((run.phase(), run.starts()), ("updating", 1));
}

#[test]
fn who_may_have_lost_a_start_to_a_crash_waits_for_its_task_to_show() {
    let mut run = Run::plain();
    run.came_back();
    assert!(run.find_until_it_starts() >= secs(44));
    let mut run = Run::plain();
    run.redelivered();
    assert_eq!(
        run.find_until_it_starts(),
        Duration::ZERO,
        "published again, nobody crashed"
    );
}

#[test]
fn a_start_that_came_to_nothing_is_made_again() {
    let mut run = Run::plain();
    run.find([]).start(FailureClass::RateLimited(Some(secs(3))));
    assert!(run.wait() >= secs(3));
    run.find([]).start(running());
    assert_eq!((run.phase(), run.starts()), ("updating", 2));
}

#[test]
fn a_command_that_comes_again_follows_its_task_wherever_it_stands() {
    let mut run = Run::plain();
    run.find([]).start(running()).redelivered().find([running()]);
    assert_eq!(run.phase(), "updating");
    run.redelivered().find([form_required()]);
    assert_eq!(run.phase(), "notifying_user");
    run.redelivered().find([completed()]);
    assert_eq!(run.phase(), "settling");
    run.redelivered().find([task_failed("INTERNAL_ERROR")]);
    assert_eq!(run.failure(), (FailureReason::UpdateFailed, true));
    assert_eq!(run.starts(), 1);
}

#[test]
fn a_command_that_comes_again_before_its_checkpoint_is_found_from_one_too() {
    let mut run = Run::plain();
    run.find([]).taken_up().find([running()]);
    assert_eq!((run.phase(), run.starts()), ("updating", 0));
}

#[test]
fn tasks_of_other_connections_and_of_the_past_are_not_followed() {
    let other = Task {
        bank_connection_id: Some(ConnectionId::from(8)),
        ..running()
    };
    let past = [
        completed().made_at(-60),
        form_required().made_at(-60),
        task_failed("BANK_SERVER_REJECTION").made_at(-60),
    ];
    let mut run = Run::plain();
    run.find([other]).asks(&Query::Start);
    let mut run = Run::plain();
    run.find(past).asks(&Query::Start);
}

#[test]
fn a_task_that_does_not_say_yet_whose_it_is_is_waited_for() {
    let unnamed = || Task {
        bank_connection_id: None,
        ..running()
    };
    let mut run = Run::plain();
    run.find([unnamed()]);
    assert!(run.wait() >= secs(1));
    run.find([unnamed()]).find([running()]);
    assert_eq!((run.phase(), run.starts()), ("updating", 0));
    let other = || Task {
        bank_connection_id: Some(ConnectionId::from(8)),
        ..running()
    };
    let mut run = Run::plain();
    run.find([unnamed()]).find([other()]).asks(&Query::Start);
    let mut run = Run::plain();
    run.find([unnamed().made_at(-60)]).asks(&Query::Start);
    let mut run = Run::plain();
    run.find([unnamed()])
        .late(secs(60))
        .find([unnamed()])
        .asks(&Query::Start);
}

/// A clock that is behind by so much, known within 0.1 s.
fn behind(seconds: i64) -> Clocks {
    let offset = |millis| SignedDuration::from_secs(-seconds) + SignedDuration::from_millis(millis);
    Clocks {
        web_form: Some(ClockOffset {
            least: offset(-100),
            most: offset(100),
        }),
        ..Clocks::default()
    }
}

#[test]
fn a_failure_that_clearly_came_before_the_command_was_sent_is_not_its_own() {
    let failed = |millis: i64| Task {
        created_at: at(0) + SignedDuration::from_millis(millis),
        ..task_failed("BANK_SERVER_REJECTION")
    };
    let knowing = || {
        let mut run = Run::plain();
        run.clocks = behind(0);
        run
    };
    knowing().find([failed(-1900)]).asks(&Query::Start);
    // In doubt it is.
    for serves in [failed(-400), failed(1)] {
        assert_eq!(knowing().find([serves]).failure().0, FailureReason::BankRejected);
    }
    let mut run = knowing();
    assert_eq!(
        run.came_back().find([failed(-1900)]).failure().0,
        FailureReason::BankRejected
    );
    let mut run = knowing();
    run.came_back().find([failed(-2200)]);
    assert!(run.find_until_it_starts() >= secs(40));
    // What it brought is as good, whoever's it was.
    let completed = completed().made_at(-1);
    let mut run = knowing();
    run.find([completed]);
    assert_eq!(run.phase(), "settling");
}

#[test]
fn finapis_clock_may_be_wrong_by_as_much_as_it_is_known_to_be() {
    for seconds in [30, 3600, -30] {
        let own = |after: i64| completed().made_at(after - seconds);
        let mut run = Run::plain();
        run.clocks = behind(seconds);
        run.find([own(1)]);
        assert_eq!(run.phase(), "settling", "{seconds}");
        let mut run = Run::plain();
        run.clocks = behind(seconds);
        run.find([own(-3)]).asks(&Query::Start);
    }
}

#[test]
fn an_update_that_runs_already_serves_a_plain_command() {
    let mut run = Run::plain();
    run.find([running().made_at(-60)]).poll(completed().made_at(-60));
    assert_eq!(run.starts(), 0);
    run.connection(ready());
    let begin = earlier(at(-60), secs(3600));
    assert_eq!(run.since(), begin, "all that this update brings is published");
}

#[test]
fn a_command_that_asks_for_more_takes_only_what_may_be_its_own() {
    for command in [import_command(), edit_command()] {
        // Nothing says what a task was asked for.
        let mut run = Run::of(command.clone());
        run.find([running(), form_required(), completed()]).asks(&Query::Start);
        let mut run = Run::of(command.clone());
        run.find([])
            .start(FailureClass::Unavailable)
            .find([running().made_at(-60), form_required()]);
        assert_eq!((run.phase(), run.starts()), ("notifying_user", 1));
        let mut run = Run::of(command);
        run.came_back().find([form_required()]);
        assert_eq!((run.phase(), run.starts()), ("notifying_user", 0));
    }
    let mut run = Run::of(import_command());
    run.late(secs(100)).find([]).start(FailureClass::Unavailable);
    run.find([completed().made_at(90)]);
    assert_eq!(run.phase(), "locating", "it began before the start");
    run.find([completed().made_at(101)]);
    assert_eq!(run.phase(), "settling");
}

#[test]
fn an_edit_takes_no_task_that_did_without_the_user() {
    let mut run = Run::of(edit_command());
    run.came_back().find([completed()]);
    assert_eq!(run.phase(), "locating");
    let mut run = Run::of(edit_command());
    run.find([])
        .start(FailureClass::Locked)
        .find([form_required().made_at(-60)]);
    assert_eq!(run.phase(), "locating", "nor one from before it, when locked");
}

#[test]
fn finapis_clock_may_be_a_little_behind() {
    let mut run = Run::plain();
    run.find([completed().made_at(-2)]);
    assert_eq!(run.phase(), "settling");
    let mut run = Run::plain();
    run.find([completed().made_at(-3)]).asks(&Query::Start);
}

#[test]
fn a_senders_clock_that_is_ahead_does_not_hide_the_task() {
    let ahead = RefreshConnection {
        requested_at: Some(from_timestamp(at(300))),
        ..import_command()
    };
    let mut run = Run::of(ahead);
    run.find([]).start(FailureClass::Unavailable).find([completed()]);
    assert_eq!((run.phase(), run.starts()), ("settling", 1));
}

#[test]
fn a_fresh_connection_is_left_alone() {
    let mut run = Run::of(max_age_command(3600));
    run.connection(updated_at(-3600));
    assert_eq!(run.since(), earlier(at(-3600), secs(3600)), "what that update brought");
    run.collect(collected(0));
    let event = run.updated();
    assert_eq!(event.origin(), UpdateOrigin::AlreadyFresh);
    assert_eq!(run.published[0].context().task_id, "");
    assert_eq!(run.starts(), 0);
}

#[test]
fn a_fresh_connection_settles_first() {
    let mut run = Run::of(max_age_command(3600));
    let fresh = updated_at(-1);
    run.connection(Connection { ready: false, ..fresh });
    assert_eq!(run.phase(), "settling");
    run.connection(ready());
    assert_eq!(run.phase(), "collecting");
}

#[test]
fn a_connection_that_is_not_fresh_is_updated() {
    for stale in [updated_at(-3601), ready()] {
        let mut run = Run::of(max_age_command(3600));
        run.connection(stale).find([]).start(running());
        assert_eq!(run.phase(), "updating");
    }
}

#[test]
fn what_an_update_brought_is_published_when_the_command_comes_again_and_finds_it_fresh() {
    let mut run = Run::of(max_age_command(3600));
    run.connection(updated_at(-7200)).find([]).start(running());
    run.late(secs(5)).redelivered().connection(updated_at(4));
    assert!(run.since() <= at(0), "{}", run.since());
}

#[test]
fn an_edit_leads_to_a_web_form_however_fresh_the_connection_is() {
    let mut run = Run::of(RefreshConnection {
        max_age: max_age_command(3600).max_age,
        ..edit_command()
    });
    run.find([]).start(form_required());
    assert_eq!(run.phase(), "notifying_user");
}

#[test]
fn a_lock_leads_to_the_task_that_holds_it() {
    let mut run = Run::plain();
    run.find([]).start(FailureClass::Locked).find([running().made_at(-60)]);
    assert_eq!(run.phase(), "updating");
    let mut run = Run::plain();
    run.find([])
        .start(FailureClass::Locked)
        .find([form_required().made_at(-600)]);
    assert_eq!(run.phase(), "notifying_user", "a user who is in a web form");
    let mut run = Run::plain();
    run.find([])
        .start(FailureClass::Locked)
        .find([form_required().made_at(-1200)]);
    assert_eq!(run.phase(), "locating", "that web form is over");
}

#[test]
fn a_locked_connection_is_waited_for_longer_and_longer() {
    let mut run = Run::plain();
    run.find([]);
    let mut waits = Vec::new();
    for _ in 0..20 {
        run.start(FailureClass::Locked).find([]);
        waits.push(run.wait());
        run.connection(updated_at(-1)).find([]);
    }
    assert!(waits[1..].is_sorted(), "{waits:?}");
    assert!(waits[0] < secs(2) && waits[19] >= secs(60), "{waits:?}");
    assert!(waits[19] <= secs(66));
    run.start(running());
    assert_eq!(run.phase(), "updating", "the lock is gone");
}

#[test]
fn a_lock_outlasts_a_checkpoint() {
    let mut run = Run::plain();
    run.find([]).start(FailureClass::Locked).find([]).taken_up();
    run.connection(updated_at(3));
    assert_eq!(run.phase(), "collecting");
}

#[test]
fn a_command_that_asks_for_more_waits_for_the_lock_and_starts_again() {
    for command in [import_command(), edit_command()] {
        let mut run = Run::of(command);
        run.find([]).start(FailureClass::Locked).find([running().made_at(-60)]);
        assert!(run.wait() >= secs(1));
        // Whatever the lock was for, it was not for this.
        run.find([]).start(form_required());
        assert_eq!((run.phase(), run.starts()), ("notifying_user", 2));
    }
}

#[test]
fn a_lock_that_stays_is_named_at_the_deadline() {
    let mut run = Run::plain();
    run.find([]).start(FailureClass::Locked).find([]).deadline();
    assert_eq!(run.failure(), (FailureReason::ConnectionLocked, true));
}

#[test]
fn another_kind_of_answer_is_unexpected() {
    let mut run = Run::plain();
    run.find(open_form());
    assert_eq!((run.phase(), run.at().failures), ("locating", 1));
    assert!(run.wait() >= secs(1));
}
