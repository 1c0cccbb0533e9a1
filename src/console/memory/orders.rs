//! The orders in force, as their stream says.

use jiff::Timestamp;

use crate::refresh::order::{Order, Orders, Pause};

/// What was read of the stream.
#[derive(Debug, Default)]
pub(in crate::console) struct ReadOrders {
    /// All of them; none before the first were read, and where the console can't read them.
    known: Option<Orders>,
    /// Those of this connection, until all that there were are read.
    reading: Option<Orders>,
}

impl ReadOrders {
    /// A connection begins, and reads them all again. What was known counts until then.
    pub(in crate::console) fn begin(&mut self, can_read: bool) {
        self.reading = Some(Orders::default());
        if !can_read {
            self.known = None;
        }
    }

    /// All that there were are read.
    pub(in crate::console) fn caught_up(&mut self) {
        self.known = self.reading.take().or(self.known.take());
    }

    /// The next one. Cancellations are no concern of the console's: each is seen by its outcomes.
    pub(in crate::console) fn follow(&mut self, order: Order, now: Timestamp) {
        if !matches!(order, Order::Cancel(_))
            && let Some(orders) = self.reading.as_mut().or(self.known.as_mut())
        {
            orders.follow(order, now);
        }
    }

    /// The pauses in force; none where they are not known.
    pub(in crate::console) fn pauses(&self, now: Timestamp) -> Option<Vec<&Pause>> {
        Some(self.known.as_ref()?.pauses(now).collect())
    }

    /// Whether an order that was given shows, or none ever does.
    pub(in crate::console) fn shows(&self, order: &Order, now: Timestamp) -> bool {
        let Some(pauses) = self.pauses(now) else { return true };
        match order {
            Order::Pause(pause) => pauses.contains(&pause),
            Order::Resume { target, .. } => pauses.iter().all(|pause| pause.target != *target),
            Order::Cancel(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::order::Target;

    #[test]
    fn what_was_known_counts_until_all_is_read_again() {
        let now = Timestamp::UNIX_EPOCH;
        let pause = Pause {
            target: Target::Everything,
            since: now,
            until: None,
            by: "anna".to_owned(),
            reason: String::new(),
        };
        let paused = Order::Pause(pause.clone());
        let resumed = Order::Resume {
            target: Target::Everything,
            at: now,
        };
        let mut orders = ReadOrders::default();
        let count = |orders: &ReadOrders| orders.pauses(now).map(|pauses| pauses.len());
        assert_eq!(count(&orders), None);
        orders.begin(true);
        orders.follow(paused.clone(), now);
        assert_eq!(count(&orders), None, "more may come");
        assert!(orders.shows(&paused, now), "nobody waits for what can't show");
        orders.caught_up();
        assert_eq!(count(&orders), Some(1));
        assert!(orders.shows(&paused, now) && !orders.shows(&resumed, now));
        // The connection was lost, and begins again.
        orders.begin(true);
        assert_eq!(count(&orders), Some(1));
        orders.follow(paused.clone(), now);
        orders.follow(resumed.clone(), now);
        assert_eq!(count(&orders), Some(1));
        orders.caught_up();
        assert_eq!(count(&orders), Some(0));
        orders.follow(Order::Pause(pause), now);
        assert!(
            orders.shows(&resumed, now),
            "a copy of a pause that is over is no new one"
        );
        orders.begin(false);
        assert_eq!(count(&orders), None);
    }
}
