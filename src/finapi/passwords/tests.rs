//! Workers that speak of one password, in random orders, with messages that are late or lost and workers that end.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use secrecy::SecretString;
use tokio::time::Instant;

use super::hash::{Hashed, Keys};
use super::memory::LEFT_ALONE_FOR;
use super::message::{Judgement, Message, Says};
use super::protocol::{Advice, PATIENCE, Protocol, SendEnd};

const MOMENT: Duration = Duration::from_millis(100);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn hashed(password: &str) -> Hashed {
    let keys = Keys::new(&"secret".parse().expect("a secret"), None);
    keys.hash(&"anna".parse().expect("a user's id"), &SecretString::from(password))
}

fn protocol(number: u64) -> Protocol {
    let mut protocol = Protocol::new(MOMENT);
    protocol.set_number(number);
    protocol
}

/// What happens to a worker.
enum Happens {
    /// It needs the password, or it is time to ask again.
    Asks,
    /// Its announcement is published.
    Announced,
    Message(Message),
    /// finAPI has answered it.
    Answered,
    Dies,
}

/// What finAPI says, and what may go wrong on the way.
#[derive(Clone, Copy)]
struct Conditions {
    answer: SendEnd,
    /// The longest that a message takes, and a call of finAPI.
    message_max: Duration,
    call_max: Duration,
    /// One message of so many is lost; 0: none.
    loses_one_of: u64,
    /// So many workers die at some time.
    deaths: usize,
}

impl Conditions {
    fn new(answer: SendEnd) -> Self {
        Self {
            answer,
            // One and its answer come within the moment.
            message_max: MOMENT / 2 - ms(1),
            call_max: ms(5000),
            loses_one_of: 0,
            deaths: 0,
        }
    }
}

struct Worker {
    protocol: Protocol,
    alive: bool,
    begun: bool,
    ended: bool,
    sending: bool,
    /// How it ended.
    end: Option<Advice>,
}

/// How a history went.
#[derive(Debug, Default)]
struct Sent {
    sends: usize,
    /// The most at once.
    at_once: usize,
    messages: usize,
    took: Duration,
}

/// Lets workers try one password, until each has an end.
fn play(seed: u64, conditions: Conditions) -> Sent {
    let mut rng = Rng::with_seed(seed);
    let (password, start) = (hashed("p"), Instant::now());
    let count = rng.usize(2..=6);
    let mut workers: Vec<Worker> = (0..count)
        .map(|_| Worker {
            protocol: protocol(rng.u64(..)),
            alive: true,
            begun: false,
            ended: false,
            sending: false,
            end: None,
        })
        .collect();
    let mut events: BTreeMap<(Duration, usize), (usize, Happens)> = BTreeMap::new();
    let mut number = 0;
    let mut add = |events: &mut BTreeMap<_, _>, at: Duration, worker: usize, happens: Happens| {
        number += 1;
        events.insert((at, number), (worker, happens));
    };
    // At once, close together, or far apart.
    let spread = *rng.choice(&[0, 20, 150, 3000]).expect("a spread");
    for worker in 0..count {
        add(&mut events, ms(rng.u64(0..=spread)), worker, Happens::Asks);
    }
    for _ in 0..conditions.deaths.min(count - 1) {
        add(&mut events, ms(rng.u64(0..4000)), rng.usize(..count), Happens::Dies);
    }
    let mut sent = Sent::default();
    while let Some(((at, _), (index, happens))) = events.pop_first() {
        assert!(at < Duration::from_secs(120), "seed {seed}: no end");
        let now = start + at;
        let me = &mut workers[index];
        if !me.alive || me.end.is_some() && !matches!(happens, Happens::Message(_)) {
            continue;
        }
        let mut says = Vec::new();
        match happens {
            Happens::Asks => me.begun = true,
            Happens::Announced => me.protocol.on_announced(&password, true, now),
            Happens::Message(message) => says = me.protocol.on_message(message, now),
            Happens::Answered => {
                me.sending = false;
                says = me.protocol.on_end(&password, conditions.answer, now);
                me.end = Some(Advice::Send);
            }
            Happens::Dies => {
                (me.alive, me.sending) = (false, false);
                continue;
            }
        }
        if me.begun && me.end.is_none() && !me.sending {
            match me.protocol.advise(&password, now) {
                Advice::Send => {
                    me.sending = true;
                    sent.sends += 1;
                    let takes = ms(rng.u64(1..=conditions.call_max.as_millis() as u64));
                    add(&mut events, at + takes, index, Happens::Answered);
                }
                refused @ Advice::Refused(_) => me.end = Some(refused),
                Advice::Announce(messages) => {
                    says.extend(messages);
                    add(&mut events, at, index, Happens::Announced);
                }
                Advice::Wait(until) => add(&mut events, until - start, index, Happens::Asks),
            }
        }
        if me.end.is_some() && !me.ended {
            me.ended = true;
            sent.took = at;
        }
        sent.at_once = sent.at_once.max(workers.iter().filter(|worker| worker.sending).count());
        for message in says {
            sent.messages += 1;
            for other in 0..count {
                let is_lost = conditions.loses_one_of > 0 && rng.u64(0..conditions.loses_one_of) == 0;
                // A worker hears itself, too.
                if !is_lost {
                    let takes = ms(rng.u64(0..=conditions.message_max.as_millis() as u64));
                    add(&mut events, at + takes, other, Happens::Message(message));
                }
            }
        }
    }
    for worker in &workers {
        assert!(
            worker.end.is_some() || !worker.alive,
            "seed {seed}: one worker waits for ever"
        );
    }
    sent
}

/// Many histories, and whether there were long and short ones.
fn play_all(conditions: Conditions, check: impl Fn(u64, &Sent)) {
    for seed in 0..1000 {
        check(seed, &play(seed, conditions));
    }
}

#[test]
fn a_wrong_password_is_sent_once_whoever_needs_it_when() {
    play_all(Conditions::new(SendEnd::Judged(Judgement::Wrong)), |seed, sent| {
        assert_eq!(sent.sends, 1, "seed {seed}: {sent:?}");
        assert!(sent.messages < 100, "seed {seed}: {sent:?}");
    });
}

#[test]
fn a_right_password_is_sent_by_all_once_one_has_had_it_granted() {
    let quick = Conditions {
        call_max: ms(1),
        ..Conditions::new(SendEnd::Judged(Judgement::Granted))
    };
    play_all(quick, |seed, sent| {
        assert!(sent.took < ms(3500), "seed {seed}: {sent:?}");
    });
}

#[test]
fn while_nothing_is_known_one_worker_sends_at_a_time() {
    play_all(Conditions::new(SendEnd::Nothing), |seed, sent| {
        assert_eq!(sent.at_once, 1, "seed {seed}: {sent:?}");
    });
}

#[test]
fn what_a_gateway_refuses_is_sent_twice() {
    play_all(Conditions::new(SendEnd::Foreign), |seed, sent| {
        assert!(sent.sends <= 2, "seed {seed}: {sent:?}");
    });
}

#[test]
fn a_worker_that_dies_costs_one_more_and_nobody_waits_for_it_for_ever() {
    let mortal = Conditions {
        deaths: 2,
        ..Conditions::new(SendEnd::Judged(Judgement::Wrong))
    };
    play_all(mortal, |seed, sent| {
        assert!(sent.sends <= 3, "seed {seed}: {sent:?}");
    });
}

#[test]
fn messages_that_are_lost_or_late_cost_more_and_hold_up_nobody() {
    for (message_max, loses_one_of) in [(MOMENT / 2, 3), (ms(2000), 0), (ms(10_000), 2), (MOMENT, 1)] {
        let poor = Conditions {
            message_max,
            loses_one_of,
            ..Conditions::new(SendEnd::Judged(Judgement::Wrong))
        };
        play_all(poor, |seed, sent| {
            assert!((1..=6).contains(&sent.sends), "seed {seed}: {sent:?}");
        });
    }
}

/// Lets a worker that nobody answers go the whole way.
fn send(protocol: &mut Protocol, password: &Hashed, end: SendEnd, now: Instant) -> Vec<Message> {
    assert!(matches!(protocol.advise(password, now), Advice::Announce(_)));
    protocol.on_announced(password, true, now);
    assert_eq!(protocol.advise(password, now), Advice::Wait(now + MOMENT));
    assert_eq!(protocol.advise(password, now + MOMENT), Advice::Send);
    protocol.on_end(password, end, now + MOMENT)
}

#[test]
fn a_password_that_was_granted_costs_nothing() {
    let (mut one, mut other) = (protocol(1), protocol(2));
    let (now, password) = (Instant::now(), hashed("p"));
    for message in send(&mut one, &password, SendEnd::Judged(Judgement::Granted), now) {
        assert!(other.on_message(message, now).is_empty());
    }
    for protocol in [&mut one, &mut other] {
        assert_eq!(protocol.advise(&password, now), Advice::Send);
        let said = protocol.on_end(&password, SendEnd::Judged(Judgement::Granted), now);
        assert_eq!(said, [], "no news");
    }
    // Until something speaks against it.
    one.on_doubt(&password);
    assert!(matches!(one.advise(&password, now), Advice::Announce(_)));
}

#[test]
fn a_worker_that_can_not_be_heard_tries_by_itself_and_still_says_what_came_of_it() {
    let mut alone = protocol(1);
    let (now, password) = (Instant::now(), hashed("p"));
    assert!(matches!(alone.advise(&password, now), Advice::Announce(_)));
    alone.on_announced(&password, false, now);
    assert_eq!(alone.advise(&password, now), Advice::Send);
    let said = alone.on_end(&password, SendEnd::Judged(Judgement::Wrong), now);
    assert_eq!(said[0].says, Says::Judged(Judgement::Wrong));
    assert!(matches!(alone.advise(&password, now), Advice::Refused(_)));
}

#[test]
fn a_refusal_counts_until_the_password_is_another_one_or_for_a_time() {
    let (now, password) = (Instant::now(), hashed("p"));
    for (judgement, is_final) in [
        (Judgement::Wrong, true),
        (Judgement::Locked, true),
        (Judgement::Forbidden, false),
    ] {
        let mut protocol = protocol(1);
        send(&mut protocol, &password, SendEnd::Judged(judgement), now);
        let later = now + MOMENT + LEFT_ALONE_FOR;
        assert!(matches!(protocol.advise(&password, later - ms(1)), Advice::Refused(_)));
        let advice = protocol.advise(&password, later);
        assert_eq!(matches!(advice, Advice::Refused(_)), is_final, "{judgement:?}");
        assert!(matches!(protocol.advise(&hashed("q"), now), Advice::Announce(_)));
    }
}

#[test]
fn what_counts_for_a_time_does_not_count_for_ever_by_being_repeated() {
    let (mut one, mut other) = (protocol(1), protocol(2));
    let (mut now, password) = (Instant::now(), hashed("p"));
    send(&mut one, &password, SendEnd::Judged(Judgement::Forbidden), now);
    now += MOMENT + LEFT_ALONE_FOR / 2;
    let Advice::Announce(said) = other.advise(&password, now) else {
        panic!("no announcement")
    };
    assert_eq!(one.on_message(said[0], now), []);
}

#[test]
fn what_workers_remember_is_bounded() {
    let (mut protocol, now) = (protocol(1), Instant::now());
    let message = |number: u64, judgement| {
        let mut hash = hashed("p").current();
        hash.bytes[..8].copy_from_slice(&number.to_be_bytes());
        Message {
            worker: 2,
            hash,
            says: Says::Judged(judgement),
        }
    };
    for number in 0..100_010 {
        protocol.on_message(message(number, Judgement::Granted), now);
        protocol.on_message(message(number + 1_000_000, Judgement::Wrong), now);
        let announced = Message {
            says: Says::Announces,
            ..message(number + 2_000_000, Judgement::Wrong)
        };
        protocol.on_message(announced, now);
    }
    assert_eq!(protocol.sizes(), (100_000, 10_000, 0));
}

#[test]
fn who_waits_for_another_asks_again_after_a_while() {
    let mut protocol = protocol(2);
    let (now, password) = (Instant::now(), hashed("p"));
    assert!(matches!(protocol.advise(&password, now), Advice::Announce(_)));
    let lower = Message {
        worker: 1,
        hash: password.current(),
        says: Says::Announces,
    };
    assert_eq!(protocol.on_message(lower, now), []);
    protocol.on_announced(&password, true, now);
    assert_eq!(protocol.advise(&password, now), Advice::Wait(now + PATIENCE));
    assert!(matches!(
        protocol.advise(&password, now + PATIENCE),
        Advice::Announce(_)
    ));
}
