use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::proto::{
    CancelRefresh, PauseRefreshes, PauseTarget, RefreshConnection, ResumeRefreshes, from_timestamp, pause_target,
};
use crate::refresh::{Asked, Command, Envelope, Policy};

const MINUTE: i64 = 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_438_400 + seconds).expect("a time")
}

fn refresh(user: &str, interactive: bool) -> Refresh {
    let command = RefreshConnection {
        command_id: uuid::Uuid::nil().to_string(),
        user_id: user.into(),
        bank_connection_id: 7,
        ..RefreshConnection::default()
    };
    let envelope = Envelope {
        interactive,
        ..Envelope::default()
    };
    Refresh::new(Command::parse(command).expect("a command"), at(0), envelope, at(0))
}

fn pause(target: Target, since: i64, until: Option<i64>) -> Order {
    Order::Pause(Pause {
        target,
        since: at(since),
        until: until.map(at),
        by: "anna@desk".into(),
        reason: String::new(),
    })
}

fn orders(all: impl IntoIterator<Item = Order>) -> Orders {
    let mut orders = Orders::default();
    for order in all {
        assert!(orders.follow(order, at(0)));
    }
    orders
}

fn user(id: &str) -> Target {
    Target::User(id.parse().expect("a user"))
}

#[test]
fn a_pause_stops_what_it_names_and_nothing_else() {
    let targets = [
        Target::Everything,
        Target::Lane { interactive: false },
        Target::Bank(5.into()),
        user("anna"),
    ];
    let stopped = |target: &Target, refresh: &Refresh, bank: Option<i64>| {
        let orders = orders([pause(target.clone(), 0, None)]);
        orders.stop(refresh, bank.map(Into::into), at(1), 0.0).is_some()
    };
    let of = |refresh: &Refresh, bank| targets.each_ref().map(|target| stopped(target, refresh, bank));
    assert_eq!(of(&refresh("anna", false), Some(5)), [true, true, true, true]);
    assert_eq!(of(&refresh("bob", true), Some(6)), [true, false, false, false]);
    assert_eq!(of(&refresh("bob", false), None), [true, true, false, false]);
    let lanes = |target: &Target| {
        let orders = orders([pause(target.clone(), 0, None)]);
        [true, false].map(|interactive| orders.stop_lane(interactive, at(1)))
    };
    assert_eq!(
        targets.each_ref().map(lanes),
        [[true, true], [false, true], [false, false], [false, false]]
    );
}

#[test]
fn a_pause_ends_when_it_is_resumed_or_by_itself_and_the_newest_order_counts() {
    let is_stopped = |all: Vec<Order>, now: i64| {
        let orders = orders(all);
        orders.stop(&refresh("anna", true), None, at(now), 0.0).is_some()
    };
    let resume = |at_second| Order::Resume {
        target: Target::Everything,
        at: at(at_second),
    };
    let everything = |since, until| pause(Target::Everything, since, until);
    assert!(!is_stopped(vec![everything(0, None), resume(10)], 11));
    assert!(is_stopped(
        vec![everything(0, None), resume(10), everything(20, None)],
        21
    ));
    assert!(is_stopped(vec![everything(0, Some(10))], 9));
    assert!(!is_stopped(vec![everything(0, Some(10))], 10));
    // A shorter pause takes the place of a longer one.
    assert!(!is_stopped(vec![everything(0, None), everything(5, Some(10))], 10));
    // The pause of a user is another one.
    assert!(is_stopped(vec![pause(user("anna"), 0, None), resume(10)], 11));
    let month = i64::try_from(PAUSE_MAX.as_secs()).expect("seconds");
    assert!(is_stopped(vec![everything(0, None)], month - 1) && !is_stopped(vec![everything(0, None)], month));
}

#[test]
fn paused_time_is_counted_once_and_makes_nobody_older() {
    let refresh = refresh("anna", true);
    let orders = orders([
        pause(Target::Everything, -100, None),
        pause(user("anna"), 10, Some(30)),
        Order::Resume {
            target: Target::Everything,
            at: at(20),
        },
        pause(user("bob"), 0, None),
        pause(Target::Bank(5.into()), 50, Some(60)),
    ]);
    let paused_for = |bank: Option<i64>, now| orders.paused_for(&refresh, bank.map(Into::into), at(now)).as_secs();
    assert_eq!(
        [paused_for(None, 15), paused_for(None, 25), paused_for(None, 100)],
        [15, 25, 30]
    );
    assert_eq!([paused_for(Some(5), 55), paused_for(Some(5), 100)], [35, 40]);

    let policy = Policy::default();
    let mut late = refresh;
    let deadline = at(i64::try_from(policy.limits.refresh.as_secs()).expect("seconds"));
    assert!(late.failed(deadline, &policy).is_some());
    late.was_paused(Duration::from_secs(40));
    assert!(late.failed(deadline, &policy).is_none());
    assert!(
        late.failed(crate::refresh::later(deadline, Duration::from_secs(40)), &policy)
            .is_some()
    );
}

#[test]
fn what_is_paused_waits_longer_and_longer_but_not_beyond_the_pause() {
    let waits = |now: i64, until| {
        let orders = orders([pause(Target::Everything, 0, until)]);
        let wait = orders
            .stop(&refresh("anna", true), None, at(now), 0.0)
            .expect("it is paused");
        wait.wait.as_secs()
    };
    assert_eq!(
        [waits(0, None), waits(MINUTE, None), waits(60 * MINUTE, None)],
        [5, 15, 300]
    );
    assert_eq!(waits(60 * MINUTE, Some(60 * MINUTE + 7)), 7);
}

#[test]
fn what_may_have_a_task_is_not_paused() {
    let mut refresh = refresh("anna", true);
    assert!(!refresh.may_have_begun());
    refresh.may_have_started(at(1), at(2));
    assert!(refresh.may_have_begun());
    assert_eq!(
        match refresh.phase {
            Phase::Locating { asked, .. } => asked,
            _ => None,
        },
        Some(Asked {
            first: at(1),
            last: at(2)
        })
    );
}

#[test]
fn a_refresh_that_waits_for_a_pause_looks_for_its_task_again_and_does_not_count_the_wait() {
    let mut refresh = refresh("anna", true);
    refresh.phase = Phase::Locating {
        lookup: Lookup::Start,
        locked: false,
        asked: None,
    };
    let (paused_for, wait) = (Duration::from_secs(100), Duration::from_secs(25));
    refresh.pause(PauseWait { paused_for, wait }, at(100));
    assert_eq!((refresh.due_at, refresh.paused_for), (at(125), paused_for + wait));
    assert!(matches!(
        refresh.phase,
        Phase::Locating {
            lookup: Lookup::Find,
            ..
        }
    ));
    refresh.ask_for_bank();
    assert_eq!(refresh.query(), crate::refresh::query::Query::Connection);
}

#[test]
fn a_target_is_named_with_the_user_only_for_those_who_read_orders() {
    assert_eq!(user("anna").named(), "user anna");
    assert_eq!(user("anna").to_string(), "a user");
    assert_eq!(Target::Bank(5.into()).named(), "bank 5");
}

#[test]
fn a_pause_is_given_as_it_was_read() {
    let Order::Pause(pause) = pause(user("anna"), 3, Some(9)) else {
        unreachable!("a pause")
    };
    let given = PauseRefreshes::from(pause.clone());
    assert_eq!(Order::pause(given, at(3)), Ok(Order::Pause(pause)));
}

#[test]
fn an_order_has_the_form_that_the_contract_says() {
    let now = at(0);
    let good = PauseRefreshes {
        target: Some(Target::Everything.into()),
        paused_at: Some(from_timestamp(now)),
        until: Some(from_timestamp(at(60))),
        by: "anna@desk".into(),
        reason: "the bank is out of order".into(),
    };
    let parsed = |change: fn(&mut PauseRefreshes)| {
        let mut order = good.clone();
        change(&mut order);
        Order::pause(order, now).map(|_| ()).map_err(|invalid| invalid.field)
    };
    fn target(target: pause_target::Target) -> Option<PauseTarget> {
        Some(PauseTarget { target: Some(target) })
    }
    assert_eq!(parsed(|_| {}), Ok(()));
    assert_eq!(parsed(|it| it.target = target(pause_target::Target::BankId(5))), Ok(()));
    assert_eq!(parsed(|it| it.until = None), Ok(()));
    for wrong in [
        (|it| it.target = None) as fn(&mut PauseRefreshes),
        |it| it.target = target(pause_target::Target::Everything(false)),
        |it| it.target = target(pause_target::Target::Lane(0)),
        |it| it.target = target(pause_target::Target::Lane(99)),
        |it| it.target = target(pause_target::Target::BankId(0)),
        |it| it.target = target(pause_target::Target::UserId(String::new())),
        |it| it.target = target(pause_target::Target::UserId("x".repeat(37))),
    ] {
        assert_eq!(parsed(wrong), Err("target"));
    }
    assert_eq!(parsed(|it| it.paused_at = None), Err("paused_at"));
    assert_eq!(
        parsed(|it| it.paused_at = Some(from_timestamp(at(49 * 3600)))),
        Err("paused_at")
    );
    assert_eq!(parsed(|it| it.until = it.paused_at), Err("until"));
    assert_eq!(
        parsed(|it| it.until = Some(from_timestamp(at(31 * 24 * 3600)))),
        Err("until")
    );
    assert_eq!(parsed(|it| it.by.clear()), Err("by"));
    assert_eq!(parsed(|it| it.by = "\u{1b}[2J".into()), Err("by"));
    assert_eq!(parsed(|it| it.by = "x".repeat(101)), Err("by"));
    assert_eq!(parsed(|it| it.reason = "x".repeat(201)), Err("reason"));
    let resume = ResumeRefreshes {
        target: good.target.clone(),
        resumed_at: None,
        by: good.by.clone(),
    };
    assert_eq!(
        Order::resume(resume, now).map_err(|invalid| invalid.field),
        Err("resumed_at")
    );
}

#[test]
fn there_is_an_end_to_pauses_at_a_time() {
    let mut orders = Orders::default();
    for id in 0..pauses::PAUSES_MAX {
        assert!(orders.follow(pause(user(&id.to_string()), 0, None), at(0)));
    }
    assert!(!orders.follow(pause(user("one more"), 0, None), at(0)));
    assert!(
        orders.follow(pause(user("1"), 5, None), at(5)),
        "it takes the place of another one"
    );
    orders.on_time(at(40 * 24 * 3600));
    assert!(orders.follow(pause(user("one more"), 40 * 24 * 3600, None), at(40 * 24 * 3600)));
}

#[test]
fn pauses_that_are_over_make_room_for_one_more_and_still_count_as_waits() {
    let mut orders = Orders::default();
    orders.follow(pause(user("anna"), 0, Some(60)), at(0));
    for id in 1..pauses::PAUSES_MAX {
        orders.follow(pause(user(&id.to_string()), 0, None), at(0));
    }
    // A worker that starts reads it later, together with all others.
    assert!(!orders.follow(pause(Target::Everything, 70, Some(100)), at(59)));
    assert!(orders.follow(pause(Target::Everything, 70, Some(100)), at(80)));
    let refresh = refresh("anna", true);
    assert_eq!(orders.paused_for(&refresh, None, at(80)).as_secs(), 60 + 10);
}

#[test]
fn pauses_are_forgotten_31_days_after_their_end_and_those_in_force_are_not() {
    let day = 24 * 3600;
    let refresh = refresh("anna", true);
    let mut orders = orders([pause(user("anna"), 10, Some(20)), pause(user("bob"), 0, Some(20 * day))]);
    assert!(orders.knows_pauses() && !Orders::default().knows_pauses());
    orders.on_time(at(20));
    let mut paused_for = |now| {
        orders.forget(at(now), Duration::ZERO);
        orders.paused_for(&refresh, None, at(now)).as_secs()
    };
    assert_eq!([paused_for(20 + 31 * day), paused_for(21 + 31 * day)], [10, 0]);
    assert!(orders.knows_pauses(), "Bob's");
    orders.on_time(at(32 * day));
    orders.forget(at(52 * day), Duration::ZERO);
    assert!(!orders.knows_pauses());
}

#[test]
fn a_cancellation_given_before_the_command_was_sent_does_not_end_it_and_the_latest_one_counts() {
    let refresh = refresh("anna", true);
    let id = refresh.command.refresh_id().clone();
    let anna = || Whose::User("anna".parse().expect("a user"));
    let since = |all: Vec<Order>| orders(all).cancel(&refresh);
    assert_eq!(
        since(vec![cancelled(anna(), -1), cancelled(Whose::Refresh(id.clone()), -1)]),
        None
    );
    assert_eq!(
        since(vec![cancelled(anna(), -1), cancelled(Whose::Refresh(id.clone()), 3)]),
        Some(at(3))
    );
    assert_eq!(
        since(vec![cancelled(anna(), 5), cancelled(Whose::Refresh(id), 3)]),
        Some(at(5))
    );
}

#[test]
fn a_cancellation_that_is_dated_ahead_is_known_since_it_was_read() {
    let order = |requested_at: i64| CancelRefresh {
        user_id: "anna".into(),
        requested_at: Some(from_timestamp(at(requested_at))),
        ..CancelRefresh::default()
    };
    let refresh = refresh("anna", true);
    let since = |requested_at| {
        let order = Order::cancel(order(requested_at), at(10)).expect("an order");
        orders([order]).cancel(&refresh)
    };
    assert_eq!(since(48 * 3600), Some(at(10)));
    assert_eq!(since(3), Some(at(3)));
}

fn cancelled(whose: Whose, until: i64) -> Order {
    Order::Cancel(Cancel {
        whose,
        requested_at: at(until),
        since: at(until),
    })
}

#[test]
fn a_cancellation_is_about_what_it_names_and_what_was_sent_until_then() {
    let refresh = refresh("anna", true);
    let id = refresh.command.refresh_id().clone();
    let other = RefreshId {
        connection_id: 8.into(),
        ..id.clone()
    };
    let is_cancelled = |whose, until| orders([cancelled(whose, until)]).cancel(&refresh).is_some();
    let anna = || Whose::User("anna".parse().expect("a user"));
    assert!(is_cancelled(Whose::Refresh(id.clone()), 0) && is_cancelled(anna(), 5));
    assert!(!is_cancelled(Whose::Refresh(id), -1) && !is_cancelled(anna(), -1));
    assert!(!is_cancelled(Whose::Refresh(other), 5));
    assert!(!is_cancelled(Whose::User("bob".parse().expect("a user")), 5));
    // An older one that comes later takes nothing back.
    assert!(
        orders([cancelled(anna(), 5), cancelled(anna(), -9)])
            .cancel(&refresh)
            .is_some()
    );
}

#[test]
fn what_has_published_a_part_or_failed_already_is_not_cancelled() {
    let mut refused = refresh("anna", true);
    refused.refusals = 1;
    let mut failing = refresh("anna", true);
    failing.phase = Phase::Failing {
        task: None,
        part: 1,
        details: FailureDetails::of(FailureReason::TimedOut, "", true),
    };
    for refresh in [refused, failing] {
        assert!(!refresh.may_be_cancelled());
        assert_eq!(
            orders([cancelled(Whose::User("anna".parse().expect("a user")), 5)]).cancel(&refresh),
            None
        );
    }
}

#[test]
fn a_cancellation_is_forgotten_when_no_refresh_of_it_can_go_on_however_long_it_was_paused() {
    let refresh_max = Duration::from_secs(7200);
    let cancel = || cancelled(Whose::User("anna".parse().expect("a user")), 0);
    let is_known = |all: Vec<Order>, now| {
        let mut orders = orders(all);
        orders.forget(at(now), refresh_max);
        orders.cancel(&refresh("anna", true)).is_some()
    };
    assert!(is_known(vec![cancel()], 7200) && !is_known(vec![cancel()], 7201));
    let paused = || pause(Target::Lane { interactive: false }, 100, Some(1100));
    assert!(is_known(vec![cancel(), paused()], 8200) && !is_known(vec![cancel(), paused()], 8201));
}

#[test]
fn a_cancellation_has_the_form_that_the_contract_says() {
    let good = CancelRefresh {
        user_id: "anna".into(),
        command_id: uuid::Uuid::nil().to_string(),
        bank_connection_id: 7,
        requested_at: Some(from_timestamp(at(0))),
        by: String::new(),
    };
    let parsed = |change: fn(&mut CancelRefresh)| {
        let mut order = good.clone();
        change(&mut order);
        Order::cancel(order, at(0)).map(|_| ()).map_err(|invalid| invalid.field)
    };
    assert_eq!(parsed(|_| {}), Ok(()));
    assert_eq!(
        parsed(|it| (it.command_id, it.bank_connection_id) = Default::default()),
        Ok(())
    );
    assert_eq!(parsed(|it| it.command_id.clear()), Err("command_id"));
    assert_eq!(parsed(|it| it.command_id = "{}".into()), Err("command_id"));
    assert_eq!(parsed(|it| it.bank_connection_id = 0), Err("bank_connection_id"));
    assert_eq!(parsed(|it| it.bank_connection_id = -1), Err("bank_connection_id"));
    assert_eq!(parsed(|it| it.user_id.clear()), Err("user_id"));
    assert_eq!(parsed(|it| it.requested_at = None), Err("requested_at"));
    assert_eq!(parsed(|it| it.by = "\n".into()), Err("by"));
}

/// Whoever publishes it again because no confirm came may have it come after its end.
#[test]
fn a_pause_that_comes_twice_is_the_same_pause_also_after_its_end() {
    let resume = || Order::Resume {
        target: user("anna"),
        at: at(20),
    };
    let first = || pause(user("anna"), 10, None);
    let twice = orders([first(), resume(), first()]);
    assert_eq!(twice.pauses(at(30)).count(), 0, "it is over");
    let replaced = orders([first(), pause(user("anna"), 15, None), first()]);
    let current: Vec<Timestamp> = replaced.pauses(at(30)).map(|pause| pause.since).collect();
    assert_eq!(current, [at(15)], "the later one counts");
    let again = orders([first(), first(), resume(), pause(user("anna"), 25, None)]);
    assert_eq!(again.pauses(at(30)).count(), 1, "this is another one");
}

#[test]
fn a_resume_that_comes_twice_ends_no_later_pause() {
    let resume = |second| Order::Resume {
        target: user("anna"),
        at: at(second),
    };
    let pause = |second| pause(user("anna"), second, None);
    let copied = orders([pause(10), resume(20), pause(25), resume(20)]);
    assert_eq!(copied.pauses(at(30)).count(), 1, "it ended the first one");
    // The clock of whoever resumes may be behind.
    for second in [19, 26] {
        let another = orders([pause(10), resume(20), pause(25), resume(second)]);
        assert_eq!(another.pauses(at(30)).count(), 0, "this is another one");
    }
}
