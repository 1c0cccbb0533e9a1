//! The budget by itself, in virtual time.

use std::collections::VecDeque;

use fastrand::Rng;

use super::*;

const MB: usize = 1024 * 1024;

fn at(connection: i64) -> Option<ConnectionId> {
    Some(connection.into())
}

/// Reads a body in pieces, as far as there is room.
fn read(room: &Room, bytes: usize) -> bool {
    let pieces = (0..bytes).step_by(MB / 8);
    pieces
        .into_iter()
        .all(|from| room.grow(from, (from + MB / 8).min(bytes)).is_ok())
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_costs_nothing_and_a_long_one_its_length_until_it_is_dropped() {
    let budget = BodyBudget::new(MB);
    let room = budget.room(at(1));
    assert!(room.begin(0).is_ok() && room.grow(0, FREE).is_ok());
    assert_eq!(budget.bodies().reserved_bytes, 0);
    assert!(room.grow(FREE, FREE + 1).is_ok() && room.grow(FREE + 1, FREE + CHUNK).is_ok());
    assert_eq!(budget.bodies().reserved_bytes, CHUNK);
    // What is read next takes its place, and does not come on top.
    assert!(room.begin(0).is_ok() && room.grow(0, FREE + 2 * CHUNK).is_ok());
    assert_eq!(budget.bodies().reserved_bytes, 2 * CHUNK);
    drop(room);
    assert_eq!(budget.bodies(), Bodies::default());
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_waits_and_then_has_twice_as_much_as_it_had() {
    let budget = BodyBudget::new(4 * MB);
    let (first, second) = (budget.room(at(1)), budget.room(at(2)));
    assert!(first.begin(0).is_ok() && read(&first, 3 * MB));
    assert!(second.begin(0).is_ok() && !read(&second, 2 * MB));
    let wait = second.take_shortage().expect("a wait");
    assert_eq!((wait, second.take_shortage()), (WAIT, None));
    drop(second);
    assert_eq!(budget.bodies().waiting, 1);
    tokio::time::sleep(wait).await;
    let second = budget.room(at(2));
    assert!(second.begin(0).is_err(), "not yet");
    drop(first);
    assert!(second.begin(0).is_ok());
    let reserved = budget.bodies().reserved_bytes;
    assert!((2 * MB..3 * MB).contains(&reserved), "{reserved}");
    assert!(read(&second, 2 * MB));
    assert_eq!(
        budget.bodies(),
        Bodies {
            reserved_bytes: reserved,
            waiting: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_before_who_waits_and_who_does_not_come_back_loses_its_place() {
    let budget = BodyBudget::new(2 * MB);
    let (all, large, small) = (budget.room(at(1)), budget.room(at(2)), budget.room(at(3)));
    assert!(all.begin(2 * MB).is_ok());
    let wait = large.begin(2 * MB).expect_err("there is none");
    drop(all);
    let behind = small.begin(MB).expect_err("it is not first");
    assert_eq!((wait, behind), (WAIT, 2 * WAIT), "who is behind comes later");
    assert!(large.begin(0).is_ok(), "it has what it claimed");
    drop(large);
    assert!(small.begin(0).is_ok());
    drop(small);
    let (all, gone, next) = (budget.room(at(1)), budget.room(at(4)), budget.room(at(5)));
    assert!(all.begin(2 * MB).is_ok() && gone.begin(2 * MB).is_err());
    drop(all);
    tokio::time::sleep(WAIT + LATE).await;
    assert!(next.begin(MB).is_ok());
}

/// Each of them takes what becomes free as soon as it is free, if it may.
#[tokio::test(start_paused = true)]
async fn a_claim_is_served_although_new_readers_come_for_ever() {
    let budget = BodyBudget::new(MB);
    let newcomer = |connection| {
        let room = budget.room(at(connection));
        (room.begin(0).is_ok() && room.grow(0, FREE + CHUNK).is_ok()).then_some(room)
    };
    let mut readers: VecDeque<Room> = (0..).map_while(newcomer).collect();
    assert_eq!(budget.bodies().reserved_bytes, MB);
    let large = budget.room(at(-1));
    let mut wait = large.begin(MB / 2).expect_err("there is none");
    let mut connection = 1000;
    for _ in 0..100 {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            readers.pop_front();
            connection += 1;
            readers.extend(newcomer(connection));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match large.begin(MB / 2) {
            Ok(()) => return,
            Err(longer) => wait = longer,
        }
    }
    panic!("{:?} of {MB} bytes", budget.bodies());
}

#[tokio::test(start_paused = true)]
async fn who_has_some_bytes_goes_before_who_waits() {
    let budget = BodyBudget::new(MB);
    let (first, large) = (budget.room(at(1)), budget.room(at(2)));
    assert!(first.begin(MB / 2).is_ok() && large.begin(MB).is_err());
    assert!(read(&first, MB));
}

#[tokio::test(start_paused = true)]
async fn a_shortage_is_over_when_something_else_is_read() {
    let budget = BodyBudget::new(MB);
    let (all, room) = (budget.room(at(1)), budget.room(at(2)));
    assert!(all.begin(MB).is_ok() && room.begin(0).is_ok() && !read(&room, MB / 2));
    drop(all);
    assert!(room.begin(0).is_ok());
    assert_eq!(room.take_shortage(), None);
}

#[tokio::test(start_paused = true)]
async fn what_never_fits_is_not_asked_for_again() {
    let budget = BodyBudget::new(MB);
    let room = budget.room(at(1));
    assert!(room.begin(0).is_ok() && read(&room, MB));
    assert_eq!(room.grow(MB, 2 * MB), Err(TransportError::TooLong));
    assert_eq!((room.take_shortage(), budget.bodies().waiting), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn what_can_not_come_again_by_itself_claims_nothing() {
    let budget = BodyBudget::new(MB);
    let (all, token) = (budget.room(at(1)), budget.room(None));
    assert!(all.begin(MB).is_ok() && token.begin(0).is_ok());
    assert!(token.grow(0, FREE).is_ok() && token.grow(FREE, 2 * FREE).is_err());
    assert_eq!((token.take_shortage(), budget.bodies().waiting), (None, 0));
}

/// Three times as many as fit read bodies of any size at once, a piece at a time, and hold them for a while. All of them are read, each after a
/// bounded wait, and never are there more bytes than the budget has.
#[tokio::test(start_paused = true)]
async fn everybody_is_served_within_the_budget() {
    let longest = 8 * MB;
    for seed in 0..50 {
        let mut random = Rng::with_seed(seed);
        let budget = BodyBudget::new(2 * longest);
        let mut readers = tokio::task::JoinSet::new();
        for connection in 0..48 {
            let (budget, mut random) = (budget.clone(), random.fork());
            readers.spawn(async move {
                let mut bodies: VecDeque<usize> = (0..5).map(|_| random.usize(0..=longest)).collect();
                let mut tries = 0;
                while let Some(bytes) = bodies.front() {
                    let room = budget.room(at(connection));
                    let short = match room.begin(if random.bool() { MB } else { 0 }) {
                        Err(wait) => Some(wait),
                        Ok(()) => {
                            for from in (0..*bytes).step_by(MB / 2) {
                                tokio::time::sleep(Duration::from_millis(random.u64(1..20))).await;
                                if room.grow(from, (from + MB / 2).min(*bytes)).is_err() {
                                    break;
                                }
                            }
                            room.take_shortage()
                        }
                    };
                    if short.is_none() {
                        tokio::time::sleep(Duration::from_millis(random.u64(1..50))).await;
                        bodies.pop_front();
                    }
                    drop(room);
                    tries += usize::from(short.is_some());
                    tokio::time::sleep(short.unwrap_or_default()).await;
                }
                tries
            });
        }
        let began = Instant::now();
        let mut most = 0;
        while !readers.is_empty() {
            most = most.max(budget.bodies().reserved_bytes);
            assert!(most <= 2 * longest, "seed {seed}: {most} bytes");
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "seed {seed}: {} wait",
                readers.len()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
            while let Some(tries) = readers.try_join_next() {
                tries.expect("it reads");
            }
        }
        assert!(most > longest, "seed {seed}: there was no crowd");
        assert_eq!(budget.bodies(), Bodies::default());
    }
}
