//! Which worker sends a password that none has sent before. Pure: the time is an argument, and messages are values.
//!
//! A worker announces such a password and waits a moment for objections. A worker that knows better objects: it was refused, it is being
//! sent, or a worker with a lower number has announced it too. Whoever hears an objection waits for what finAPI says to the other one; if
//! that takes long, it announces again. As long as messages take less than half of the moment, one worker sends it and no other.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::hash::{Hashed, PasswordHash};
use super::memory::{Memory, Refused};
use super::message::{Judgement, Message, Says, WorkerNumber};

/// After this a worker that waits for another one's judgement asks whether that one is still there.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What to do with a password now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Send it to finAPI, and say how that ended.
    Send,
    /// Do not send it.
    Refused(Refused),
    /// Publish this, say how that went, and ask again.
    Announce(Vec<Message>),
    /// Ask again then, or when a message has come.
    Wait(Instant),
}

/// How the sending of a password ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::finapi) enum SendEnd {
    /// finAPI took it or refused it.
    Judged(Judgement),
    /// Something else answered 4xx in finAPI's place.
    Foreign,
    /// Nothing is known: no answer, a server error, the client's own trouble.
    Nothing,
}

/// What a worker knows of passwords, and which of them it is about to send.
#[derive(Debug)]
pub(super) struct Protocol {
    me: WorkerNumber,
    /// How long it waits for objections.
    moment: Duration,
    memory: Memory,
    /// By the hash under the current key.
    trials: HashMap<PasswordHash, Trial>,
}

#[derive(Debug)]
struct Trial {
    password: Hashed,
    state: State,
    announced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The announcement is on its way.
    Announcing,
    /// It waits for objections.
    Announced {
        until: Instant,
    },
    /// Another worker goes first.
    Waiting {
        until: Instant,
    },
    Sending,
}

impl Protocol {
    pub(super) fn new(moment: Duration) -> Self {
        Self {
            me: 0,
            moment,
            memory: Memory::new(),
            trials: HashMap::new(),
        }
    }

    pub(super) fn set_number(&mut self, me: WorkerNumber) {
        self.me = me;
    }

    pub(super) fn advise(&mut self, password: &Hashed, now: Instant) -> Advice {
        let key = password.current();
        if let Some(refused) = self.objection(password, now) {
            self.trials.remove(&key);
            return Advice::Refused(refused);
        }
        let trial = self.trials.get_mut(&key);
        match trial.as_ref().map(|trial| trial.state) {
            Some(State::Sending) => return Advice::Send,
            Some(State::Announcing) => return Advice::Wait(now + self.moment),
            Some(State::Announced { until } | State::Waiting { until }) if now < until => return Advice::Wait(until),
            Some(State::Announced { .. }) => {
                if let Some(trial) = trial {
                    trial.state = State::Sending;
                }
                return Advice::Send;
            }
            Some(State::Waiting { .. }) | None => {}
        }
        let is_granted = self.memory.is_granted(password);
        let trial = Trial {
            password: password.clone(),
            state: if is_granted { State::Sending } else { State::Announcing },
            announced: !is_granted,
        };
        self.trials.insert(key, trial);
        match is_granted {
            true => Advice::Send,
            false => Advice::Announce(self.about(password, Says::Announces)),
        }
    }

    /// An announcement was published; or nobody would hear it, or this worker would hear no objection.
    pub(super) fn on_announced(&mut self, password: &Hashed, is_heard: bool, now: Instant) {
        if let Some(trial) = self.trials.get_mut(&password.current())
            && trial.state == State::Announcing
        {
            trial.state = match is_heard {
                true => State::Announced {
                    until: now + self.moment,
                },
                false => State::Sending,
            };
        }
    }

    /// The sending ended, or was given up. What other workers are to know.
    pub(super) fn on_end(&mut self, password: &Hashed, end: SendEnd, now: Instant) -> Vec<Message> {
        let announced = self
            .trials
            .remove(&password.current())
            .is_some_and(|trial| trial.announced);
        let judgement = match end {
            SendEnd::Judged(judgement) => judgement,
            SendEnd::Foreign if self.is_doubtful(password, now) => Judgement::DoubtfulAgain,
            SendEnd::Foreign => Judgement::Doubtful,
            SendEnd::Nothing if announced => return self.about(password, Says::Withdraws),
            SendEnd::Nothing => return Vec::new(),
        };
        for hash in &password.0 {
            self.memory.remember(*hash, judgement, now);
        }
        // What was known already is no news.
        if judgement == Judgement::Granted && !announced {
            return Vec::new();
        }
        self.about(password, Says::Judged(judgement))
    }

    /// Something speaks against a password, although finAPI once took it: it is announced again.
    pub(super) fn on_doubt(&mut self, password: &Hashed) {
        self.memory.doubt(password);
    }

    /// A message came. What it is answered with.
    pub(super) fn on_message(&mut self, message: Message, now: Instant) -> Vec<Message> {
        let Message { worker, hash, says } = message;
        if worker == self.me {
            return Vec::new();
        }
        match says {
            Says::Announces => self.on_announcement(worker, hash, now),
            Says::Sends => {
                self.wait_for_another(hash, now);
                Vec::new()
            }
            Says::Withdraws => {
                self.end_trial(hash, |state| matches!(state, State::Waiting { .. }));
                Vec::new()
            }
            Says::Judged(judgement) => {
                self.memory.remember(hash, judgement, now);
                self.end_trial(hash, |state| state != State::Sending);
                Vec::new()
            }
        }
    }

    fn on_announcement(&mut self, worker: WorkerNumber, hash: PasswordHash, now: Instant) -> Vec<Message> {
        let me = self.me;
        let objects = |says| vec![Message { worker: me, hash, says }];
        // What counts for a time is said once: workers that repeated it to each other would make it count for ever.
        if let Some(refused) = self
            .memory
            .objection(&hash, now)
            .filter(|refused| refused.until.is_none())
        {
            return objects(Says::Judged(refused.judgement));
        }
        match self.trial(hash).map(|trial| trial.state) {
            Some(State::Sending) => objects(Says::Sends),
            Some(State::Announcing | State::Announced { .. }) if worker < me => {
                self.wait_for_another(hash, now);
                Vec::new()
            }
            // The other one may have come too late to hear of this one.
            Some(State::Announced { .. }) => objects(Says::Announces),
            Some(State::Announcing | State::Waiting { .. }) | None => Vec::new(),
        }
    }

    fn wait_for_another(&mut self, hash: PasswordHash, now: Instant) {
        if let Some(trial) = self.trial(hash).filter(|trial| trial.state != State::Sending) {
            trial.state = State::Waiting { until: now + PATIENCE };
        }
    }

    /// What a trial waits for has happened elsewhere: the next advice starts from the beginning.
    fn end_trial(&mut self, hash: PasswordHash, is_over: impl Fn(State) -> bool) {
        let ended = self.trial(hash).filter(|trial| is_over(trial.state));
        if let Some(key) = ended.map(|trial| trial.password.current()) {
            self.trials.remove(&key);
        }
    }

    /// The trial of a password, by any of its hashes. Few are under another key than the current one, and only during a rotation.
    fn trial(&mut self, hash: PasswordHash) -> Option<&mut Trial> {
        match hash.key {
            0 => self.trials.get_mut(&hash),
            _ => self.trials.values_mut().find(|trial| trial.password.0.contains(&hash)),
        }
    }

    /// A password is left alone after something else than finAPI refused it twice.
    fn objection(&self, password: &Hashed, now: Instant) -> Option<Refused> {
        let mut objections = password.0.iter().filter_map(|hash| self.memory.objection(hash, now));
        objections.find(|refused| refused.judgement != Judgement::Doubtful)
    }

    fn is_doubtful(&self, password: &Hashed, now: Instant) -> bool {
        password.0.iter().any(|hash| self.memory.objection(hash, now).is_some())
    }

    /// Under each key, so that during a rotation all workers understand it.
    fn about(&self, password: &Hashed, says: Says) -> Vec<Message> {
        let worker = self.me;
        let hashes = password.0.iter();
        hashes
            .map(|hash| Message {
                worker,
                hash: *hash,
                says,
            })
            .collect()
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (granted, refused) = self.memory.sizes();
        (granted, refused, self.trials.len())
    }
}
