//! Starts of updates, as workers announce them to each other.
//!
//! A command may have two messages, and two workers one each. Before a worker asks for a start it says so to all, by way of the exchange for
//! wake-ups. Who hears that of a refresh of its own knows that a task may have been made for it. Of two workers that are about to ask at the
//! same moment the one with the lower number does.
//!
//! The run that finds no task ends, the announcement is published like everything that follows from a run, and another run asks.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lru::LruCache;
use uuid::Uuid;

use super::context::Context;
use crate::broker::{Message, Outgoing, Properties};
use crate::finapi::Outcome;
use crate::refresh::failure::Failure;
use crate::refresh::query::Query;
use crate::refresh::{Asked, Refresh};

/// The `type` of an announcement. Its body is the refresh, as a UUID, and the worker's number.
pub(super) const START_NAME: &str = "bankrefresh.start";

/// The most that are remembered.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(50_000).unwrap();

/// How long a start waits until others can have heard of it. A broker that takes longer keeps nobody waiting.
const ANNOUNCE_MAX: Duration = Duration::from_millis(100);

/// What was announced.
#[derive(Debug)]
pub(super) struct Starts {
    worker: u64,
    heard: Mutex<LruCache<Uuid, Heard>>,
    /// Since when it hears all that is announced.
    listens_since: Mutex<Option<Timestamp>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    own: Option<Asked>,
    others: Option<Asked>,
    /// Who of the others announced it last.
    by: u64,
}

/// Who asks for a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// This worker, now.
    Own,
    /// This worker, once it has announced it since it read the list of tasks.
    Unannounced,
    /// Another worker, or nobody because there is a task by now: search again.
    NotOwn,
}

impl Starts {
    pub(super) fn new(worker: u64) -> Self {
        Self {
            worker,
            heard: Mutex::new(LruCache::new(REMEMBERED_MAX)),
            listens_since: Mutex::default(),
        }
    }

    /// When starts of a refresh were announced, by this worker or another one. What was announced before this worker listened may have been long
    /// ago, and nobody waits for it.
    pub(super) fn of(&self, refresh: &Refresh) -> Option<Asked> {
        let heard = self.heard().peek(&name(refresh)).copied().unwrap_or_default();
        let listens_since = *self.listens_since();
        let missed = listens_since.is_none_or(|since| refresh.requested_at < since);
        let missed = missed.then_some(Asked {
            first: refresh.requested_at,
            last: Timestamp::MIN,
        });
        Asked::both(Asked::both(heard.own, heard.others), missed)
    }

    /// From now on it hears what others announce; none: it does not.
    pub(super) fn listen(&self, since: Option<Timestamp>) {
        *self.listens_since() = since;
    }

    /// An announcement came.
    pub(super) fn on_announcement(&self, body: &[u8], now: Timestamp) {
        if let (Some(name), Some(by)) = (body.get(..16), body.get(16..))
            && let (Ok(name), Ok(by)) = (Uuid::from_slice(name), by.try_into())
        {
            let by = u64::from_be_bytes(by);
            if by != self.worker {
                self.note(name, |heard| {
                    heard.others = Asked::both(heard.others, Some(Asked::at(now)));
                    heard.by = by;
                });
            }
        }
    }

    fn note(&self, name: Uuid, change: impl FnOnce(&mut Heard)) {
        change(self.heard().get_or_insert_mut(name, Heard::default));
    }

    /// Who asks for the start of a refresh.
    pub(super) fn asker(&self, refresh: &Refresh) -> Asker {
        if self.is_others(refresh) {
            return Asker::NotOwn;
        }
        let own = self.heard().peek(&name(refresh)).and_then(|heard| heard.own);
        match own.is_some_and(|own| own.last >= refresh.due_at) {
            true => Asker::Own,
            false => Asker::Unannounced,
        }
    }

    /// Whether another worker asks for the same start, and is to be the one that does.
    fn is_others(&self, refresh: &Refresh) -> bool {
        let heard = self.heard();
        let heard = heard.peek(&name(refresh)).filter(|heard| heard.by < self.worker);
        let others = heard.and_then(|heard| heard.others);
        others.is_some_and(|others| others.last >= refresh.due_at)
    }

    /// A start that this worker announced is not made.
    pub(super) fn forget(&self, refresh: &Refresh) {
        self.note(name(refresh), |heard| heard.own = None);
    }

    fn heard(&self) -> MutexGuard<'_, LruCache<Uuid, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listens_since(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.listens_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn body(&self, name: Uuid) -> Vec<u8> {
        [&name.as_bytes()[..], &self.worker.to_be_bytes()].concat()
    }
}

/// A refresh, in messages and memories of starts.
fn name(refresh: &Refresh) -> Uuid {
    refresh.command.refresh_id().event_id("start")
}

impl Context {
    /// Announces a start to all workers. If another worker asks for it, the refresh searches again.
    pub(super) async fn announce_start(self: &Arc<Self>, refresh: &mut Refresh) {
        let name = name(refresh);
        let message = Outgoing {
            exchange: self.topology.wake(),
            routing_key: String::new(),
            message: Message {
                body: self.starts.body(name).into(),
                properties: Properties {
                    kind: Some(START_NAME.to_owned()),
                    message_id: Some(name.to_string()),
                    ..Properties::default()
                },
            },
        };
        let context = Arc::clone(self);
        let announcing = tokio::spawn(async move { context.broker.publish(vec![message]).await.is_ok() });
        // A worker without others, or whose others can't hear it, starts all the same.
        let _ = tokio::time::timeout(ANNOUNCE_MAX, announcing).await;
        if self.starts.is_others(refresh) {
            return refresh.interrupted();
        }
        let now = self.clock.now();
        self.starts
            .note(name, |heard| heard.own = Asked::both(heard.own, Some(Asked::at(now))));
    }

    /// A start that was not sent, or that finAPI refused, is none.
    pub(super) fn on_start(&self, refresh: &Refresh, query: &Query, outcome: &Outcome) {
        let is_none = match outcome {
            Outcome::Response(result) => result.as_ref().is_err_and(Failure::is_refusal),
            Outcome::NeedsToken | Outcome::NeedsRoom(_) | Outcome::Stopped => true,
        };
        if *query == Query::Start && is_none {
            self.starts.forget(refresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{RefreshConnection, from_timestamp};
    use crate::refresh::{Command, Envelope};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_772_438_400 + seconds).expect("a time")
    }

    /// A refresh of a user, sent at 100 s.
    fn refresh(user: &str) -> Refresh {
        let command = RefreshConnection {
            command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001".into(),
            user_id: user.into(),
            bank_connection_id: 7,
            requested_at: Some(from_timestamp(at(100))),
            ..RefreshConnection::default()
        };
        let command = Command::parse(command).expect("a command");
        Refresh::new(command, at(100), Envelope::default(), at(100))
    }

    fn listening(worker: u64) -> Starts {
        let starts = Starts::new(worker);
        starts.listen(Some(at(0)));
        starts
    }

    #[test]
    fn what_another_worker_announces_is_known_of_that_refresh_alone() {
        let (one, other) = (listening(1), listening(2));
        let anna = refresh("anna");
        assert_eq!(one.of(&anna), None);
        one.on_announcement(&other.body(name(&anna)), at(101));
        one.on_announcement(&other.body(name(&anna)), at(105));
        let asked = one.of(&anna).expect("it was announced");
        assert_eq!((asked.first, asked.last), (at(101), at(105)));
        assert_eq!(one.of(&refresh("bob")), None);
    }

    #[test]
    fn of_two_that_announce_at_once_the_lower_number_asks() {
        let (one, other) = (listening(1), listening(2));
        let anna = refresh("anna");
        one.on_announcement(&other.body(name(&anna)), at(101));
        other.on_announcement(&one.body(name(&anna)), at(101));
        assert!(!one.is_others(&anna) && other.is_others(&anna));
        // What was announced before it read the list is no reason not to ask.
        let mut later = refresh("anna");
        later.due_at = at(200);
        assert!(!other.is_others(&later));
    }

    #[test]
    fn who_did_not_listen_when_a_command_was_sent_may_have_missed_its_start_and_waits_for_nothing() {
        let starts = Starts::new(1);
        let asked = |since| {
            starts.listen(since);
            starts.of(&refresh("anna")).map(|asked| (asked.first, asked.last))
        };
        let missed = Some((at(100), Timestamp::MIN));
        assert_eq!(
            [asked(None), asked(Some(at(101))), asked(Some(at(100)))],
            [missed, missed, None]
        );
    }

    #[test]
    fn its_own_start_is_known_until_it_is_refused_and_noise_is_nothing() {
        let starts = listening(1);
        let anna = refresh("anna");
        starts.note(name(&anna), |heard| heard.own = Some(Asked::at(at(101))));
        starts.on_announcement(&starts.body(name(&anna)), at(102));
        assert_eq!(starts.of(&anna), Some(Asked::at(at(101))));
        starts.forget(&anna);
        for noise in [&b""[..], b"x", &[0; 23], &[0; 25], &[255; 4096]] {
            starts.on_announcement(noise, at(103));
        }
        assert_eq!(starts.of(&anna), None);
    }
}
