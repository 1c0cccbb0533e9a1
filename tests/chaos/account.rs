//! All that is known of one command: what was asked for, what was published, what finAPI was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bankrefresh::proto::timestamp;
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{AskedOfConnection, AskedOfTask, Imported};
use jiff::Timestamp;

use crate::schedule::Order;

/// The longest time that an update without a form takes, from its start until its data is stored: `schedule::Case::script`.
const UPDATE_MAX: Duration = Duration::from_millis(3500);

pub struct Account<'a> {
    pub order: &'a Order,
    /// In the order in which they were published.
    pub events: &'a [Event],
    /// The same by event id.
    pub copies: BTreeMap<&'a str, Vec<&'a Event>>,
    pub connection: Option<&'a AskedOfConnection>,
    /// It was in two messages at once: it was published twice, or a worker died between publishing what follows from a message
    /// and acknowledging the message. The latter shows as an event that came twice, or as a duplicate that a worker dropped.
    pub in_two_messages: bool,
    /// A worker died after it had published a part, and the next one cut that part differently.
    pub was_cut_again: bool,
}

impl<'a> Account<'a> {
    pub fn new(
        order: &'a Order,
        events: &'a [Event],
        connection: Option<&'a AskedOfConnection>,
        was_dropped: bool,
    ) -> Self {
        let mut copies: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in events {
            copies.entry(event_id(event)).or_default().push(event);
        }
        let in_two_messages = order.copies > 1 || events.len() > copies.len() || was_dropped;
        let was_cut_again = was_cut_again(&copies);
        Self {
            order,
            events,
            copies,
            connection,
            in_two_messages,
            was_cut_again,
        }
    }

    pub fn id(&self) -> &'a str {
        &self.order.command.command_id
    }

    pub fn name(&self) -> String {
        let twice = if self.in_two_messages { ", in two messages" } else { "" };
        format!("{} ({:?}{twice})", self.id(), self.order.case)
    }

    pub fn summary(&self) -> String {
        let summaries: Vec<String> = self.events.iter().map(Event::summary).collect();
        format!("{}: {}", self.name(), summaries.join("; "))
    }

    pub fn tasks_made(&self) -> u64 {
        self.connection.map_or(0, |connection| connection.tasks_made)
    }

    /// The first event that ends the refresh.
    pub fn last(&self) -> Option<&'a Event> {
        self.events.iter().find(|event| event.is_last())
    }

    pub fn has_outcomes(&self) -> usize {
        let outcomes = self.copies.values().filter(|copies| copies[0].is_last());
        outcomes.count()
    }

    /// The parts of the outcome as a consumer sees them that drops what it has seen by its id: all that came before the end, and that.
    pub fn parts(&self, last: &Event) -> Vec<&'a Event> {
        let mut seen = BTreeSet::new();
        let mut parts = Vec::new();
        for event in self.events.iter().filter(|event| is_outcome(event)) {
            if seen.insert(event_id(event)) {
                parts.push(event);
            }
            if event_id(event) == event_id(last) {
                break;
            }
        }
        parts
    }

    /// What finAPI imported by the update that this outcome is of. Where the outcome names no task, that is all since the command, or since
    /// the moment before it from which the outcome says that it covers what was imported.
    pub fn imported(&self, last: &Event) -> BTreeSet<i64> {
        let task = task_id(last);
        let since = covered_from(last).map(|from| from.min(self.requested_at()));
        self.imports(|import| match task {
            "" => import_date(import) >= since.expect("an outcome says what it covers"),
            task => import.task_id.as_deref() == Some(task),
        })
    }

    /// What came at the task's creation or later, by finAPI's clock: it writes whole milliseconds, so an import of the one before, by the batch
    /// update, may have the same time. All of it belongs to the outcome.
    pub fn since_task(&self, last: &Event) -> BTreeSet<i64> {
        let tasks = self.connection.map_or(&[][..], |connection| &connection.tasks);
        let task = tasks.iter().find(|task| task.id == task_id(last));
        let Some(created_at) = task.map(|task| created_at(task).as_millisecond()) else {
            return BTreeSet::new();
        };
        self.imports(|import| import_date(import).as_millisecond() >= created_at)
    }

    /// Whether two of its messages started an update each at nearly the same time: the second start arrived when the first update was over,
    /// so finAPI did not refuse it.
    pub fn raced(&self) -> bool {
        let tasks = self.connection.map_or(&[][..], |connection| &connection.tasks);
        let [first, second] = tasks else { return false };
        let apart = created_at(second).duration_since(created_at(first)).unsigned_abs();
        self.in_two_messages && apart <= UPDATE_MAX
    }

    /// When its tasks were created, and what was imported when, to explain what is wrong.
    pub fn times(&self) -> String {
        let Some(connection) = self.connection else {
            return "finAPI does not know the connection".to_owned();
        };
        let created = connection.tasks.iter().map(|task| task.created_at.as_str());
        let imported = connection.imports.iter();
        let imported = imported.map(|import| format!("{} from {}", import.imported_at, import.first_id));
        let (created, imported): (Vec<_>, Vec<_>) = (created.collect(), imported.collect());
        format!("tasks of {created:?}, imports of {imported:?}")
    }

    /// What finAPI imported before the command.
    pub fn older(&self) -> BTreeSet<i64> {
        self.imports(|import| import_date(import) < self.requested_at())
    }

    /// What all tasks of the command imported.
    pub fn imported_by_tasks(&self) -> BTreeSet<i64> {
        self.imports(|import| import.task_id.is_some())
    }

    fn imports(&self, wanted: impl Fn(&Imported) -> bool) -> BTreeSet<i64> {
        let imports = self.connection.map_or(&[][..], |connection| &connection.imports);
        let wanted = imports.iter().filter(|import| wanted(import));
        wanted
            .flat_map(|import| import.first_id..import.first_id + i64::from(import.count))
            .collect()
    }

    fn requested_at(&self) -> Timestamp {
        let requested_at = self.order.command.requested_at.as_ref();
        requested_at
            .and_then(timestamp)
            .expect("it was published with its time")
    }

    /// The kinds of event that share each id.
    pub fn types(&self) -> impl Iterator<Item = BTreeSet<&'static str>> {
        let names = |copies: &Vec<&Event>| copies.iter().map(|event| event.message_name()).collect();
        self.copies.values().map(names)
    }

    /// Whether the user was notified before the refresh ended.
    pub fn user_was_asked(&self) -> bool {
        let asks = |event: &Event| matches!(event.kind(), EventKind::UserActionRequired(_));
        let first = self.events.iter().find(|event| asks(event) || event.is_last());
        first.is_some_and(asks)
    }

    pub fn seconds(&self, last: &Event) -> Option<f64> {
        let requested = self.order.command.requested_at.as_ref()?;
        let occurred = last.context().occurred_at.as_ref()?;
        let nanos = f64::from(occurred.nanos - requested.nanos) / 1e9;
        Some((occurred.seconds - requested.seconds) as f64 + nanos)
    }
}

pub fn transactions(event: &Event) -> Vec<i64> {
    match event.kind() {
        EventKind::TransactionsUpdated(event) => event.transactions.iter().map(|t| t.id).collect(),
        EventKind::UserActionRequired(_) | EventKind::RefreshFailed(_) => Vec::new(),
    }
}

/// Whether two parts have one number. A part before the last has an id made of its content, so neither is a copy of the other.
fn was_cut_again(copies: &BTreeMap<&str, Vec<&Event>>) -> bool {
    let mut numbers = BTreeSet::new();
    let parts = copies.values().filter(|copies| !copies[0].is_last());
    let mut numbered = parts.filter_map(|copies| match copies[0].kind() {
        EventKind::TransactionsUpdated(part) => Some(part.part),
        EventKind::RefreshFailed(_) | EventKind::UserActionRequired(_) => None,
    });
    numbered.any(|number| !numbers.insert(number))
}

fn created_at(task: &AskedOfTask) -> Timestamp {
    task.created_at.parse().expect("a time")
}

/// From when on an outcome covers what was imported.
fn covered_from(last: &Event) -> Option<Timestamp> {
    match last.kind() {
        EventKind::TransactionsUpdated(updated) => timestamp(updated.covered_from.as_ref()?),
        EventKind::RefreshFailed(_) | EventKind::UserActionRequired(_) => None,
    }
}

fn import_date(import: &Imported) -> Timestamp {
    import.imported_at.parse().expect("a time")
}

/// The task that an event names, or nothing.
pub fn task_id(event: &Event) -> &str {
    &event.context().task_id
}

fn event_id(event: &Event) -> &str {
    &event.context().event_id
}

fn is_outcome(event: &Event) -> bool {
    !matches!(event.kind(), EventKind::UserActionRequired(_))
}
