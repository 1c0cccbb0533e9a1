//! Goes through the dead letters for a visitor, by the rules of `bankrefresh dead-letters`: what is replayed is confirmed first and acknowledged
//! then, and what is not meant goes back.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::broker::rabbit::{self, DeadLetter, DeadLetters};
use crate::broker::topology::Topology;
use crate::dead_letters::{Row, refresh_of, replayed};
use crate::plain::plain;

/// How many are listed.
const LISTED_MAX: usize = 100;

/// How many are looked at for one that is meant.
const READ_MAX: usize = 3000;

/// The way to the dead letters.
#[derive(Debug)]
pub(super) struct Letters {
    settings: rabbit::Settings,
    topology: Topology,
    /// One after the other: two at once share the messages.
    turn: Arc<Mutex<()>>,
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

/// What to do with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Replay,
    Discard,
}

impl Letters {
    pub(super) fn new(settings: &rabbit::Settings, topology: Topology) -> Self {
        Self {
            settings: settings.named("console dead-letters"),
            topology,
            turn: Arc::default(),
        }
    }

    /// The first ones.
    pub(super) async fn list(self: Arc<Self>) -> Result<List, String> {
        let turn = Arc::clone(&self.turn);
        to_the_end(
            turn,
            async move { self.read().await.map_err(|error| said(error.as_ref())) },
        )
        .await
    }

    /// Does something with those that have this id, and says how many these were.
    pub(super) async fn act(self: Arc<Self>, id: String, action: Action) -> Result<usize, String> {
        let turn = Arc::clone(&self.turn);
        to_the_end(turn, async move {
            let performed = self.perform(&id, action).await.map_err(|error| said(error.as_ref()));
            // Here, because the request may be over by now.
            match &performed {
                Ok(0) => {}
                Ok(count) => tracing::warn!(id, ?action, count, "a visitor of the console acted on a dead letter"),
                Err(error) => tracing::warn!(
                    id,
                    ?action,
                    error,
                    "an action of a visitor on a dead letter was not finished"
                ),
            }
            performed
        })
        .await
    }

    async fn read(&self) -> Result<List, Box<dyn std::error::Error + Send + Sync>> {
        let mut letters = DeadLetters::open(&self.settings, &self.topology).await?;
        let mut list = List::default();
        while list.letters.len() < LISTED_MAX {
            let page = letters.next_page().await?;
            if page.is_empty() {
                break;
            }
            list.letters.extend(page.iter().map(|letter| self.listed(letter)));
        }
        list.left = letters.left();
        letters.close().await?;
        Ok(list)
    }

    fn listed(&self, letter: &DeadLetter) -> Listed {
        Listed {
            row: Row::of(letter, &self.topology),
            size: letter.message.body.len(),
            refresh: refresh_of(letter),
        }
    }

    async fn perform(&self, id: &str, action: Action) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let mut letters = DeadLetters::open(&self.settings, &self.topology).await?;
        let performed = self.go_through(&mut letters, id, action).await;
        // Also after a failure: it goes back in order this way.
        let closed = letters.close().await;
        let count = performed?;
        closed?;
        Ok(count)
    }

    async fn go_through(
        &self,
        letters: &mut DeadLetters,
        id: &str,
        action: Action,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let (mut read, mut count) = (0, 0);
        while read < READ_MAX {
            let page = letters.next_page().await?;
            if page.is_empty() {
                break;
            }
            read += page.len();
            let mut meant = Vec::new();
            for letter in page {
                let row = Row::of(&letter, &self.topology);
                if row.id == id {
                    if action == Action::Replay {
                        letters.publish(vec![replayed(&letter, &row, &self.topology)?]).await?;
                    }
                    meant.push(letter);
                }
            }
            letters.ack(&meant).await?;
            count += meant.len();
        }
        Ok(count)
    }
}

/// Waits for its turn as long as the visitor does; what has begun then goes on to its end.
async fn to_the_end<T: Send + 'static>(
    turn: Arc<Mutex<()>>,
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    let turn = turn.lock_owned().await;
    let ended = tokio::spawn(async move {
        let _turn = turn;
        work.await
    });
    let ended = ended.await;
    ended.unwrap_or_else(|error| Err(error.to_string()))
}

/// An error with its causes, in one plain line.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    plain(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_leaves_waits_no_more() {
        let letters = Arc::new(Letters::new(&rabbit::Settings::default(), Topology::new("bankrefresh")));
        let _turn = Arc::clone(&letters.turn).lock_owned().await;
        let wait = Duration::from_secs(10);
        assert!(timeout(wait, Arc::clone(&letters).list()).await.is_err());
        let act = Arc::clone(&letters).act("an id".to_owned(), Action::Discard);
        assert!(timeout(wait, act).await.is_err());
        assert_eq!(Arc::strong_count(&letters), 1, "nobody waits");
    }
}
