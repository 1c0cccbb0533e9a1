//! What must hold whatever happened, counted over all commands.

use std::collections::{BTreeMap, BTreeSet};

use bankrefresh::proto::UpdateOrigin;
use bankrefresh::refresh::event::Event;
use bankrefresh::sandbox::{Asked, AskedOfConnection};
use uuid::Uuid;

use crate::conduct::Done;
use crate::observer::Seen;
use crate::schedule::{self, Case, Order};

/// An invariant and who broke it.
#[derive(Clone, Default)]
pub struct Invariant {
    pub name: &'static str,
    pub checked: usize,
    pub broken: Vec<String>,
}

impl Invariant {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub fn check(&mut self, holds: bool, who: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken.push(who());
        }
    }
}

/// What happened to be, beside what must.
#[derive(Default)]
pub struct Figures {
    pub events: usize,
    /// Copies of events beside the first.
    pub repeated: usize,
    /// Commands that made finAPI look for a task in vain: it answered, but no task came of it, as meant.
    pub without_task: usize,
    /// Commands that were in two messages at once, sent twice or left in two by a death between publishing and
    /// acknowledging, whose task was looked at twice within a second. Two workers can't know of each other's looks.
    pub looked_at_by_two: usize,
    /// Commands of which two copies met at two workers at once, and both started an update: a web form that nobody has
    /// opened does not lock the connection, so finAPI lets them.
    pub started_by_two: usize,
    /// Seconds from the command to its outcome, in order.
    pub seconds: Vec<f64>,
}

/// Judges what was seen of every command.
pub fn judge(done: &Done, seen: &Seen, asked: &Asked) -> (Vec<Invariant>, Figures) {
    let orders = &done.orders;
    let duplicates = done.duplicates.join("\n");
    let mut lost = Invariant::new("every_command_has_an_outcome");
    let mut whole = Invariant::new("every_outcome_is_whole_and_the_only_one_by_event_id");
    let mut conflicts = Invariant::new("copies_of_an_event_have_one_type");
    let mut right = Invariant::new("outcomes_are_what_the_banks_did");
    let mut told = Invariant::new("every_transaction_is_told_once_by_event_id");
    let mut user = Invariant::new("users_are_asked_before_the_outcome_is_told");
    let mut once = Invariant::new("no_bank_is_asked_twice");
    let mut pace = Invariant::new("no_task_is_looked_at_twice_within_a_second");
    let mut figures = Figures {
        events: seen.count,
        ..Figures::default()
    };
    for order in orders {
        let id = &order.command.command_id;
        let none = Vec::new();
        let events = seen.events.get(id).unwrap_or(&none);
        let about = || {
            format!(
                "{id} ({:?}{})",
                order.case,
                if order.copies > 1 { ", sent twice" } else { "" }
            )
        };
        let copies = by_id(events);
        figures.repeated += events.len() - copies.len();
        for copies in copies.values() {
            let names: BTreeSet<&str> = copies.iter().map(|event| event.message_name()).collect();
            conflicts.check(names.len() == 1, || format!("{}: {names:?}", about()));
        }
        let last = events.iter().find(|event| event.is_last());
        lost.check(last.is_some(), about);
        let connection = asked.connections.get(&order.command.bank_connection_id);
        let tasks = connection.map_or(0, |connection| connection.tasks_made);
        figures.without_task += usize::from(tasks == 0);
        let repeated = events.len() > copies.len() || order.copies > 1 || duplicates.contains(id);
        let patient = connection.is_none_or(is_patient);
        let both_started = repeated && order.case == Case::FormAtOnce && tasks > 1;
        if both_started {
            figures.started_by_two += 1;
        } else {
            once.check(tasks <= 1, || format!("{}: {tasks} tasks", about()));
        }
        if repeated && !patient {
            figures.looked_at_by_two += 1;
        } else {
            pace.check(patient, || format!("{}: {:?}", about(), intervals(connection)));
        }
        let Some(last) = last else { continue };
        let parts = parts(id, last, &copies);
        let all = parts.as_ref().is_some_and(|parts| {
            let outcomes = copies.values().filter(|copies| is_outcome(copies[0])).count();
            outcomes == parts.len()
        });
        whole.check(all, || format!("{}: {}", about(), summaries(events)));
        let succeeded = matches!(last, Event::TransactionsUpdated(_));
        right.check(succeeded == order.case.succeeds(), || {
            format!("{}: {}", about(), summaries(events))
        });
        let tellable = succeeded && !both_started;
        if let (Some(count), Some(parts), true) = (order.case.transactions(), parts, tellable) {
            let ids: Vec<i64> = parts.iter().flat_map(|part| transactions(part)).collect();
            let distinct: BTreeSet<&i64> = ids.iter().collect();
            // Where no task is known, what came just before the command is told, too: finAPI's clock may be behind.
            let more = match origin(last) {
                Some(UpdateOrigin::AlreadyFresh) => schedule::JUST_BEFORE,
                _ => 0,
            };
            let right = (count..=count + more).contains(&ids.len()) && distinct.len() == ids.len();
            told.check(right, || {
                format!("{}: {} of {count}, {} distinct", about(), ids.len(), distinct.len())
            });
        }
        if order.case.needs_its_user() {
            let asks = |event: &Event| matches!(event, Event::UserActionRequired(_));
            let first = events.iter().position(|event| asks(event) || event.is_last());
            let asked = first.is_some_and(|first| asks(&events[first]));
            user.check(asked, || format!("{}: {}", about(), summaries(events)));
        }
        figures.seconds.extend(seconds(order, last));
    }
    let few = (orders.len() / 100).max(5);
    pace.check(figures.looked_at_by_two <= few, || {
        let count = figures.looked_at_by_two;
        format!("{count} were looked at by two workers, where {few} are put down to copies of a command")
    });
    figures.seconds.sort_by(f64::total_cmp);
    let mut odd = Invariant::new("every_event_can_be_read_and_carries_its_id");
    odd.checked = seen.count;
    odd.broken = vec!["an event".to_owned(); seen.odd];
    let invariants = vec![lost, whole, conflicts, right, told, user, once, pace, odd];
    (invariants, figures)
}

fn by_id(events: &[Event]) -> BTreeMap<&str, Vec<&Event>> {
    let mut copies: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        copies.entry(event_id(event)).or_default().push(event);
    }
    copies
}

fn event_id(event: &Event) -> &str {
    event
        .context()
        .map(|context| context.event_id.as_str())
        .unwrap_or_default()
}

fn is_outcome(event: &Event) -> bool {
    !matches!(event, Event::UserActionRequired(_))
}

/// The parts of an outcome as who drops what it has seen by its id sees them, if there are all of them.
fn parts<'a>(command: &str, last: &Event, copies: &BTreeMap<&str, Vec<&'a Event>>) -> Option<Vec<&'a Event>> {
    let namespace = Uuid::parse_str(command).ok()?;
    let id = |part: usize| Uuid::new_v5(&namespace, format!("outcome/{part}").as_bytes()).to_string();
    let mut parts = Vec::new();
    for part in 1.. {
        parts.push(*copies.get(id(part).as_str())?.first()?);
        if id(part) == event_id(last) {
            break;
        }
    }
    Some(parts)
}

fn transactions(event: &Event) -> Vec<i64> {
    match event {
        Event::TransactionsUpdated(event) => event.transactions.iter().map(|t| t.id).collect(),
        Event::UserActionRequired(_) | Event::RefreshFailed(_) => Vec::new(),
    }
}

fn origin(event: &Event) -> Option<UpdateOrigin> {
    match event {
        Event::TransactionsUpdated(event) => Some(event.origin()),
        Event::UserActionRequired(_) | Event::RefreshFailed(_) => None,
    }
}

fn summaries(events: &[Event]) -> String {
    let summaries: Vec<String> = events.iter().map(Event::summary).collect();
    summaries.join("; ")
}

fn intervals(connection: Option<&AskedOfConnection>) -> Vec<Option<u64>> {
    let tasks = connection.map(|connection| &connection.tasks);
    tasks
        .into_iter()
        .flatten()
        .map(|task| task.smallest_interval_ms)
        .collect()
}

/// A proxy may hold the first of two looks for a while, but not the second.
fn is_patient(connection: &AskedOfConnection) -> bool {
    let slowest = 250;
    let intervals = connection.tasks.iter().filter_map(|task| task.smallest_interval_ms);
    intervals.into_iter().all(|interval| interval + slowest >= 1000)
}

fn seconds(order: &Order, last: &Event) -> Option<f64> {
    let requested = order.command.requested_at.as_ref()?;
    let occurred = last.context()?.occurred_at.as_ref()?;
    let nanos = f64::from(occurred.nanos - requested.nanos) / 1e9;
    Some((occurred.seconds - requested.seconds) as f64 + nanos)
}
