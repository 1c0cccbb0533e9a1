//! What comes in: a delivery is read, and the scheduler decides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Worker;
use super::fate::Fate;
use super::others::PASSWORD_NAME;
use super::publication::Forward;
use super::scheduler::{Content, Now, Origin, Receipt};
use super::starts::START_NAME;
use super::trials::Untried;
use crate::broker::topology::Topology;
use crate::broker::{Delivery, Outgoing};
use crate::limits::WAKE_UP_BYTES_MAX;
use crate::message::{self, Read};
use crate::refresh::{Refresh, later};
use crate::telemetry::traces;

impl Worker {
    pub(super) fn on_delivery(&mut self, delivery: Delivery) {
        let context = Arc::clone(&self.context);
        let topology = &context.topology;
        let now = self.now();
        if delivery.queue == topology.wake() {
            let body = &delivery.message.body[..];
            match delivery.message.properties.kind.as_deref() {
                Some(PASSWORD_NAME) => return context.finapi.on_worker_message(body),
                Some(START_NAME) => return context.starts.on_announcement(body, now.time),
                _ => {}
            }
            // No refresh has an id that is none.
            let text = Some(body).filter(|body| body.len() <= WAKE_UP_BYTES_MAX);
            let text = text.and_then(|body| std::str::from_utf8(body).ok());
            if let Some(Ok(command_id)) = text.map(str::parse) {
                self.scheduler.on_wake_up(command_id, now);
            }
            return;
        }
        if delivery.queue == topology.control() {
            return self.on_order(&delivery, now);
        }
        self.watchdog.delivered(delivery.tag.subscription);
        context
            .metrics
            .delivered(context.destination(delivery.tag.subscription));
        if delivery.redeliveries > 0 {
            context.metrics.redelivered();
        }
        let receipt = Receipt::new(
            delivery.tag,
            origin(topology, &delivery),
            message::redeliveries(&delivery, topology),
            now,
        );
        if receipt.origin() == Origin::Quarantine {
            let arrived = now;
            self.trials.push(Untried {
                delivery,
                receipt,
                arrived,
            });
            self.set_trials_prefetch();
            return self.begin_trials();
        }
        let content = self.read(&delivery, &receipt, now);
        self.scheduler.on_delivery(receipt, content, now);
    }

    /// Lets the broker hand over as many messages of the quarantine as this worker may have now.
    pub(super) fn set_trials_prefetch(&self) {
        let (quarantine, prefetch) = (self.context.topology.quarantine(), self.trials.prefetch());
        self.context.broker.set_prefetch(&quarantine, prefetch);
        self.watchdog.prefetch(&quarantine, prefetch);
    }

    /// Begins those trials that may begin. A worker that stops tries nothing, so it reads and parks them all.
    pub(super) fn begin_trials(&mut self) {
        while let Some(untried) = self.trials.next(self.now()) {
            self.begin_trial(untried);
        }
        if self.scheduler.is_draining() {
            for untried in self.trials.take() {
                self.begin_trial(untried);
            }
        }
    }

    fn begin_trial(&mut self, untried: Untried) {
        let content = self.read(&untried.delivery, &untried.receipt, untried.arrived);
        self.scheduler.on_delivery(untried.receipt, content, self.now());
    }

    /// What came back too often is not even read, because reading may be what kills workers.
    fn read(&mut self, delivery: &Delivery, receipt: &Receipt, now: Now) -> Content {
        let context = Arc::clone(&self.context);
        let topology = &context.topology;
        if let Some(reason) = &delivery.flaw {
            let outgoing = message::dead_letter(topology, delivery, reason, now.time);
            return forward(outgoing, Fate::DeadLettered, reason.clone());
        }
        if receipt.came_back_too_often() {
            let reason = format!("it came back {} times", receipt.redeliveries());
            return forward(
                message::quarantine(topology, delivery, now.time),
                Fate::Quarantined,
                reason,
            );
        }
        if receipt.kills_workers() {
            let reason = format!(
                "it killed {} workers that tried it alone, after it had killed others",
                receipt.redeliveries()
            );
            let outgoing = message::dead_letter(topology, delivery, &reason, now.time);
            return forward(outgoing, Fate::DeadLettered, reason);
        }
        let reading = AssertUnwindSafe(|| message::read(delivery, topology, now.time));
        let read = catch_unwind(reading).unwrap_or_else(|_| Read::Unreadable("reading it panicked".to_owned()));
        match read {
            Read::Refresh {
                refresh,
                missing_requested_at: true,
            } => Content::MissingRequestedAt(refresh),
            Read::Refresh { mut refresh, .. } => {
                self.count_arrival(&refresh, delivery, now);
                if delivery.redeliveries > 0 {
                    refresh.interrupted();
                }
                if context.orders().cancel(&refresh).is_some() {
                    return Content::Cancelled(refresh);
                }
                if receipt.origin() == Origin::Quarantine {
                    refresh.leave_quarantine(now.time, &context.policy);
                }
                let released_at = match delivery.redeliveries {
                    0 => message::quarantined_since(delivery, topology).map(|since| since.min(now.time)),
                    _ => Some(now.time),
                };
                Content::Refresh { refresh, released_at }
            }
            Read::Newer(version) => {
                let reason = format!("a checkpoint of version {version} needs a newer release");
                let since = message::deferred_since(&delivery.message);
                let is_over = |since| later(since, self.context.policy.limits.refresh) <= now.time;
                if since.is_some_and(is_over) {
                    let reason = format!("{reason}, and none has come since {}", since.unwrap_or(now.time));
                    let outgoing = message::dead_letter(topology, delivery, &reason, now.time);
                    return forward(outgoing, Fate::DeadLettered, reason);
                }
                forward(message::defer(topology, delivery, now.time), Fate::Deferred, reason)
            }
            Read::Unreadable(reason) => {
                let outgoing = message::dead_letter(topology, delivery, &reason, now.time);
                forward(outgoing, Fate::DeadLettered, reason)
            }
        }
    }

    fn count_arrival(&mut self, refresh: &Refresh, delivery: &Delivery, now: Now) {
        let since = |moment: Timestamp| Duration::try_from(now.time.duration_since(moment)).unwrap_or_default();
        if delivery.queue == self.context.topology.steps() {
            self.context.metrics.resumed(since(refresh.due_at));
            if let Some(parked_at) = message::parked_at(&delivery.message) {
                traces::parked(&refresh.envelope, parked_at, refresh.due_at);
            }
        } else {
            let age = since(refresh.requested_at);
            self.context.metrics.command_taken(age, refresh.envelope.interactive);
            let lane = match refresh.envelope.interactive {
                true => &mut self.taken.interactive,
                false => &mut self.taken.background,
            };
            *lane = age.as_secs().cast_signed();
        }
    }
}

fn origin(topology: &Topology, delivery: &Delivery) -> Origin {
    let queue = &delivery.queue;
    if *queue == topology.interactive() {
        Origin::Interactive
    } else if *queue == topology.background() {
        Origin::Background
    } else if *queue == topology.quarantine() {
        Origin::Quarantine
    } else {
        Origin::Steps
    }
}

fn forward(outgoing: Outgoing, fate: Fate, reason: String) -> Content {
    Content::Forward(Box::new(Forward { outgoing, fate, reason }))
}
