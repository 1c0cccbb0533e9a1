//! When commands are taken: not while a host is down, and not from a lane that is paused.

use super::Worker;
use crate::finapi::{Outage, Proof};

impl Worker {
    /// While a host is down, or no version of finAPI is proven, commands stay in their queues.
    pub(super) fn on_outage(&mut self) {
        let outage = *self.outage.borrow_and_update();
        let proven = matches!(*self.version.borrow_and_update(), Proof::Proven(_));
        if outage == Outage::None && proven {
            self.scheduler.on_outage_end(self.now());
        }
        self.is_down = outage == Outage::Lasting || !proven;
        self.switch_lanes();
        self.scheduler.on_outage(self.is_down, self.now());
    }

    pub(super) fn switch_lanes(&self) {
        // A worker that stops has cancelled its consumers, and an order that it still reads begins none.
        if self.scheduler.is_draining() {
            return;
        }
        let (context, now) = (&self.context, self.now());
        let lanes = [
            (context.topology.interactive(), true),
            (context.topology.background(), false),
        ];
        for (queue, interactive) in lanes {
            let is_stopped = self.is_down || !self.reading.has_begun();
            let is_paused = context.orders().stop_lane(interactive, now.time);
            self.pause(&queue, is_stopped || is_paused);
        }
    }

    pub(super) fn pause(&self, queue: &str, paused: bool) {
        self.context.broker.pause(queue, paused);
        self.watchdog.paused(queue, paused);
    }
}
