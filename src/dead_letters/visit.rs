//! Going through the queue of dead letters. What is replayed is published and confirmed first, and acknowledged then. What nobody acted on goes
//! back in its order.

use super::{Row, replayed};
use crate::broker::rabbit::{self, DeadLetter, DeadLetters};
use crate::broker::topology::Topology;
use crate::broker::{Outgoing, PublishError};
use crate::limits::BODY_BYTES_MAX;

/// A dead letter that was read, and what is reported of it.
pub type Found = (Row, DeadLetter);

/// One pass over the dead letters that there are when it begins. Whoever begins one has to [close](Visit::close) it, also after an error.
#[derive(Debug)]
pub struct Visit {
    letters: DeadLetters,
    topology: Topology,
}

/// Why a visit could not go on. What was not acknowledged until then goes back to the queue.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The queue can't be read.
    #[error(transparent)]
    Read(#[from] rabbit::Error),
    /// Nobody knows whether the broker took what was replayed. So it is where it came from, or still a dead letter, or both.
    #[error("it is not known whether the replayed messages arrived: {0}")]
    Publish(#[from] PublishError),
}

/// A dead letter and where a replay sends it.
#[derive(Clone, Debug)]
pub struct Route {
    /// What is reported of it.
    pub row: Row,
    /// Where it goes.
    pub outgoing: Outgoing,
    letter: DeadLetter,
}

/// What became of dead letters that were to be replayed.
#[derive(Clone, Debug, Default)]
pub struct Fates {
    /// Those that are back where they came from.
    pub replayed: Vec<Route>,
    /// Those that stay, each with the reason.
    pub stay: Vec<(Row, String)>,
}

/// Where dead letters would go, and which of them would stay.
#[must_use]
pub fn routes(found: Vec<Found>, topology: &Topology) -> Fates {
    let mut fates = Fates::default();
    for (row, letter) in found {
        match replayed(&letter, &row, topology) {
            Ok(outgoing) => fates.replayed.push(Route { row, outgoing, letter }),
            Err(why) => fates.stay.push((row, why)),
        }
    }
    fates
}

impl Visit {
    /// Connects.
    ///
    /// # Errors
    ///
    /// There is no connection, or no such queue.
    pub async fn open(settings: &rabbit::Settings, topology: &Topology) -> Result<Self, VisitError> {
        // The same for everybody: a larger body is left out, and the id of a message without one is a hash of what was read.
        let settings = rabbit::Settings {
            body_max: BODY_BYTES_MAX,
            ..settings.clone()
        };
        let letters = DeadLetters::open(&settings, topology).await?;
        let topology = topology.clone();
        Ok(Self { letters, topology })
    }

    /// How many of them have not been read.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.letters.left()
    }

    /// The next ones. None at the end, and none where so many are held already that no more should be.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn next_page(&mut self) -> Result<Vec<Found>, VisitError> {
        let page = self.letters.next_page().await?;
        let found = page
            .into_iter()
            .map(|letter| (Row::of(&letter, &self.topology), letter));
        Ok(found.collect())
    }

    /// Sends dead letters of the newest page back to where they came from. If this is interrupted, each of them is there, or still a dead letter,
    /// or both.
    ///
    /// # Errors
    ///
    /// The broker did not answer.
    pub async fn replay(&mut self, found: Vec<Found>) -> Result<Fates, VisitError> {
        let mut fates = routes(found, &self.topology);
        if fates.replayed.is_empty() {
            return Ok(fates);
        }
        let all = fates.replayed.iter().map(|route| route.outgoing.clone()).collect();
        match self.letters.publish(all).await {
            Ok(()) => {}
            Err(error @ (PublishError::Down | PublishError::TimedOut)) => return Err(error.into()),
            // The broker refuses one of them. The others may arrive twice because they are sent again, which does no harm.
            Err(_) => self.replay_singly(&mut fates).await?,
        }
        let letters: Vec<DeadLetter> = fates.replayed.iter().map(|route| route.letter.clone()).collect();
        self.letters.ack(&letters).await?;
        Ok(fates)
    }

    async fn replay_singly(&self, fates: &mut Fates) -> Result<(), PublishError> {
        for route in std::mem::take(&mut fates.replayed) {
            match self.letters.publish(vec![route.outgoing.clone()]).await {
                Ok(()) => fates.replayed.push(route),
                Err(error @ (PublishError::Down | PublishError::TimedOut)) => return Err(error),
                Err(error) => fates.stay.push((route.row, error.to_string())),
            }
        }
        Ok(())
    }

    /// Deletes dead letters of the newest page for good.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn discard(&mut self, found: &[Found]) -> Result<(), VisitError> {
        let letters: Vec<DeadLetter> = found.iter().map(|(_, letter)| letter.clone()).collect();
        Ok(self.letters.ack(&letters).await?)
    }

    /// Puts everything back that nobody acted on. Also after an error: it goes back in order this way.
    ///
    /// # Errors
    ///
    /// The connection was lost; the broker requeues everything by itself.
    pub async fn close(self) -> Result<(), VisitError> {
        Ok(self.letters.close().await?)
    }
}
