//! The refreshes that were seen, as many as there is room for: who was quiet for longest goes first.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::console::event::{Seen, What};
use crate::plain::plain;
use crate::proto::{FailureReason, RefreshContext, UpdateOrigin, UserActionReason, timestamp};

/// How many bytes of a refresh's labels are kept.
const LABELS_BYTES_MAX: usize = 1024;

/// How many web forms of a refresh are kept.
const ASKED_MAX: usize = 4;

/// A command's id, its user and its connection.
type Key = (Uuid, String, i64);

/// What is remembered of refreshes.
#[derive(Debug)]
pub(in crate::console) struct Refreshes {
    max: usize,
    /// By when they changed last.
    all: BTreeMap<u64, Refresh>,
    by_key: BTreeMap<Key, u64>,
    next: u64,
}

/// A refresh, as far as its events say.
#[derive(Clone, Debug)]
pub(in crate::console) struct Refresh {
    pub(in crate::console) command_id: Uuid,
    pub(in crate::console) user_id: String,
    pub(in crate::console) connection_id: i64,
    pub(in crate::console) task_id: String,
    pub(in crate::console) labels: Vec<(String, String)>,
    pub(in crate::console) bank: Option<(i64, String)>,
    pub(in crate::console) trace_id: Option<u128>,
    pub(in crate::console) times: crate::proto::RefreshTimes,
    pub(in crate::console) asked: Vec<Asked>,
    /// The highest number of a part that came.
    pub(in crate::console) parts: u32,
    pub(in crate::console) outcome: Option<Outcome>,
    /// When its newest event happened.
    pub(in crate::console) last_at: Timestamp,
}

/// A time that the user was asked.
#[derive(Clone, Debug)]
pub(in crate::console) struct Asked {
    pub(in crate::console) at: Timestamp,
    pub(in crate::console) reason: UserActionReason,
    pub(in crate::console) expires_at: Option<Timestamp>,
}

/// How a refresh ended.
#[derive(Clone, Debug)]
pub(in crate::console) enum Outcome {
    Updated {
        origin: UpdateOrigin,
        new_transactions: u32,
    },
    Failed {
        reason: FailureReason,
        code: String,
        retryable: bool,
        request_id: String,
    },
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum Change {
    /// Nothing that is counted.
    None,
    Asked,
    Ended {
        name: &'static str,
        is_failure: bool,
        took: Option<Duration>,
    },
}

/// Which refreshes are looked for.
#[derive(Clone, Debug, Default)]
pub(in crate::console) struct Search {
    /// Text that is in an id, a bank, a label or the outcome, in small letters.
    pub(in crate::console) text: String,
    pub(in crate::console) outcome: Which,
}

/// By how far a refresh is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::console) enum Which {
    #[default]
    All,
    Updated,
    Failed,
    /// No outcome yet.
    Open,
}

impl Refreshes {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            all: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next: 0,
        }
    }

    /// Takes in an event; none where its ids are none.
    pub(super) fn seen(&mut self, seen: Seen, now: Timestamp) -> Option<Change> {
        let context = &seen.context;
        let id = Uuid::parse_str(&context.command_id).ok()?;
        let user = plain(&context.user_id).chars().take(64).collect::<String>();
        let key = (id, user, context.bank_connection_id);
        let number = self.by_key.get(&key);
        let known = number.and_then(|number| self.all.get(number));
        // The first outcome counts, and what comes after it changes nothing.
        if known.is_some_and(|refresh| refresh.outcome.is_some()) {
            return Some(Change::None);
        }
        let known = number.and_then(|number| self.all.remove(number));
        let mut refresh = known.unwrap_or_else(|| Refresh::new(&key, context));
        let change = refresh.take(seen, now);
        self.next += 1;
        self.all.insert(self.next, refresh);
        self.by_key.insert(key, self.next);
        while self.all.len() > self.max {
            if let Some((_, old)) = self.all.pop_first() {
                self.by_key.remove(&(old.command_id, old.user_id, old.connection_id));
            }
        }
        Some(change)
    }

    pub(in crate::console) fn count(&self) -> usize {
        self.all.len()
    }

    /// How many have asked their user and have no outcome.
    pub(in crate::console) fn awaiting_user(&self) -> usize {
        self.all.values().filter(|refresh| refresh.awaits_user()).count()
    }

    /// Those that are looked for, the newest first, before one that was shown already.
    pub(in crate::console) fn find(&self, search: &Search, before: u64) -> impl Iterator<Item = (u64, &Refresh)> {
        let found = self.all.range(..before).rev();
        let found = found.map(|(number, refresh)| (*number, refresh));
        found.filter(move |(_, refresh)| search.takes(refresh))
    }

    /// Those of a command: usually one.
    pub(in crate::console) fn of_command(&self, id: Uuid) -> impl Iterator<Item = &Refresh> {
        let keys = self.by_key.range((id, String::new(), i64::MIN)..);
        let keys = keys.take_while(move |(key, _)| key.0 == id);
        keys.filter_map(|(_, number)| self.all.get(number))
    }
}

impl Refresh {
    fn new((command_id, user_id, connection_id): &Key, context: &RefreshContext) -> Self {
        Self {
            command_id: *command_id,
            user_id: user_id.clone(),
            connection_id: *connection_id,
            task_id: String::new(),
            labels: labels(context),
            bank: None,
            trace_id: None,
            times: crate::proto::RefreshTimes::default(),
            asked: Vec::new(),
            parts: 0,
            outcome: None,
            last_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn take(&mut self, seen: Seen, now: Timestamp) -> Change {
        let Seen {
            context,
            trace_id,
            what,
        } = seen;
        let at = context.occurred_at.as_ref().and_then(timestamp).unwrap_or(now);
        self.last_at = self.last_at.max(at);
        self.trace_id = trace_id.or(self.trace_id);
        self.times = context.times.unwrap_or_default();
        if !context.task_id.is_empty() {
            self.task_id = plain(&context.task_id).chars().take(64).collect();
        }
        match what {
            What::Part { number } => {
                self.parts = self.parts.max(number);
                Change::None
            }
            What::UserAsked { reason, expires_at } => self.on_asked(Asked { at, reason, expires_at }),
            What::Updated {
                origin,
                bank,
                parts,
                new_transactions,
            } => {
                self.bank = bank;
                self.parts = parts;
                self.end(Outcome::Updated {
                    origin,
                    new_transactions,
                })
            }
            What::Failed {
                reason,
                code,
                retryable,
                request_id,
            } => self.end(Outcome::Failed {
                reason,
                code,
                retryable,
                request_id,
            }),
        }
    }

    fn on_asked(&mut self, asked: Asked) -> Change {
        // A repeat has the same moment.
        if self.asked.len() >= ASKED_MAX || self.asked.iter().any(|known| known.at == asked.at) {
            return Change::None;
        }
        self.asked.push(asked);
        Change::Asked
    }

    fn end(&mut self, outcome: Outcome) -> Change {
        let (name, is_failure) = (outcome.name(), outcome.is_failure());
        self.outcome = Some(outcome);
        let took = self.took();
        Change::Ended { name, is_failure, took }
    }

    /// From the command to the outcome.
    pub(in crate::console) fn took(&self) -> Option<Duration> {
        let from = self.times.requested_at.as_ref().and_then(timestamp)?;
        self.outcome.as_ref()?;
        self.last_at.duration_since(from).try_into().ok()
    }

    pub(in crate::console) fn awaits_user(&self) -> bool {
        self.outcome.is_none() && !self.asked.is_empty() && self.times.web_form_ended_at.is_none()
    }
}

/// As many of the labels as there is room for.
fn labels(context: &RefreshContext) -> Vec<(String, String)> {
    let mut room = LABELS_BYTES_MAX;
    let fits = |(key, value): &(String, String)| {
        let size = key.len() + value.len();
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    let labels = context.labels.iter();
    let labels = labels.map(|(key, value)| (plain(key).into_owned(), plain(value).into_owned()));
    labels.take_while(fits).collect()
}

impl Outcome {
    /// Its name, in small letters.
    pub(in crate::console) fn name(&self) -> &'static str {
        match self {
            Self::Updated { origin, .. } => crate::console::pages::origin_name(*origin),
            Self::Failed { reason, .. } => crate::console::pages::reason_name(*reason),
        }
    }

    pub(in crate::console) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl Search {
    fn takes(&self, refresh: &Refresh) -> bool {
        let which = match (self.outcome, &refresh.outcome) {
            (Which::All, _) | (Which::Open, None) => true,
            (Which::Updated, Some(outcome)) => !outcome.is_failure(),
            (Which::Failed, Some(outcome)) => outcome.is_failure(),
            (Which::Open, Some(_)) | (Which::Updated | Which::Failed, None) => false,
        };
        which && (self.text.is_empty() || self.is_in(refresh))
    }

    fn is_in(&self, refresh: &Refresh) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.text);
        let outcome = refresh.outcome.as_ref();
        has(&refresh.user_id)
            || refresh.connection_id.to_string() == self.text
            || has(&refresh.command_id.to_string())
            || has(&refresh.task_id)
            || refresh.bank.as_ref().is_some_and(|(_, name)| has(name))
            || refresh.labels.iter().any(|(key, value)| has(&format!("{key}={value}")))
            || outcome.is_some_and(|outcome| has(outcome.name()))
            || matches!(outcome, Some(Outcome::Failed { code, .. }) if has(code))
    }
}

impl std::str::FromStr for Which {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "" => Ok(Self::All),
            "updated" => Ok(Self::Updated),
            "failed" => Ok(Self::Failed),
            "open" => Ok(Self::Open),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u128, user: &str, what: What) -> Seen {
        Seen {
            context: RefreshContext {
                command_id: Uuid::from_u128(number).to_string(),
                user_id: user.to_owned(),
                bank_connection_id: 7,
                labels: [("tenant".to_owned(), "blue".to_owned())].into(),
                occurred_at: Some(prost_types::Timestamp { seconds: 70, nanos: 0 }),
                times: Some(crate::proto::RefreshTimes {
                    requested_at: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
                    ..Default::default()
                }),
                ..RefreshContext::default()
            },
            trace_id: None,
            what,
        }
    }

    fn failed() -> What {
        What::Failed {
            reason: FailureReason::BankRejected,
            code: "WRONG_PIN".to_owned(),
            retryable: false,
            request_id: String::new(),
        }
    }

    fn asked() -> What {
        What::UserAsked {
            reason: UserActionReason::Immediate,
            expires_at: None,
        }
    }

    #[test]
    fn one_outcome_counts_and_a_repeat_does_not() {
        let mut refreshes = Refreshes::new(10);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(refreshes.seen(seen(1, "anna", asked()), now), Some(Change::Asked));
        assert_eq!(refreshes.seen(seen(1, "anna", asked()), now), Some(Change::None));
        assert_eq!(refreshes.awaiting_user(), 1);
        let took = Some(Duration::from_secs(10));
        let ended = Change::Ended {
            name: "bank rejected",
            is_failure: true,
            took,
        };
        assert_eq!(refreshes.seen(seen(1, "anna", failed()), now), Some(ended));
        assert_eq!(refreshes.seen(seen(1, "anna", failed()), now), Some(Change::None));
        assert_eq!((refreshes.count(), refreshes.awaiting_user()), (1, 0));
        // The same id, of another user.
        assert_eq!(refreshes.seen(seen(1, "bert", failed()), now), Some(ended));
        assert_eq!(refreshes.of_command(Uuid::from_u128(1)).count(), 2);
    }

    #[test]
    fn what_comes_after_the_outcome_changes_nothing() {
        let mut refreshes = Refreshes::new(10);
        refreshes.seen(seen(1, "anna", failed()), Timestamp::UNIX_EPOCH);
        let shown = |refreshes: &Refreshes| {
            let found: Vec<&Refresh> = refreshes.of_command(Uuid::from_u128(1)).collect();
            format!("{found:?}")
        };
        let before = shown(&refreshes);
        let updated = What::Updated {
            origin: UpdateOrigin::Silent,
            bank: Some((7, "A bank".to_owned())),
            parts: 2,
            new_transactions: 12,
        };
        for what in [updated, What::Part { number: 9 }, asked()] {
            let mut late = seen(1, "anna", what);
            late.context.occurred_at = Some(prost_types::Timestamp { seconds: 90, nanos: 0 });
            assert_eq!(refreshes.seen(late, Timestamp::UNIX_EPOCH), Some(Change::None));
        }
        assert_eq!(shown(&refreshes), before);
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let mut refreshes = Refreshes::new(3);
        for number in [1, 2, 3, 1, 4] {
            refreshes.seen(seen(number, "anna", asked()), Timestamp::UNIX_EPOCH);
        }
        let all = Search::default();
        let kept: Vec<u128> = refreshes
            .find(&all, u64::MAX)
            .map(|(_, it)| it.command_id.as_u128())
            .collect();
        assert_eq!(
            kept,
            [4, 1, 3],
            "the newest first, without the one that was quiet for longest"
        );
        assert_eq!(refreshes.by_key.len(), 3);
    }

    #[test]
    fn a_search_goes_by_ids_labels_and_outcomes() {
        let mut refreshes = Refreshes::new(10);
        refreshes.seen(seen(1, "anna", failed()), Timestamp::UNIX_EPOCH);
        refreshes.seen(seen(2, "bert", asked()), Timestamp::UNIX_EPOCH);
        let found = |text: &str, outcome| {
            let search = Search {
                text: text.to_owned(),
                outcome,
            };
            refreshes
                .find(&search, u64::MAX)
                .map(|(_, it)| it.command_id.as_u128())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("ann", Which::All), [1]);
        assert_eq!(found("tenant=blue", Which::All), [2, 1]);
        assert_eq!(found("rejected", Which::All), [1]);
        assert_eq!(found("wrong_pin", Which::All), [1]);
        assert_eq!(found("7", Which::All), [2, 1]);
        assert_eq!(found("", Which::Open), [2]);
        assert_eq!(found("", Which::Failed), [1]);
        assert!(found("", Which::Updated).is_empty());
        assert!(found("nobody", Which::All).is_empty());
    }
}
