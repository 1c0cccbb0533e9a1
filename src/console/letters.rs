//! Goes through the dead letters for a visitor, by the rules of `bankrefresh dead-letters`: what is replayed is confirmed first and acknowledged
//! then, and what is not meant goes back.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::broker::rabbit::{self, DeadLetter, DeadLetters};
use crate::broker::topology::Topology;
use crate::dead_letters::{Row, refresh_of};
use crate::message;
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
    turn: Mutex<()>,
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
            turn: Mutex::new(()),
        }
    }

    /// The first ones. It goes on to its end when the visitor does not wait for it.
    pub(super) async fn list(self: Arc<Self>) -> Result<List, String> {
        to_the_end(async move { self.read().await.map_err(|error| said(error.as_ref())) }).await
    }

    /// Does something with those that have this id, and says how many these were.
    pub(super) async fn act(self: Arc<Self>, id: String, action: Action) -> Result<usize, String> {
        to_the_end(async move { self.perform(&id, action).await.map_err(|error| said(error.as_ref())) }).await
    }

    async fn read(&self) -> Result<List, Box<dyn std::error::Error + Send + Sync>> {
        let _turn = self.turn.lock().await;
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
        let _turn = self.turn.lock().await;
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
                        self.replay(letters, &letter, &row).await?;
                    }
                    meant.push(letter);
                }
            }
            letters.ack(&meant).await?;
            count += meant.len();
        }
        Ok(count)
    }

    async fn replay(
        &self,
        letters: &DeadLetters,
        letter: &DeadLetter,
        row: &Row,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some(flaw) = &letter.flaw {
            return Err(format!("what can be read of it is not all of it ({flaw})").into());
        }
        let outgoing = message::replay(&self.topology, &letter.message, &row.queue);
        let outgoing = outgoing.ok_or("nobody can know where it came from")?;
        Ok(letters.publish(vec![outgoing]).await?)
    }
}

/// In a task of its own, which does not end with the request.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    let ended = tokio::spawn(work).await;
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
