//! Settling: finAPI stores what the update brought.

use super::*;

#[test]
fn what_is_not_ready_is_waited_for() {
    let mut run = Run::settling();
    assert_eq!(run.wait(), Duration::ZERO);
    run.connection(unready());
    let first = run.wait();
    for _ in 0..8 {
        run.connection(unready());
        assert!(run.wait() >= secs(1));
    }
    assert!(first >= secs(1) && run.wait() > first);
    run.connection(ready());
    assert_eq!((run.phase(), run.wait()), ("collecting", Duration::ZERO));
}

/// The connection, last updated by a task at a moment.
fn last_updated_at(seconds: Option<i64>) -> Connection {
    let interface = Interface {
        last_manual_update_at: seconds.map(at),
        ..Interface::default()
    };
    Connection {
        interfaces: vec![interface],
        ..ready()
    }
}

#[test]
fn a_connection_that_is_ready_from_before_the_update_is_not_ready() {
    for before in [Some(-60), None] {
        let mut run = Run::settling();
        run.connection(last_updated_at(before));
        assert_eq!(run.phase(), "settling");
        assert!(run.wait() >= secs(1));
        run.connection(unready()).connection(last_updated_at(Some(2)));
        assert_eq!((run.phase(), run.wait()), ("collecting", Duration::ZERO));
    }
}

#[test]
fn what_is_not_seen_to_be_of_the_update_is_waited_for_a_quarter_of_a_minute_only() {
    let mut run = Run::settling();
    let began = run.now;
    while run.phase() == "settling" {
        run.connection(last_updated_at(None));
    }
    let waited = run.now.duration_since(began);
    assert!((15..=20).contains(&waited.as_secs()), "{waited:?}");
    assert!(run.queries.len() <= 12, "{:?}", run.queries);
    let mut run = Run::under(
        Policy {
            limits: Limits {
                settling_quiet: Duration::ZERO,
                ..Limits::default()
            },
            ..Policy::default()
        },
        command(),
    );
    run.find([]).start(completed()).connection(last_updated_at(None));
    assert_eq!(run.phase(), "collecting");
}

#[test]
fn what_is_never_ready_fails_on_finapis_own_word_only() {
    let mut run = Run::settling();
    run.late(secs(3600)).connection(FailureClass::Unavailable);
    assert_eq!(run.phase(), "settling");
    run.connection(unready());
    assert_eq!(run.failure(), (FailureReason::TimedOut, true));
}

#[test]
fn what_is_ready_late_is_as_good() {
    let mut run = Run::settling();
    run.late(secs(3600)).connection(ready());
    assert_eq!(run.phase(), "collecting");
}

#[test]
fn categories_are_waited_for_only_when_asked_to_and_not_for_ever() {
    let uncategorized = || Connection {
        categorized: false,
        ..ready()
    };
    let mut run = Run::settling();
    run.connection(uncategorized());
    assert_eq!(run.phase(), "collecting");
    let mut run = Run::of(RefreshConnection {
        wait_for_categorization: true,
        ..command()
    });
    run.find([]).start(completed()).connection(uncategorized());
    assert_eq!(run.phase(), "settling");
    run.late(secs(1800)).connection(uncategorized());
    assert_eq!(run.phase(), "collecting", "published without them");
}
