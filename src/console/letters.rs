//! Goes through the dead letters for a visitor, by the rules of `bankrefresh dead-letters`, and remembers what became of each action.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::time::timeout;
use uuid::Uuid;

use super::said;
use crate::broker::rabbit;
use crate::broker::topology::Topology;
use crate::dead_letters::{Found, Hidden, Row, Visit, VisitError, refresh_of, whole};
use crate::plain::{plain, plain_json};

/// How many are listed.
const LISTED_MAX: usize = 100;

/// How many are read to find one by its id.
pub(super) const READ_MAX: usize = 3000;

/// How many actions are remembered, for the pages that say what became of them.
const ACTIONS_MAX: usize = 100;

/// How long a visitor waits for its turn, and then for the end of an action before a page says that it goes on. A request may take ten seconds.
const WAIT_MAX: Duration = Duration::from_secs(4);

/// The way to the dead letters.
#[derive(Debug)]
pub(super) struct Letters {
    settings: rabbit::Settings,
    topology: Topology,
    /// One after the other: two at once share the messages.
    turn: Arc<Turn<()>>,
    actions: Mutex<VecDeque<Acted>>,
}

/// A dead letter as it is listed.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) row: Row,
    pub(super) size: usize,
    /// Its command's id, its user and its connection.
    pub(super) refresh: Option<(String, String, i64)>,
}

/// What is listed, and how many are not.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) letters: Vec<Listed>,
    pub(super) left: u32,
}

/// A dead letter with all that a page may show of it, as JSON for people.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) listed: Listed,
    pub(super) json: String,
}

/// What to do with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Replay,
    Discard,
}

/// An action of a visitor, by an id that only the server knows before.
#[derive(Clone, Debug)]
pub(super) struct Acted {
    number: Uuid,
    pub(super) action: Action,
    /// The dead letter's id.
    pub(super) id: String,
    pub(super) fate: Fate,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// Nothing was done: others have their turn.
    Busy,
    /// All dead letters of this id that were read are gone from the queue: so many.
    Done(usize),
    /// Nothing was done: there is none of this id.
    Missing,
    /// Nothing was done: there is none among those that were read, and there are more.
    TooFar,
    /// Nothing was done: it stays, and why.
    Stays(String),
    /// It broke off, and why. Some of it may be done.
    BrokenOff(String),
}

impl Letters {
    pub(super) fn new(settings: &rabbit::Settings, topology: Topology) -> Self {
        Self {
            settings: settings.named("console dead-letters"),
            topology,
            turn: Arc::default(),
            actions: Mutex::default(),
        }
    }

    /// The first ones.
    pub(super) async fn list(self: Arc<Self>) -> Result<List, String> {
        let turn = self.turn().await?;
        to_the_end(turn, async move { self.visit(read).await }).await
    }

    /// The first one of this id; none where there is none among those that are read.
    pub(super) async fn show(self: Arc<Self>, id: String) -> Result<Option<Shown>, String> {
        let turn = self.turn().await?;
        to_the_end(
            turn,
            async move { self.visit(async |visit| find(visit, &id).await).await },
        )
        .await
    }

    /// Does something with those that have this id. Answers with the action's number when it is over or takes long. What has begun goes on to its
    /// end, also if the visitor leaves, and [`Letters::acted`] knows what became of it.
    pub(super) async fn act(self: Arc<Self>, id: String, action: Action) -> Uuid {
        let number = Uuid::new_v4();
        let fate = |fate| Acted {
            number,
            action,
            id: shortened(&id),
            fate,
        };
        let Ok(turn) = self.turn().await else {
            self.remember(fate(Fate::Busy));
            return number;
        };
        self.remember(fate(Fate::Open));
        let acting = tokio::spawn(async move {
            let performed = self.visit(async |visit| perform(visit, &id, action).await).await;
            let fate = performed.unwrap_or_else(Fate::BrokenOff);
            // Here, because the request may be over by now.
            log(&id, action, &fate);
            self.end(number, fate);
            drop(turn);
        });
        // Whether it is over or not: the page asks.
        let _ = timeout(WAIT_MAX, acting).await;
        number
    }

    /// What became of an action, if it is remembered.
    pub(super) fn acted(&self, number: Uuid) -> Option<Acted> {
        let actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        actions.iter().find(|acted| acted.number == number).cloned()
    }

    fn remember(&self, acted: Acted) {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        actions.push_back(acted);
        while actions.len() > ACTIONS_MAX {
            actions.pop_front();
        }
    }

    fn end(&self, number: Uuid, fate: Fate) {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(acted) = actions.iter_mut().find(|acted| acted.number == number) {
            acted.fate = fate;
        }
    }

    /// Waits for its turn as long as the visitor does.
    async fn turn(&self) -> Result<OwnedMutexGuard<()>, String> {
        let turn = timeout(WAIT_MAX, Arc::clone(&self.turn).lock_owned()).await;
        turn.map_err(|_| "somebody else goes through them just now".to_owned())
    }

    /// Goes through the dead letters. What nobody acted on goes back, also after an error or a panic.
    async fn visit<T>(&self, go: impl AsyncFnOnce(&mut Visit) -> Result<T, VisitError>) -> Result<T, String> {
        let opened = Visit::open(&self.settings, &self.topology).await;
        let mut visit = opened.map_err(|error| said(&error))?;
        let went = caught(go(&mut visit)).await;
        // It goes back in order this way. If that fails, the broker requeues it by itself, and what was done is done.
        if let Err(error) = visit.close().await {
            tracing::debug!(%error, "lost the connection while dead letters were put back");
        }
        went
    }
}

/// A panic counts as an error: the page says that the action broke off, and does not say for ever that it goes on.
async fn caught<T>(going: impl Future<Output = Result<T, VisitError>>) -> Result<T, String> {
    match AssertUnwindSafe(going).catch_unwind().await {
        Ok(went) => went.map_err(|error| said(&error)),
        Err(_) => Err("the console panicked, which is a bug".to_owned()),
    }
}

async fn read(visit: &mut Visit) -> Result<List, VisitError> {
    let mut list = List::default();
    while list.letters.len() < LISTED_MAX {
        let page = visit.next_page().await?;
        if page.is_empty() {
            break;
        }
        list.letters.extend(page.into_iter().map(listed));
    }
    list.left = visit.left();
    Ok(list)
}

/// The first one of this id among the first [`READ_MAX`].
async fn find(visit: &mut Visit, id: &str) -> Result<Option<Shown>, VisitError> {
    let mut looked_at = 0;
    while looked_at < READ_MAX {
        let page = visit.next_page().await?;
        if page.is_empty() {
            break;
        }
        looked_at += page.len();
        if let Some(found) = page.into_iter().find(|(row, _)| row.id == id) {
            return Ok(Some(shown(found)));
        }
    }
    Ok(None)
}

/// Acts on all of this id among the first [`READ_MAX`].
async fn perform(visit: &mut Visit, id: &str, action: Action) -> Result<Fate, VisitError> {
    let (mut looked_at, mut done, mut stays) = (0, 0, None);
    while looked_at < READ_MAX {
        let page = visit.next_page().await?;
        if page.is_empty() {
            break;
        }
        looked_at += page.len();
        let of_id: Vec<Found> = page.into_iter().filter(|(row, _)| row.id == id).collect();
        match action {
            _ if of_id.is_empty() => {}
            Action::Replay => {
                let fates = visit.replay(of_id).await?;
                done += fates.replayed.len();
                stays = fates.stay.into_iter().next().or(stays);
            }
            Action::Discard => {
                visit.discard(&of_id).await?;
                done += of_id.len();
            }
        }
    }
    Ok(fate(done, stays.map(|(_, why)| why), visit.left()))
}

/// What became of an action on so many dead letters, of which one may stay, while so many others were not read.
fn fate(done: usize, stays: Option<String>, left: u32) -> Fate {
    match (done, stays) {
        (0, Some(why)) => Fate::Stays(why),
        (done, Some(why)) => Fate::BrokenOff(format!("{done} with this id went back, and another one stays: {why}")),
        (0, None) if left > 0 => Fate::TooFar,
        (0, None) => Fate::Missing,
        (done, None) => Fate::Done(done),
    }
}

fn log(id: &str, action: Action, fate: &Fate) {
    match fate {
        Fate::Open | Fate::Busy | Fate::Missing | Fate::TooFar => {}
        Fate::Done(count) => tracing::warn!(id, ?action, count, "a visitor of the console acted on a dead letter"),
        Fate::Stays(why) => tracing::warn!(id, ?action, why, "a dead letter stays although a visitor acted on it"),
        Fate::BrokenOff(why) => tracing::warn!(id, ?action, why, "an action of a visitor on a dead letter broke off"),
    }
}

fn listed((row, letter): Found) -> Listed {
    Listed {
        row,
        size: letter.message.body.len(),
        refresh: refresh_of(&letter),
    }
}

fn shown((row, letter): Found) -> Shown {
    let json = whole(&row, &letter, Hidden::SecretsAndAccounts);
    let json = plain_json(&format!("{json:#}")).into_owned();
    Shown {
        listed: listed((row, letter)),
        json,
    }
}

/// Does it to its end, also if nobody waits for that.
async fn to_the_end<T: Send + 'static>(
    turn: OwnedMutexGuard<()>,
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    let ended = tokio::spawn(async move {
        let _turn = turn;
        work.await
    });
    let ended = ended.await;
    ended.unwrap_or_else(|error| Err(error.to_string()))
}

fn shortened(id: &str) -> String {
    plain(id).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters() -> Arc<Letters> {
        // Nobody listens there.
        let settings = rabbit::Settings::new("amqp://127.0.0.1:9/%2f".parse().expect("a URL"));
        Arc::new(Letters::new(&settings, Topology::new("bankrefresh")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_leaves_waits_no_more() {
        let letters = letters();
        let _turn = Arc::clone(&letters.turn).lock_owned().await;
        let wait = Duration::from_secs(1);
        assert!(timeout(wait, Arc::clone(&letters).list()).await.is_err());
        let act = Arc::clone(&letters).act("an id".to_owned(), Action::Discard);
        assert!(timeout(wait, act).await.is_err());
        assert_eq!(Arc::strong_count(&letters), 1, "nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_done_where_others_have_their_turn_for_long() {
        let letters = letters();
        let turn = Arc::clone(&letters.turn).lock_owned().await;
        assert!(Arc::clone(&letters).list().await.is_err());
        let number = Arc::clone(&letters).act("an id".to_owned(), Action::Discard).await;
        drop(turn);
        assert_eq!(letters.acted(number).expect("it is remembered").fate, Fate::Busy);
    }

    #[tokio::test]
    async fn an_action_that_breaks_off_says_so_and_no_other_number_says_anything() {
        let letters = letters();
        let number = Arc::clone(&letters).act("an id".to_owned(), Action::Replay).await;
        let acted = letters.acted(number).expect("it is remembered");
        assert!(matches!(acted.fate, Fate::BrokenOff(_)), "{acted:?}");
        assert!(letters.acted(Uuid::nil()).is_none());
        for _ in 0..ACTIONS_MAX {
            letters.remember(acted.clone());
        }
        assert_eq!(letters.actions.lock().expect("the actions").len(), ACTIONS_MAX);
    }

    #[tokio::test]
    async fn a_panic_on_the_way_breaks_an_action_off() {
        let why = caught::<Fate>(async { panic!("for a test") }).await;
        assert!(why.is_err_and(|why| why.contains("panicked")));
    }

    #[test]
    fn only_what_is_wholly_done_counts_as_done() {
        let why = || Some("why".to_owned());
        assert_eq!(fate(2, None, 0), Fate::Done(2));
        assert_eq!(fate(0, why(), 0), Fate::Stays("why".to_owned()));
        assert!(matches!(fate(1, why(), 0), Fate::BrokenOff(text) if text.contains("why")));
        assert_eq!((fate(0, None, 1), fate(0, None, 0)), (Fate::TooFar, Fate::Missing));
    }
}
