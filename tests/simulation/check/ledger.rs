//! What happened, sorted by command.

use std::collections::BTreeMap;
use std::time::Duration;

use bankrefresh::broker::Message;
use bankrefresh::broker::memory::What;
use bankrefresh::broker::topology::Topology;
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::event::Event;
use bankrefresh::sandbox::AskedOfTask;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::lives::Lives;
use crate::commands::Is;
use crate::line::Call;
use crate::scenario::Scenario;
use crate::world::{self, History};

/// A run's books.
pub(crate) struct Ledger<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) history: &'a History,
    pub(crate) topology: Topology,
    /// Of every valid command.
    pub(crate) refreshes: BTreeMap<String, Refresh<'a>>,
    /// When each client was without a connection.
    disconnections: BTreeMap<u64, Vec<Disconnection>>,
}

/// A time in which a client had no connection to the broker.
#[derive(Debug)]
pub(crate) struct Disconnection {
    pub(crate) from: Instant,
    /// None: it did not come back.
    to: Option<Instant>,
}

impl Disconnection {
    /// Whether it lasted at a moment. The moments at which it begins and ends don't count: what happens in them may come before or after.
    pub(crate) fn contains(&self, at: Instant) -> bool {
        self.from < at && self.to.is_none_or(|to| at < to)
    }
}

/// All that happened to a valid command.
pub(crate) struct Refresh<'a> {
    pub(crate) id: &'a str,
    pub(crate) command: &'a RefreshConnection,
    /// The lane by which it came.
    pub(crate) interactive: bool,
    /// When the broker first had it.
    pub(crate) since: Option<Instant>,
    /// The message it is sent as.
    message: Message,
    /// How often the broker took that.
    pub(crate) duplicates: usize,
    /// How often a message of it came back from a lost connection.
    pub(crate) returned: usize,
    /// How many messages of it there were.
    lives: Lives,
    /// Its events in the order the broker took them.
    pub(crate) events: Vec<Published>,
    /// How many messages workers sent for it.
    pub(crate) sent: usize,
    /// How many messages of it may be there twice, because a publish of theirs failed after the broker took some of it.
    doubled: usize,
    /// How many of its events may be there twice for that reason.
    pub(crate) published_again: usize,
    /// It was given up after killing workers.
    pub(crate) given_up: bool,
}

/// An event that the broker took.
pub(crate) struct Published {
    pub(crate) at: Instant,
    pub(crate) event: Event,
    pub(crate) message: Message,
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(scenario: &'a Scenario, history: &'a History) -> Self {
        let mut refreshes = BTreeMap::new();
        for planned in &scenario.commands {
            if let Is::Valid(command) = &planned.is {
                let message = planned.outgoing(&world::topology()).message;
                let mut refresh = Refresh::new(&planned.id, command, message);
                refresh.interactive = planned.interactive;
                refreshes.insert(planned.id.clone(), refresh);
            }
        }
        let mut ledger = Self {
            scenario,
            history,
            topology: world::topology(),
            refreshes,
            disconnections: BTreeMap::new(),
        };
        for seen in &history.broker {
            ledger.enter(seen.at, &seen.what);
        }
        ledger
    }

    /// From the beginning to a moment.
    pub(crate) fn time(&self, at: Instant) -> Duration {
        at.duration_since(self.history.began)
    }

    /// Whether a queue's messages are refreshes.
    pub(crate) fn is_for_work(&self, queue: &str) -> bool {
        queue != self.topology.unrouted_events()
            && queue != self.topology.dead_letters()
            && queue != self.topology.control()
            && !queue.starts_with("ephemeral.")
    }

    /// The moment that finAPI's clock says as text.
    pub(crate) fn instant_of(&self, text: &str) -> Instant {
        let start = self.scenario.sandbox.start.unwrap_or(self.scenario.start);
        let at: Timestamp = text.parse().expect("a time of the sandbox");
        // What was before the beginning was before all that is asked about.
        self.history.began + Duration::try_from(at.duration_since(start)).unwrap_or_default()
    }

    /// Which command's refresh made a call; none where it was no refresh.
    pub(crate) fn command_of(&self, call: &Call) -> Option<&str> {
        let run = self.history.runs.get(&call.run?)?;
        Some(&run.command)
    }

    /// A client's number is that of its worker's life.
    pub(crate) fn disconnections(&self, client: u64) -> &[Disconnection] {
        self.disconnections.get(&client).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a call was sent before its worker lost the broker and arrived after that.
    pub(crate) fn lost_the_broker_on_its_way(&self, call: &Call) -> bool {
        let mut lost = self.disconnections(call.life).iter();
        lost.any(|lost| call.sent <= lost.from && lost.from <= call.at)
    }

    /// Whether the broker gave up a message of a refresh that the scenario lets kill its workers.
    pub(crate) fn was_given_up_as_planned(&self, refresh: &Refresh<'_>) -> bool {
        let killer = self.scenario.killer.as_ref();
        let id = killer.map(|killer| self.scenario.commands[killer.command].id.as_str());
        id == Some(refresh.id) && refresh.given_up
    }

    /// Whether the connection that a refresh is for belongs to its user.
    pub(crate) fn owns_connection(&self, refresh: &Refresh<'_>) -> bool {
        let asked = self.history.asked.connections.get(&refresh.command.bank_connection_id);
        let owner = asked.and_then(|asked| asked.user_id.as_ref());
        owner == Some(&refresh.command.user_id)
    }

    /// What finAPI knows of a task.
    pub(crate) fn asked_of_task(&self, connection: i64, task: &str) -> Option<&AskedOfTask> {
        let connection = self.history.asked.connections.get(&connection)?;
        connection.tasks.iter().find(|asked| asked.id == task)
    }

    fn enter(&mut self, at: Instant, what: &What) {
        let topology = self.topology.clone();
        match what {
            What::Taken { queue, message } if *queue == topology.unrouted_events() => self.on_event(at, message),
            What::Taken { queue, message } if *queue == topology.dead_letters() => {
                self.of(message, |refresh| refresh.given_up = true);
            }
            What::Taken { queue, message } if self.is_for_work(queue) => {
                let is_forwarded = *queue == topology.quarantine();
                self.of(message, |refresh| {
                    // What is requeued says when it was requested, and gets a new date.
                    let is_duplicate = !is_forwarded
                        && message.body == refresh.message.body
                        && message.properties.timestamp == refresh.message.properties.timestamp;
                    refresh.since.get_or_insert(at);
                    refresh.duplicates += usize::from(is_duplicate);
                    refresh.lives.taken(at, message, is_forwarded);
                });
            }
            What::Acked {
                client,
                message: Some((queue, message)),
                ..
            } if self.is_for_work(queue) => {
                self.of(message, |refresh| refresh.lives.acknowledged(at, *client, message));
            }
            What::Left { queue, message, reason } if self.is_for_work(queue) => self.of(message, |refresh| {
                refresh.lives.left(at);
                refresh.given_up |= *reason == "delivery_limit";
            }),
            // A command that its sender sends again is a duplicate.
            What::PublishFailed { client, messages, .. } if *client > 0 => {
                for outgoing in messages {
                    if outgoing.exchange != topology.events() {
                        self.of(&outgoing.message, |refresh| refresh.doubled += 1);
                    } else if let Some(id) = decode(&outgoing.message).as_ref().map(command_of) {
                        self.by_id(&id, |refresh| refresh.published_again += 1);
                    }
                }
            }
            What::Handed {
                client, queue, message, ..
            } if self.is_for_work(queue) => {
                self.of(message, |refresh| refresh.lives.delivered(*client, message));
            }
            What::Disconnected { client } => {
                let lost = Disconnection { from: at, to: None };
                self.disconnections.entry(*client).or_default().push(lost);
            }
            What::Connected { client } => {
                let lost = self.disconnections.get_mut(client).and_then(|lost| lost.last_mut());
                if let Some(lost) = lost {
                    lost.to = Some(at);
                }
            }
            What::Returned { client, message, .. } => self.of(message, |refresh| {
                refresh.returned += 1;
                refresh.lives.returned(at, *client, message);
            }),
            What::Sent { client, outgoing } if *client > 0 => {
                if outgoing.exchange == topology.events() {
                    if let Some(id) = decode(&outgoing.message).as_ref().map(command_of) {
                        self.by_id(&id, |refresh| refresh.sent += 1);
                    }
                } else {
                    self.of(&outgoing.message, |refresh| {
                        refresh.sent += 1;
                        refresh.lives.sent(*client, &outgoing.message);
                    });
                }
            }
            _ => {}
        }
    }

    fn on_event(&mut self, at: Instant, message: &Message) {
        let Some(event) = decode(message) else { return };
        let id = command_of(&event);
        let message = message.clone();
        self.by_id(&id, |refresh| refresh.events.push(Published { at, event, message }));
    }

    fn of(&mut self, message: &Message, enter: impl FnOnce(&mut Refresh<'a>)) {
        if let Some(id) = &message.properties.message_id {
            self.by_id(id, enter);
        }
    }

    fn by_id(&mut self, id: &str, enter: impl FnOnce(&mut Refresh<'a>)) {
        if let Some(refresh) = self.refreshes.get_mut(id) {
            enter(refresh);
        }
    }
}

impl<'a> Refresh<'a> {
    fn new(id: &'a str, command: &'a RefreshConnection, message: Message) -> Self {
        Self {
            id,
            command,
            interactive: false,
            since: None,
            message,
            duplicates: 0,
            returned: 0,
            lives: Lives::default(),
            events: Vec::new(),
            sent: 0,
            doubled: 0,
            published_again: 0,
            given_up: false,
        }
    }

    /// How often it may have been gone about: once for each duplicate, and once more whenever a message of it came back, or was published again
    /// because its worker did not know that the broker had it.
    pub(crate) fn runs(&self) -> usize {
        self.duplicates + self.returned + self.doubled
    }

    /// The most messages of it at a time, from one moment to another.
    pub(crate) fn live_max(&self, from: Instant, to: Instant) -> i32 {
        self.lives.most(from, to)
    }

    /// The most messages of it at a time.
    pub(crate) fn live_most_ever(&self) -> usize {
        self.lives.most_ever()
    }

    /// Whether any of its events names a task.
    pub(crate) fn names(&self, task: &str) -> bool {
        let mut contexts = self.events.iter().map(|published| published.event.context());
        contexts.any(|context| context.task_id == task)
    }

    /// The timestamp of the message that it is sent as.
    pub(crate) fn timestamp(&self) -> Option<u64> {
        self.message.properties.timestamp
    }

    /// The id of an event of it, by what happened.
    pub(crate) fn event_id(&self, what: &str) -> String {
        let command = Uuid::parse_str(self.id).expect("a command's id");
        let RefreshConnection {
            bank_connection_id,
            user_id,
            ..
        } = self.command;
        let refresh = Uuid::new_v5(&command, format!("{bank_connection_id}/{user_id}").as_bytes());
        Uuid::new_v5(&refresh, what.as_bytes()).to_string()
    }
}

pub(crate) fn decode(message: &Message) -> Option<Event> {
    Event::decode(message.properties.kind.as_deref()?, &message.body).ok()
}

fn command_of(event: &Event) -> String {
    event.context().command_id.clone()
}
