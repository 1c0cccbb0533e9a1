//! What the handle, the supervisor and the session share: the generation that works, and where the connection stands.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, watch};

use super::consume::ConsumerCommand;
use super::error::Error;
use super::intake::Intake;
use super::publish::Publisher;
use super::status::Status;
use crate::broker::{Subscription, Tag};
use crate::lease::Lease;

/// What the handle and the supervisor both see.
pub(super) struct Shared {
    /// The generation that works, if one does.
    link: RwLock<Option<Arc<Link>>>,
    pub(super) status: watch::Sender<Status>,
    /// The name of each subscription, and whether the broker refuses it in this generation.
    refused: Vec<(String, AtomicBool)>,
    /// The name of each subscription, and what it takes.
    pub(super) intakes: Vec<(String, watch::Sender<Intake>)>,
}

/// A generation, seen from the handle.
pub(super) struct Link {
    pub(super) generation: u64,
    pub(super) publisher: Publisher,
    /// Valid while the broker answers on the consuming connection.
    pub(super) lease: Lease,
    /// To each subscription's task.
    pub(super) commands: Vec<mpsc::UnboundedSender<ConsumerCommand>>,
}

impl Shared {
    /// Before the first attempt to connect.
    pub(super) fn new(subscriptions: &[Subscription]) -> Self {
        let names = subscriptions.iter().map(|subscription| subscription.name().to_owned());
        let intakes = subscriptions.iter().map(|subscription| {
            let intake = Intake::first(subscription);
            (subscription.name().to_owned(), watch::Sender::new(intake))
        });
        Self {
            link: RwLock::default(),
            status: watch::Sender::new(Status::Connecting { failure: None }),
            refused: names.map(|name| (name, AtomicBool::new(false))).collect(),
            intakes: intakes.collect(),
        }
    }

    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection that brought a delivery, as long as it lasts.
    pub(super) fn link_of(&self, tag: Tag) -> Option<Arc<Link>> {
        self.link().filter(|link| link.generation == tag.generation)
    }

    pub(super) fn set_link(&self, link: Option<Arc<Link>>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    pub(super) fn change_intake(&self, name: &str, change: impl Fn(&mut Intake)) {
        for (_, intake) in self.intakes.iter().filter(|(known, _)| known == name) {
            intake.send_if_modified(|now| {
                let before = *now;
                change(now);
                *now != before
            });
        }
    }

    pub(super) fn consumes(&self, name: &str) -> bool {
        let mut refused = self.refused.iter();
        !refused.any(|(refused, is_refused)| refused == name && is_refused.load(Ordering::Relaxed))
    }

    pub(super) fn set_refused(&self, name: &str, refused: bool) {
        for (_, is_refused) in self.refused.iter().filter(|(known, _)| known == name) {
            is_refused.store(refused, Ordering::Relaxed);
        }
    }

    /// An attempt to connect failed. The same failure again and again is one line in the log.
    pub(super) fn failed(&self, error: &Error) {
        let failure = Some(error.to_string());
        let status = Status::Connecting { failure };
        let changed = self.status.send_if_modified(|now| {
            let changed = *now != status;
            *now = status;
            changed
        });
        if changed {
            tracing::warn!(%error, "could not use RabbitMQ, and will try again");
        }
    }

    pub(super) fn set_blocked(&self, generation: u64, blocked: Option<String>) {
        match &blocked {
            Some(reason) => tracing::warn!(reason, "RabbitMQ blocks publishers, so the worker waits"),
            None => tracing::info!("RabbitMQ no longer blocks publishers"),
        }
        self.status.send_replace(Status::Up { generation, blocked });
    }
}
