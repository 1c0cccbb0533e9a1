//! What the random world seldom or never comes to.

use super::*;

/// Rare in the world above, where a publication that ends makes the room first.
#[test]
fn a_run_that_ends_after_its_connection_makes_room_for_the_backlog() {
    let mut world = World::new(0);
    world.scheduler = scheduler(Settings {
        in_flight: 1,
        ..Settings::default()
    });
    let mut begin = |generation, origin, command| {
        world.scheduler.on_connected(generation, world.now);
        let tag = Tag {
            generation,
            subscription: 0,
            number: command,
        };
        let sent = Sent {
            command,
            parts_published: 0,
            revision: 0,
        };
        let mut refresh = world.refresh(&sent);
        refresh.due_at = world.now.time;
        let content = Content::Refresh {
            refresh,
            released_at: None,
        };
        let receipt = Receipt::new(tag, origin, 0, world.now);
        world.scheduler.on_delivery(receipt, content, world.now);
        world.scheduler.next_run(|_| true, |_| None, world.now)
    };
    let run = begin(1, Origin::Interactive, 1).expect("a run");
    assert!(begin(2, Origin::Background, 2).is_none());
    assert_eq!(world.scheduler.backlog().len(), 1);
    world
        .scheduler
        .on_run_end(run.id, RunEnd::Waits(run.refresh), world.now);
    assert_eq!((world.scheduler.backlog().len(), world.scheduler.runnable()), (0, 1));
}

#[test]
fn what_came_back_twice_waits_for_the_quarantine_no_longer_than_it_may_be_held() {
    let mut world = World::new(1);
    let hold_max = Duration::from_secs(6);
    world.scheduler = scheduler(Settings {
        hold_max,
        ..Settings::default()
    });
    world.connect();
    let sent = world.take();
    let refresh = world.refresh(&sent);
    let tag = |number| Tag {
        generation: 1,
        subscription: 0,
        number,
    };
    let careful = Receipt::new(tag(0), Origin::Steps, 2, world.now);
    let mut careful = Some((careful, refresh));
    let mut ran_at = None;
    for second in 0..20 {
        world.now.since_start = Duration::from_secs(second);
        world.now.time = later(Timestamp::UNIX_EPOCH, world.now.since_start);
        // Others go to the quarantine all the time.
        let receipt = Receipt::new(tag(second + 1), Origin::Steps, 3, world.now);
        let forward = world.forward();
        world.scheduler.on_delivery(receipt, forward, world.now);
        if let Some((receipt, mut refresh)) = careful.take() {
            refresh.due_at = world.now.time;
            let released_at = None;
            let content = Content::Refresh { refresh, released_at };
            world.scheduler.on_delivery(receipt, content, world.now);
        }
        world.scheduler.on_due(world.now);
        if world.scheduler.next_run(|_| true, |_| None, world.now).is_some() {
            ran_at = Some(second);
            break;
        }
    }
    assert_eq!(ran_at, Some(8), "hold_max, and one wait more");
}
