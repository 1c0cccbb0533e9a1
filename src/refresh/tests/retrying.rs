//! Transient trouble is waited out; what can't get better fails at once.

use super::*;

const TRANSIENT: [FailureClass; 4] = [
    FailureClass::Unavailable,
    FailureClass::Unexpected,
    FailureClass::Foreign,
    FailureClass::Internal,
];

fn policy(attempts: u32) -> Policy {
    let retry = schedule::Retry {
        attempts,
        ..schedule::Retry::default()
    };
    Policy {
        retry,
        ..Policy::default()
    }
}

/// One refresh in each phase that waits for finAPI, by name.
fn every_phase() -> Vec<Run> {
    vec![
        Run::of(max_age_command(60)),
        Run::plain(),
        Run::updating(),
        Run::awaiting(),
        Run::settling(),
        Run::collecting(),
    ]
}

#[test]
fn trouble_waits_in_the_same_phase_longer_and_longer() {
    for failure in TRANSIENT {
        for mut run in every_phase() {
            let (phase, query) = (run.phase(), run.at().query());
            run.jitter = 0.999;
            let mut waits = Vec::new();
            for number in 1..12 {
                run.respond(failure);
                waits.push(run.wait());
                assert_eq!(
                    (run.phase(), run.at().query(), run.at().failures),
                    (phase, query.clone(), number)
                );
            }
            assert!(waits.is_sorted(), "{waits:?}");
            assert!(
                waits[0] < secs(2) && (secs(59)..=secs(60)).contains(&waits[10]),
                "{waits:?}"
            );
        }
    }
}

#[test]
fn trouble_ends_the_refresh_after_so_many_failures_in_a_row() {
    let reasons = [
        (FailureClass::Unavailable, FailureReason::FinapiUnavailable),
        (FailureClass::Unexpected, FailureReason::UnexpectedResponse),
        (FailureClass::Foreign, FailureReason::FinapiUnavailable),
        (FailureClass::Internal, FailureReason::Internal),
    ];
    for (failure, reason) in reasons {
        let mut run = Run::under(policy(3), command());
        run.find(failure).find(failure).find(failure);
        assert_eq!(run.failure(), (reason, true));
    }
}

#[test]
fn a_good_answer_ends_the_row() {
    let mut run = Run::under(policy(3), command());
    run.find([]).start(running());
    for _ in 0..5 {
        run.poll(FailureClass::Unavailable)
            .poll(FailureClass::Unavailable)
            .poll(running());
        assert_eq!(run.at().failures, 0);
    }
}

#[test]
fn a_start_that_always_fails_is_made_less_and_less_often_and_not_for_ever() {
    let mut run = Run::plain();
    run.jitter = 0.999;
    run.find([]);
    let mut waits = Vec::new();
    for _ in 1..run.policy.retry.attempts {
        run.start(FailureClass::Unavailable);
        waits.push(run.wait());
        run.find_until_it_starts();
    }
    assert!(waits.is_sorted() && waits[10] > secs(50), "{waits:?}");
    run.start(FailureClass::Unavailable);
    assert_eq!(run.failure(), (FailureReason::FinapiUnavailable, true));
}

#[test]
fn reading_that_always_fails_ends_also_where_each_wait_is_parked() {
    let mut run = Run::collecting();
    for number in 1..run.policy.retry.attempts {
        run.collect(FailureClass::Unavailable);
        assert_eq!(run.at().failures, number);
        run.taken_up();
    }
    run.collect(FailureClass::Unavailable);
    assert_eq!(run.failure(), (FailureReason::FinapiUnavailable, true));
}

/// Whoever takes it up from a checkpoint reads the connection first, or before the accounts, and that succeeds.
#[test]
fn a_page_or_the_accounts_that_always_fail_end_the_refresh_although_the_connection_is_read_between() {
    let mut first_page = Run::collecting();
    let attempts = first_page.policy.retry.attempts;
    let mut end = Run::collecting();
    let Ok(Response::Collected(mut all)) = collected(3).said() else {
        panic!("collected")
    };
    all.page.as_mut().expect("a page").is_last = false;
    end.collect(all).taken_up();
    end.collect(Collected {
        page: Some(Page {
            is_last: true,
            ..Page::default()
        }),
        ..Collected::default()
    });
    end.connection(ready());
    for run in [&mut first_page, &mut end] {
        for _ in 1..attempts {
            run.collect(FailureClass::Unexpected).taken_up();
            run.connection(ready());
        }
        run.collect(FailureClass::Unexpected);
        assert!(matches!(run.failure(), (_, true)));
    }
}

#[test]
fn retry_after_is_obeyed_and_costs_no_attempt() {
    for mut run in every_phase() {
        for _ in 0..50 {
            run.respond(FailureClass::RateLimited(Some(secs(30))));
            assert!((secs(30)..=secs(36)).contains(&run.wait()), "{:?}", run.wait());
        }
        run.respond(FailureClass::Unavailable);
        assert!(run.refresh.is_some(), "one failure after many rate limits");
    }
}

#[test]
fn without_retry_after_the_wait_grows() {
    for mut run in every_phase() {
        run.jitter = 0.999;
        let mut waits = Vec::new();
        for _ in 0..20 {
            run.respond(FailureClass::RateLimited(None));
            waits.push(run.wait());
        }
        assert!(
            waits.is_sorted() && waits[0] < secs(2) && waits[19] > secs(50),
            "{waits:?}"
        );
    }
}

#[test]
fn a_short_retry_after_never_brings_a_call_sooner_than_none() {
    let [zero, second, without] = [Some(Duration::ZERO), Some(secs(1)), None].map(|after| {
        let mut run = Run::updating();
        run.jitter = 0.999;
        let mut wait = || {
            run.poll(FailureClass::RateLimited(after));
            run.wait()
        };
        std::array::from_fn::<Duration, 20, _>(|_| wait())
    });
    for waits in [zero, second] {
        assert!(
            waits.iter().zip(without).all(|(wait, without)| *wait >= without),
            "{waits:?}"
        );
    }
    let mut run = Run::updating();
    run.jitter = 0.0;
    run.poll(FailureClass::RateLimited(Some(Duration::ZERO)));
    assert!(run.wait() >= secs(1), "{:?}", run.wait());
}

#[test]
fn a_fresh_token_is_dead_when_finapi_has_said_so_three_times_in_a_row() {
    for mut run in every_phase() {
        for other in [FailureClass::Unavailable, FailureClass::Foreign] {
            run.respond(FailureClass::TokenRefused)
                .respond(FailureClass::TokenRefused)
                .respond(other);
        }
        assert!(run.wait() >= secs(1));
        run.respond(FailureClass::TokenRefused)
            .respond(FailureClass::NotSent(secs(7)));
        run.respond(FailureClass::TokenRefused)
            .respond(FailureClass::TokenRefused);
        assert_eq!(run.failure(), (FailureReason::UserUnauthorized, false));
    }
}

#[test]
fn what_is_locked_is_waited_for() {
    for mut run in every_phase() {
        for _ in 0..50 {
            run.respond(FailureClass::Locked);
            assert!(run.wait() >= secs(1));
        }
        run.deadline();
        assert!(run.failure().1);
    }
}

#[test]
fn while_finapi_is_down_nothing_is_counted() {
    for mut run in every_phase() {
        for _ in 0..100 {
            run.respond(FailureClass::NotSent(secs(7)));
            let wait = run.wait();
            assert!((secs(7)..secs(8)).contains(&wait), "{wait:?}");
            assert_eq!(run.at().failures, 0);
        }
    }
}

#[test]
fn while_few_users_call_a_host_its_trouble_is_waited_for_and_it_is_asked_less_and_less_often() {
    for mut run in every_phase() {
        let (attempts, hour) = (run.policy.retry.attempts, later(run.now, secs(3600)));
        let mut calls = 0;
        while run.now < hour {
            run.respond(FailureClass::MaybeDown);
            calls += 1;
            assert!(run.wait() <= secs(330));
            assert!(run.at().failures <= attempts / 2);
        }
        assert!((12..40).contains(&calls), "{calls} calls in an hour");
    }
}

#[test]
fn a_background_command_waits_for_long_and_an_interactive_one_for_a_quarter_of_an_hour() {
    let fails_until = |interactive: bool| {
        let mut run = Run::plain();
        run.refresh.as_mut().expect("it is under way").envelope.interactive = interactive;
        let deadline = later(at(0), run.policy.limits.refresh);
        while run.refresh.as_ref().is_some_and(|refresh| refresh.due_at < deadline) {
            run.find(FailureClass::MaybeDown);
        }
        if run.refresh.is_some() {
            run.deadline();
        }
        assert_eq!(run.failure(), (FailureReason::FinapiUnavailable, true));
        run.now
    };
    assert_eq!(fails_until(false), at(24 * 3600));
    let interactive = fails_until(true);
    assert!((at(15 * 60)..at(20 * 60)).contains(&interactive), "{interactive}");
}

#[test]
fn a_start_that_was_not_made_is_searched_for_all_the_same() {
    let mut run = Run::plain();
    run.find([])
        .start(FailureClass::NotSent(secs(7)))
        .find([])
        .start(running());
    assert_eq!(run.phase(), "updating");
}

#[test]
fn what_cannot_get_better_fails_at_once() {
    let reasons = [
        (FailureClass::Rejected, FailureReason::RequestRejected),
        (FailureClass::NotFound, FailureReason::NotFound),
        (FailureClass::NotSupported, FailureReason::NotSupported),
        (FailureClass::UserUnauthorized, FailureReason::UserUnauthorized),
        (FailureClass::UserLocked, FailureReason::UserLocked),
        (FailureClass::ClientUnauthorized, FailureReason::ClientUnauthorized),
    ];
    for (class, reason) in reasons {
        let mut starting = Run::plain();
        starting.find([]);
        for mut run in every_phase().into_iter().chain([starting]) {
            // A web form or a task that was just made may only not be to be seen yet.
            if class == FailureClass::NotFound && ["updating", "awaiting_user"].contains(&run.phase()) {
                continue;
            }
            let refused = matches!(class, FailureClass::Rejected | FailureClass::NotFound);
            let may_be_an_account = refused && run.phase() == "collecting";
            run.respond(class);
            if may_be_an_account {
                // The accounts are asked for once more, alone.
                run.respond(class);
            }
            assert_eq!(run.failure(), (reason, false));
        }
    }
}

#[test]
fn a_failure_names_finapis_code_and_request_id() {
    let mut run = Run::plain();
    run.find([]).start(Failure {
        class: FailureClass::NotSupported,
        code: Some("BANK_NOT_SUPPORTED".into()),
        message: "POST answered 422".into(),
        request_id: Some("request-1".into()),
    });
    let event = run.failed();
    assert_eq!(event.finapi_code, "BANK_NOT_SUPPORTED");
    assert_eq!(
        (event.message.as_str(), event.finapi_request_id.as_str()),
        ("POST answered 422", "request-1")
    );
}

#[test]
fn no_wait_goes_beyond_the_deadline() {
    for mut run in every_phase() {
        let deadline = later(at(0), run.policy.limits.refresh);
        run.late(secs(3600));
        run.respond(FailureClass::RateLimited(Some(secs(24 * 3600))));
        assert_eq!(run.at().due_at, deadline);
        run.deadline();
        assert!(run.failure().1);
    }
}

#[test]
fn at_the_deadline_finapis_trouble_is_named() {
    let mut run = Run::updating();
    run.poll(FailureClass::Unavailable).deadline();
    assert_eq!(run.failure(), (FailureReason::FinapiUnavailable, true));
    let mut run = Run::updating();
    run.deadline();
    assert_eq!(run.failure(), (FailureReason::TimedOut, true));
}

#[test]
fn before_the_deadline_nothing_is_overdue() {
    let run = Run::updating();
    let deadline = later(at(0), run.policy.limits.refresh);
    let before = deadline - SignedDuration::from_nanos(1);
    assert_eq!(run.at().failed(before, &run.policy), None);
    assert!(run.at().failed(deadline, &run.policy).is_some());
}

#[test]
fn no_settings_bring_polls_within_a_second() {
    let hasty = Policy {
        polling: schedule::Polling {
            learn: false,
            initial: millis(1),
            factor: 10.0,
            max: millis(5),
            web_form_max: millis(5),
            locked_max: millis(5),
        },
        retry: schedule::Retry {
            initial: millis(1),
            max: millis(1),
            attempts: u32::MAX,
        },
        ..Policy::default()
    };
    let mut run = Run::under(hasty, command());
    run.jitter = 0.0;
    run.find([]).start(running());
    for _ in 0..200 {
        run.poll(running()).poll(FailureClass::Unavailable);
    }
}
