//! Going through the queue of dead letters. What is replayed is confirmed first and acknowledged then; what nobody acted on goes back in its
//! order.

use super::{Row, replayed};
use crate::broker::rabbit::{self, DeadLetter, DeadLetters};
use crate::broker::topology::Topology;
use crate::broker::{Outgoing, PublishError};
use crate::limits::BODY_BYTES_MAX;

/// A dead letter, and what is reported of it.
pub type Found = (Row, DeadLetter);

/// One pass over the dead letters that there are when it begins. Whoever begins one has to [close](Visit::close) it.
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
    /// Nobody knows whether the broker took what was replayed, so it is there, or here, or both.
    #[error("it is not known whether the replayed messages arrived: {0}")]
    Publish(#[from] PublishError),
}

/// A dead letter and where a replay sends it.
#[derive(Clone, Debug)]
pub struct Way {
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
    pub replayed: Vec<Way>,
    /// Those that stay, each with the reason.
    pub stay: Vec<(Row, String)>,
}

/// Where dead letters would go, and which of them would stay.
#[must_use]
pub fn ways(found: Vec<Found>, topology: &Topology) -> Fates {
    let mut fates = Fates::default();
    for (row, letter) in found {
        match replayed(&letter, &row, topology) {
            Ok(outgoing) => fates.replayed.push(Way { row, outgoing, letter }),
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

    /// How many have not been read.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.letters.left()
    }

    /// The next ones; none at the end, or where so many are held that no more should be.
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

    /// Sends dead letters of the newest page back to where they came from. Whenever this is cut short, a message is here, or there, or both.
    ///
    /// # Errors
    ///
    /// The broker did not answer.
    pub async fn replay(&mut self, found: Vec<Found>) -> Result<Fates, VisitError> {
        let mut fates = ways(found, &self.topology);
        if fates.replayed.is_empty() {
            return Ok(fates);
        }
        let all = fates.replayed.iter().map(|way| way.outgoing.clone()).collect();
        match self.letters.publish(all).await {
            Ok(()) => {}
            Err(error @ (PublishError::Down | PublishError::TimedOut)) => return Err(error.into()),
            // One of them is at fault; the others may be taken twice by this, which does no harm.
            Err(_) => self.replay_singly(&mut fates).await?,
        }
        let letters: Vec<DeadLetter> = fates.replayed.iter().map(|way| way.letter.clone()).collect();
        self.letters.ack(&letters).await?;
        Ok(fates)
    }

    async fn replay_singly(&self, fates: &mut Fates) -> Result<(), PublishError> {
        for way in std::mem::take(&mut fates.replayed) {
            match self.letters.publish(vec![way.outgoing.clone()]).await {
                Ok(()) => fates.replayed.push(way),
                Err(error @ (PublishError::Down | PublishError::TimedOut)) => return Err(error),
                Err(error) => fates.stay.push((way.row, error.to_string())),
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
