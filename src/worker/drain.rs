//! How a worker stops.

use tokio::time::Instant;

use super::scheduler::{Action, Receipt};
use super::{Worker, subscriptions};
use crate::broker::{BrokerEvent, BrokerEvents, Subscription};

impl Worker {
    /// Takes nothing more, parks what waits, requeues what was not begun, and acknowledges both. Gives what is running some time, and
    /// closes. The broker delivers again, as a redelivery, what is unacknowledged then.
    pub(super) async fn drain(mut self, mut broker_events: BrokerEvents) {
        let started = Instant::now();
        tracing::info!(
            held = self.scheduler.held().count(),
            running = self.scheduler.running(),
            "the worker is stopping"
        );
        self.stop_runs.cancel();
        for subscription in subscriptions(&self.context.topology, &self.settings) {
            if let Subscription::Queue { name, .. } = subscription {
                self.watchdog.paused(&name, true);
            }
        }
        let broker = self.context.broker.clone();
        let mut cancelling = Box::pin(async move { broker.cancel().await });
        let mut is_cancelled = false;
        self.scheduler.drain(self.now());
        self.begin_trials();
        let mut receipts = Vec::new();
        self.perform_draining(&mut receipts);
        let deadline = started + self.settings.drain_timeout;
        while !(self.scheduler.is_idle() && is_cancelled) {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => break,
                Some(Ok(end)) = self.tasks.join_next() => self.on_task_end(end),
                // Before the end of the cancellation: everything that was delivered until then is requeued.
                Some(broker_event) = broker_events.recv() => self.on_broker_event_while_draining(broker_event, &mut receipts),
                () = &mut cancelling, if !is_cancelled => is_cancelled = true,
                Some(request) = self.status_requests.recv() => drop(request.send(self.status())),
            }
            self.perform_draining(&mut receipts);
            // Calls that are still out may take until the deadline, and whatever ends this worker by then would have everything
            // delivered again that is not acknowledged.
            if is_cancelled && self.scheduler.publishing() == 0 {
                self.acknowledge_all(&mut receipts);
            }
        }
        // What ended together with the deadline counts too.
        while let Some(Ok(end)) = self.tasks.try_join_next() {
            self.on_task_end(end);
            self.perform_draining(&mut receipts);
        }
        let left = self.scheduler.running() + self.scheduler.publishing();
        self.tasks.abort_all();
        self.acknowledge_all(&mut receipts);
        self.context.broker.close().await;
        self.context.metrics.drained(started.elapsed());
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(left, seconds, "the worker has stopped");
    }

    fn on_broker_event_while_draining(&mut self, broker_event: BrokerEvent, receipts: &mut Vec<Receipt>) {
        match broker_event {
            BrokerEvent::Delivery(delivery) => self.on_delivery(delivery),
            BrokerEvent::Disconnected { reason, .. } => {
                // The broker delivers all of it again.
                receipts.clear();
                self.on_disconnected(&reason);
            }
            BrokerEvent::CaughtUp { .. } => {}
            BrokerEvent::Connected { generation } => self.scheduler.on_connected(generation, self.now()),
        }
    }

    /// Keeps acknowledgements back, to send them together: RabbitMQ may lose all but 32 single ones that are sent just before the channel
    /// is closed.
    fn perform_draining(&mut self, receipts: &mut Vec<Receipt>) {
        while let Some(action) = self.scheduler.next_action() {
            match action {
                Action::Acknowledge(receipt) => receipts.push(receipt),
                action => self.perform(action),
            }
        }
    }

    fn acknowledge_all(&mut self, receipts: &mut Vec<Receipt>) {
        for receipt in receipts.drain(..) {
            self.acknowledge(receipt);
        }
    }
}
