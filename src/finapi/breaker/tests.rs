//! When a host is down, and when it is back.

use std::ops::Range;

use super::*;

const HOST: Host = Host::WebForm;

fn user(number: usize) -> UserId {
    format!("user-{number}").parse().expect("a user's id")
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct World {
    breaker: Breaker,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            breaker: Breaker::new(&Settings::default()),
            now: Instant::now(),
        }
    }

    fn outage(&self) -> Outage {
        *self.breaker.watch().borrow()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.breaker.change(HOST, self.now, |_| ());
    }

    fn admit(&self, number: usize) -> Result<Admitted, Duration> {
        self.breaker.admit(HOST, &user(number), self.now)
    }

    fn end(&self, number: usize, admitted: Admitted, end: CallEnd) -> Verdict {
        self.breaker.on_end(HOST, &user(number), admitted, end, self.now)
    }

    /// A whole call.
    fn call(&self, number: usize, end: CallEnd) -> Verdict {
        let admitted = self.admit(number).expect("it may call");
        self.end(number, admitted, end)
    }

    fn calls(&self, users: Range<usize>, end: CallEnd) {
        for number in users {
            self.call(number, end);
        }
    }

    fn goes_down(&self) {
        self.calls(0..3, CallEnd::Failed);
        assert_eq!(self.outage(), Outage::Lasting);
    }
}

#[tokio::test]
async fn one_users_failures_open_nothing_and_three_users_do() {
    let world = World::new();
    for _ in 0..100 {
        world.calls(1..3, CallEnd::Failed);
    }
    assert_eq!(world.outage(), Outage::None);
    world.call(3, CallEnd::Failed);
    assert_eq!(world.outage(), Outage::Lasting);
    assert_eq!(world.admit(4), Err(secs(2)));
    assert_eq!(
        world.breaker.admit(Host::Access, &user(4), world.now),
        Ok(Admitted::Call)
    );
}

#[tokio::test]
async fn it_opens_by_the_share_of_users_and_not_in_a_row() {
    let world = World::new();
    world.calls(100..125, CallEnd::Answered);
    for _ in 0..20 {
        world.calls(0..12, CallEnd::Failed);
    }
    assert_eq!(world.outage(), Outage::None, "12 of 37");
    world.calls(112..119, CallEnd::Failed);
    assert_eq!(world.outage(), Outage::Lasting, "19 of 37");
}

#[tokio::test]
async fn a_host_that_cannot_be_connected_to_is_down_whoever_calls() {
    let world = World::new();
    world.call(1, CallEnd::NoConnection);
    world.call(1, CallEnd::NoConnection);
    world.call(1, CallEnd::Answered);
    world.call(1, CallEnd::NoConnection);
    world.call(1, CallEnd::NoConnection);
    assert_eq!(world.outage(), Outage::None);
    world.call(1, CallEnd::NoConnection);
    assert_eq!(world.outage(), Outage::Lasting);
}

#[tokio::test]
async fn half_open_lets_three_users_call_once_and_others_first_the_next_time() {
    let mut world = World::new();
    world.goes_down();
    world.pass(secs(2));
    for number in 0..3 {
        let admitted = world.admit(number).expect("a trial");
        assert!(matches!(admitted, Admitted::Trial(_)));
        assert!(world.admit(number).is_err(), "once");
        let verdict = world.end(number, admitted, CallEnd::Failed);
        assert!(verdict.still_down.is_some(), "nobody's failure");
        assert_eq!(world.outage(), Outage::Lasting);
    }
    assert_eq!(world.admit(3), Err(secs(4)), "enough for now");
    world.pass(secs(4));
    assert!(world.admit(0).is_err(), "it called the last time");
    let admitted = world.admit(3).expect("a trial");
    let verdict = world.end(3, admitted, CallEnd::Answered);
    assert_eq!(verdict.still_down, None);
    assert_eq!(world.outage(), Outage::None);
    assert_eq!(world.admit(0), Ok(Admitted::Call));
}

#[tokio::test]
async fn when_all_who_wait_have_had_their_turn_new_commands_come_and_they_may_call_again() {
    let mut world = World::new();
    world.goes_down();
    world.pass(secs(2));
    assert!(world.call(0, CallEnd::Failed).still_down.is_some());
    world.pass(secs(2));
    assert_eq!(world.outage(), Outage::Ending);
    assert!(world.call(0, CallEnd::Failed).still_down.is_some());
    assert!(world.admit(0).is_err(), "once in a round");
    for number in 1..3 {
        assert!(world.call(number, CallEnd::Failed).still_down.is_some());
    }
    assert_eq!(world.outage(), Outage::Lasting);
}

#[tokio::test]
async fn when_nobody_calls_it_closes() {
    let mut world = World::new();
    world.goes_down();
    for outage in [Outage::Lasting, Outage::Ending, Outage::None] {
        world.pass(secs(2));
        world.pass(Duration::ZERO);
        world.pass(secs(2));
        assert!(world.outage() <= outage);
    }
    assert_eq!(world.outage(), Outage::None);
}

#[tokio::test]
async fn a_trial_that_has_not_ended_keeps_its_round_open_and_a_late_one_counts_for_no_other_round() {
    let mut world = World::new();
    world.goes_down();
    world.pass(secs(2));
    let first = world.admit(0).expect("a trial");
    world.pass(secs(20));
    assert_eq!(world.outage(), Outage::Lasting);
    world.pass(secs(41));
    assert_eq!(world.outage(), Outage::Ending);
    let second: Vec<Admitted> = (0..3).map(|number| world.admit(number).expect("a trial")).collect();
    world.end(0, first, CallEnd::Failed);
    world.end(0, second[0], CallEnd::Failed);
    world.end(1, second[1], CallEnd::Failed);
    assert_eq!(world.outage(), Outage::Ending, "one is missing");
    world.end(2, second[2], CallEnd::Failed);
    assert_eq!(world.outage(), Outage::Lasting);
}

#[tokio::test]
async fn few_callers_say_nothing_of_the_host() {
    let mut world = World::new();
    assert!(world.breaker.callers_are_few(HOST, world.now));
    world.calls(0..2, CallEnd::Answered);
    assert!(world.breaker.callers_are_few(HOST, world.now));
    world.call(2, CallEnd::Answered);
    assert!(!world.breaker.callers_are_few(HOST, world.now));
    assert!(world.breaker.callers_are_few(Host::Access, world.now));
    world.pass(secs(601));
    assert!(world.breaker.callers_are_few(HOST, world.now));
}

#[tokio::test(start_paused = true)]
async fn time_passes_also_when_nobody_calls() {
    let world = World::new();
    let watching = async {
        world.goes_down();
        tokio::time::sleep(secs(10)).await;
        assert_eq!(world.outage(), Outage::None);
    };
    tokio::select! {
        () = world.breaker.keep_time() => unreachable!("it never ends"),
        () = watching => {}
    }
}
