//! No gap: over thousands of histories, a consumer that keeps its cursor as `docs/events.md` says has in the end every transaction that finAPI
//! stored within the margin and did not delete, and none that never existed.
//!
//! A history is a few days of one connection: commands, finAPI's own updates, late storage, deletions, calls and updates that fail, workers
//! that are killed between any two steps and between any two events, and events that come twice. `COMPLETENESS_HISTORIES=100000` plays more.

mod bank;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use bank::Bank;

const HISTORIES: u64 = 1_000;

/// One draw after the other, from a seed.
#[derive(Clone)]
struct Draw(fastrand::Rng);

impl Draw {
    fn one_in(&mut self, n: u32) -> bool {
        self.0.u32(0..n) == 0
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        millis(self.0.u64(0..=longest.as_millis() as u64))
    }

    /// Mostly short.
    fn gap(&mut self) -> Duration {
        let longest = [secs(2), secs(120), secs(3 * 3600), secs(14 * 3600)];
        let index = self.0.usize(0..longest.len());
        self.up_to(longest[index])
    }
}

/// A transaction: its account and its id.
type Row = (i64, i64);

/// Who keeps a cursor: the rule of `docs/events.md`.
#[derive(Default)]
struct Consumer {
    rows: BTreeSet<Row>,
    cursor: Option<Timestamp>,
    /// Where the first interval began: nothing before it was asked for.
    from: Option<Timestamp>,
    seen: BTreeSet<String>,
}

impl Consumer {
    /// Handles an event. The answer is the cursor where something is missing.
    fn on_event(&mut self, event: &Event) -> Option<Timestamp> {
        let EventKind::TransactionsUpdated(updated) = event.kind() else {
            self.seen.insert(event.context().event_id.clone());
            return None;
        };
        if !self.seen.insert(event.context().event_id.clone()) {
            return None;
        }
        let rows = updated.transactions.iter();
        self.rows
            .extend(rows.map(|transaction| (transaction.account_id, transaction.id)));
        let moment = |at: &Option<prost_types::Timestamp>| at.as_ref().and_then(crate::proto::timestamp);
        let (Some(from), Some(until)) = (moment(&updated.covered_from), moment(&updated.covered_until)) else {
            return None;
        };
        if !updated.last {
            return None;
        }
        let cursor = *self.cursor.get_or_insert(from);
        self.from.get_or_insert(from);
        if from > cursor {
            return Some(cursor);
        }
        self.cursor = Some(cursor.max(until));
        None
    }
}

/// A message of a command that is worked on.
struct Active {
    refresh: Refresh,
    /// What the broker has of it.
    durable: Vec<u8>,
}

/// How often what happened in which a gap could hide.
type Happened = BTreeMap<&'static str, u64>;

struct History<'a> {
    draw: Draw,
    policy: Policy,
    bank: Bank,
    clocks: Clocks,
    now: Timestamp,
    consumer: Consumer,
    active: Vec<Active>,
    sent: u128,
    /// What each command said.
    since: BTreeMap<String, Timestamp>,
    /// Nothing goes wrong any more.
    calm: bool,
    happened: &'a mut Happened,
}

impl<'a> History<'a> {
    fn new(seed: u64, happened: &'a mut Happened) -> Self {
        let mut draw = Draw(fastrand::Rng::with_seed(seed));
        let mut policy = Policy::default();
        policy.limits.refresh = secs(draw.0.u64(600..6 * 3600));
        policy.events.size_max = [700, 2_000, 100_000][draw.0.usize(0..3)];
        // A clock that is not known is as near as the settings say.
        let ahead = SignedDuration::from_millis(draw.0.i64(-2_000..=2_000));
        let far = ahead * draw.0.i32(1..=20);
        let measured = |ahead: SignedDuration| ClockOffset {
            least: ahead - SignedDuration::from_millis(300),
            most: ahead + SignedDuration::from_millis(500),
        };
        let (ahead, clocks) = match draw.0.bool() {
            true => (ahead, Clocks::default()),
            false => {
                let clock = Some(measured(far));
                (
                    far,
                    Clocks {
                        access: clock,
                        web_form: clock,
                    },
                )
            }
        };
        Self {
            bank: Bank::new(draw.clone(), ahead, policy.events.margin),
            draw,
            policy,
            clocks,
            now: at(0),
            consumer: Consumer::default(),
            active: Vec::new(),
            sent: 0,
            since: BTreeMap::new(),
            calm: false,
            happened,
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn send(&mut self, since: Option<Timestamp>, max_age: Option<i64>) {
        self.sent += 1;
        let command = RefreshConnection {
            command_id: uuid::Uuid::from_u128(self.sent).to_string(),
            requested_at: Some(from_timestamp(self.now)),
            transactions_since: since.map(from_timestamp),
            max_age: max_age.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            ..command()
        };
        self.since
            .extend(since.map(|since| (command.command_id.clone(), since)));
        let messages = if !self.calm && self.draw.one_in(12) { 2 } else { 1 };
        for _ in 0..messages {
            let refresh = Refresh::new(parsed(command.clone()), self.now, Envelope::default(), self.now);
            let durable = state::encode(&refresh);
            self.active.push(Active { refresh, durable });
        }
    }

    /// Sends what is missing, as the rule says.
    fn consume(&mut self, event: &Event) {
        if let EventKind::TransactionsUpdated(updated) = event.kind()
            && let Some(since) = self.since.get(&event.context().command_id)
        {
            assert_eq!(
                updated.covered_from,
                Some(from_timestamp(*since)),
                "it is what the command said"
            );
        }
        if let Some(cursor) = self.consumer.on_event(event) {
            self.count("an interval after the cursor");
            self.send(Some(cursor), Some(3600));
        }
    }

    /// Works until a moment, or until nothing is left.
    fn work_until(&mut self, until: Timestamp) {
        for _ in 0..20_000 {
            let next = (0..self.active.len()).min_by_key(|index| self.active[*index].refresh.due_at);
            let Some(index) = next.filter(|index| self.active[*index].refresh.due_at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            let active = self.active.swap_remove(index);
            self.now = self.now.max(active.refresh.due_at);
            if let Some(active) = self.step(active) {
                self.active.push(active);
            }
        }
        panic!("it never ends");
    }

    /// One step. None: that was the outcome.
    fn step(&mut self, active: Active) -> Option<Active> {
        if !self.calm && self.draw.one_in(40) {
            return Some(self.killed(active.durable));
        }
        let Active { refresh, mut durable } = active;
        let step = match refresh.failed(self.now, &self.policy) {
            Some(event) => Step {
                events: vec![event],
                next: Next::Done,
            },
            None => {
                let result = self.bank.respond(&refresh, self.now);
                let longest = if self.draw.one_in(10) { secs(5) } else { millis(400) };
                self.now = later(self.now, self.draw.up_to(longest));
                let context = StepContext {
                    now: self.now,
                    jitter: self.draw.0.f64(),
                    next_poll: None,
                    clocks: self.clocks,
                    announced: None,
                };
                refresh.step(result, context, &self.policy)
            }
        };
        // A worker dies before any of the events, between two, or after all of them, but before what follows.
        let dies_after = (!self.calm && !step.events.is_empty() && self.draw.one_in(8))
            .then(|| self.draw.0.usize(0..=step.events.len()));
        for event in step.events.iter().take(dies_after.unwrap_or(usize::MAX)) {
            self.consume(event);
            if self.draw.one_in(20) {
                self.consume(event);
            }
        }
        if dies_after.is_some() {
            self.count("a kill among events");
            return Some(self.killed(durable));
        }
        match step.next {
            Next::Done => {
                let success = step.events.last().map(|event| event.routing_key()) == Some("transactions.updated");
                self.count(if success { "a success" } else { "a failure" });
                None
            }
            Next::Continue(refresh) => {
                if self.draw.one_in(5) {
                    durable = state::encode(&refresh);
                }
                let refresh = *refresh;
                Some(Active { refresh, durable })
            }
            Next::Checkpoint(refresh) => {
                self.count("a part before the last");
                durable = state::encode(&refresh);
                let refresh = *refresh;
                Some(Active { refresh, durable })
            }
        }
    }

    /// Another worker takes up what the broker has, at once or much later.
    fn killed(&mut self, durable: Vec<u8>) -> Active {
        let away = match self.draw.one_in(4) {
            true => self.draw.gap(),
            false => self.draw.up_to(secs(20)),
        };
        let then = later(self.now, away);
        let mut refresh = state::decode(&durable, then).expect("a checkpoint");
        refresh.came_back(then);
        refresh.due_at = refresh.due_at.max(then);
        Active { refresh, durable }
    }

    fn play(&mut self) {
        for _ in 0..self.draw.0.u32(2..9) {
            let since = self.consumer.cursor.filter(|_| !self.draw.one_in(6));
            let max_age = self.draw.one_in(3).then(|| self.draw.0.i64(0..7200));
            self.send(since, max_age);
            let gap = self.draw.gap();
            self.work_until(later(self.now, gap));
        }
        // From here on nothing goes wrong, and nothing comes later.
        self.calm = true;
        self.bank.calm_down();
        self.work_until(later(self.now, secs(40 * 3600)).max(at(120 * 3600)));
        for _ in 0..3 {
            self.send(self.consumer.cursor, None);
            self.work_until(later(self.now, secs(8 * 3600)));
            assert!(self.active.is_empty(), "not over after eight hours");
        }
    }
}

fn play(seed: u64, happened: &mut Happened) -> Result<(), String> {
    let mut history = History::new(seed, happened);
    history.play();
    let History {
        bank,
        consumer,
        happened,
        ..
    } = history;
    let from = consumer.from.ok_or("no interval at all")?;
    let required = bank.required(from);
    if let Some(missing) = required.iter().find(|stored| !consumer.rows.contains(&stored.row)) {
        return Err(format!("{missing:?} is missing, one of {}", required.len()));
    }
    let all = bank.all();
    if let Some(row) = consumer.rows.iter().find(|row| !all.contains(row)) {
        return Err(format!("transaction {row:?} never existed"));
    }
    let late = required.iter().filter(|stored| stored.is_late()).count();
    *happened.entry("a transaction that was due").or_default() += required.len() as u64;
    *happened.entry("one of them stored late").or_default() += late as u64;
    for (what, count) in bank.happened {
        *happened.entry(what).or_default() += count;
    }
    Ok(())
}

/// What must have happened in a hundred histories, at least.
const EXPECTED: [(&str, u64); 15] = [
    ("a batch update", 50),
    ("a deletion between two pages", 20),
    ("a failure", 80),
    ("a kill among events", 60),
    ("a locked connection", 5),
    ("a page of an account that is gone", 2),
    ("a page of several", 300),
    ("a page with what can't be read", 15),
    ("a part before the last", 300),
    ("a success", 300),
    ("a transaction that was due", 500),
    ("an interval after the cursor", 10),
    ("an update that fails", 30),
    ("an update that succeeds", 100),
    ("one of them stored late", 100),
];

#[test]
fn a_consumer_that_keeps_the_cursor_misses_nothing() {
    let histories = count("COMPLETENESS_HISTORIES", HISTORIES);
    let mut happened = Happened::new();
    let failed: Vec<String> = (0..histories)
        .filter_map(|seed| Some(format!("history {seed}: {}", play(seed, &mut happened).err()?)))
        .collect();
    println!("{histories} histories: {happened:#?}");
    let first = &failed[..failed.len().min(10)];
    assert!(failed.is_empty(), "{} failed: {first:#?}", failed.len());
    for (what, least) in EXPECTED {
        let count = happened.get(what).copied().unwrap_or_default();
        assert!(count >= least * histories / 100, "{what}: {count} times");
    }
}
