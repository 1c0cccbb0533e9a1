//! How long something waits, and what ends its wait.

use super::*;

impl World {
    /// Something goes to the quarantine, or has just arrived there.
    pub(in crate::worker::scheduler::tests) fn forwards(&mut self) {
        self.quarantined_by = self.now.since_start + QUIET;
        self.quarantine_resumes = self.quarantined_by;
    }

    /// Until when something waits because others are on their way to the quarantine.
    pub(super) fn waits_until(&self, open: &Open) -> Option<Duration> {
        let age = self.now.since_start - open.received;
        let from = match open.is_quarantined() {
            true => self.quarantine_resumes,
            false => self.quarantined_by,
        };
        let until = match self.forwarding.is_empty() {
            true => from,
            false => self.now.since_start + QUIET,
        };
        let waits = open.may_kill() && age <= self.settings.hold_max && self.now.since_start < until;
        waits.then_some(until)
    }

    /// The quarantine is consumed as soon as nothing goes there, and not before.
    pub(in crate::worker::scheduler::tests) fn check_resumed(&mut self) {
        let resumes = (self.scheduler.actions.iter()).any(|action| matches!(action, Action::PauseQuarantine(false)));
        assert_eq!(
            resumes,
            self.is_quiet() && self.quarantine_paused,
            "the quarantine resumes"
        );
        // The scheduler checks again after another wait.
        if !self.forwarding.is_empty() {
            self.forwards();
        }
    }

    pub(in crate::worker::scheduler::tests) fn check_pause(&self) {
        assert!(
            self.quarantine_paused || self.is_quiet(),
            "others are on their way to the quarantine"
        );
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.connected && self.forwarding.is_empty() && self.quarantine_resumes <= self.now.since_start
    }

    /// The backlog is served in its order, as far as there is room and finAPI is not down.
    pub(in crate::worker::scheduler::tests) fn check_backlog(&mut self, before: &Before) {
        let left = tags(&self.scheduler.backlog);
        let (admitted, rest) = before.backlog.split_at(before.backlog.len() - left.len());
        assert_eq!(left, rest, "not in its order");
        let in_flight = self.in_flight();
        if !admitted.is_empty() {
            assert!(!self.outage, "finAPI is down");
            assert!(in_flight <= self.in_flight_max(), "there was no room");
            self.count("admitted from the backlog");
        }
        if self.outage && !left.is_empty() && in_flight < self.in_flight_max() {
            self.count("backlog in an outage");
        }
        assert!(
            left.is_empty() || self.outage || in_flight >= self.in_flight_max(),
            "there is room"
        );
    }

    /// finAPI called back: due a second after it was held, but not where finAPI asked for the wait.
    pub(in crate::worker::scheduler::tests) fn check_woken(
        &mut self,
        command_id: CommandId,
        before: &BTreeMap<Tag, Wait>,
    ) {
        let busy = self.scheduler.busy.values().filter_map(|busy| busy.refresh_id.as_ref());
        for refresh_id in busy.filter(|refresh_id| refresh_id.command_id == command_id) {
            assert!(self.scheduler.woken.contains(refresh_id), "what is busy is woken, too");
        }
        assert!(
            self.scheduler.woken.len() <= self.scheduler.busy.len(),
            "and nothing else"
        );
        let after = self.waits();
        assert!(after.keys().eq(before.keys()));
        for (tag, was) in before {
            let due = match was.command_id == command_id && was.failures == 0 {
                true => was.due.min(was.since + SECOND),
                false => was.due,
            };
            assert_eq!(after[tag].due, due, "of {was:?}");
            if due < was.due {
                let wait = due.saturating_sub(self.now.since_start);
                assert_eq!(after[tag].due_at, was.due_at.min(later(self.now.time, wait)));
                self.count("woken");
            }
        }
    }

    /// The hosts are back: what waited for one is due, a second after it was held.
    pub(in crate::worker::scheduler::tests) fn check_unblocked(&mut self, before: &BTreeMap<Tag, Wait>) {
        let after = self.waits();
        for (tag, was) in before {
            let due = match was.is_blocked {
                true => was.due.min(was.since + SECOND),
                false => was.due,
            };
            assert_eq!(after[tag].due, due, "of {was:?}");
            if due < was.due {
                self.count("woken after an outage");
            }
        }
    }

    /// What is due runs in its order, and nothing else does.
    pub(in crate::worker::scheduler::tests) fn check_due(&self, before: &BTreeMap<Tag, Wait>) {
        for (tag, was) in before {
            let is_held = matches!(self.place(*tag), Place::Held(..));
            assert_eq!(is_held, was.due > self.now.since_start, "at {:?}: {was:?}", self.now);
        }
        let came = self.runnable().into_iter();
        let came: Vec<(Urgency, Duration)> = came
            .filter_map(|(tag, urgency, _)| Some((urgency, before.get(&tag)?.due)))
            .collect();
        assert!(came.is_sorted(), "not in the order in which they are due: {came:?}");
    }

    /// The most urgent of all runs, and of those what has waited longest.
    pub(in crate::worker::scheduler::tests) fn check_run(&mut self, run: &Run, before: &[(Tag, Urgency, UserId)]) {
        let place = |tag: Tag| before.iter().position(|(of, ..)| *of == tag).expect("it was runnable");
        let own = urgency(&run.refresh);
        assert!(
            !self.is_capped(run.refresh.command.user_id()),
            "its user has as many runs as it may"
        );
        for (tag, other, user_id) in self.runnable() {
            if self.is_capped(&user_id) {
                continue;
            }
            assert!(own <= other, "{tag:?} is more urgent than {run:?}");
            assert!(
                own < other || place(run.tag) < place(tag),
                "{tag:?} waits for longer than {run:?}"
            );
        }
        let open = &self.open[&run.tag];
        assert!(self.owns(run.tag), "a run of a lost connection");
        let is_safe = self.waits_until(open).is_none();
        assert!(is_safe, "others are on their way to the quarantine");
        assert_eq!((run.renewals, run.failure.is_some()), (open.renewals, open.has_failure));
        let mut running = self.running.iter().map(|run| run.refresh.command.id());
        assert!(
            running.all(|other| other != run.refresh.command.id()),
            "it runs already"
        );
        if run.failure.is_some() {
            self.count("runs without a token");
        }
    }

    /// What waits for too long is published again, and nothing else is.
    pub(in crate::worker::scheduler::tests) fn check_evicted(&mut self, waiting: &[(Tag, bool)]) {
        let mut evicted = 0;
        for (tag, is_backlog) in waiting {
            let age = self.now.since_start - self.open[tag].received;
            let place = self.place(*tag);
            let is_gone = match is_backlog {
                true => self.open[tag].is_requeued(&place),
                false => matches!(place, Place::Parked(_)),
            };
            assert_eq!(is_gone, age > self.settings.hold_max, "after {age:?}: {place:?}");
            if is_gone {
                evicted += 1;
                self.count(if *is_backlog {
                    "evicted from the backlog"
                } else {
                    "evicted"
                });
            }
        }
        assert_eq!(self.scheduler.actions.len(), evicted);
    }

    pub(in crate::worker::scheduler::tests) fn in_backlog_and_elsewhere(&self) -> (BTreeSet<Tag>, BTreeSet<Tag>) {
        let (backlog, others): (Vec<_>, Vec<_>) = self.waiting().into_iter().partition(|(_, is_backlog)| *is_backlog);
        let tags = |waiting: Vec<(Tag, bool)>| waiting.into_iter().map(|(tag, _)| tag);
        (
            tags(backlog).collect(),
            tags(others).chain(self.waits().into_keys()).collect(),
        )
    }

    /// Commands that were not begun are requeued, and everything else is parked in the order in which it came.
    pub(in crate::worker::scheduler::tests) fn check_drained(&mut self, backlog: &BTreeSet<Tag>, rest: &BTreeSet<Tag>) {
        let mut parked = Vec::new();
        let mut requeued = BTreeSet::new();
        for action in &self.scheduler.actions {
            match action {
                Action::Publish(_, tag, Publication::Park(..)) => parked.push(*tag),
                Action::Publish(_, tag, Publication::Requeue(..)) => {
                    requeued.insert(*tag);
                }
                action => panic!("{action:?}"),
            }
        }
        // Of the backlog, what has a count to keep is parked behind the rest.
        let counted: BTreeSet<Tag> = parked.split_off(rest.len().min(parked.len())).into_iter().collect();
        assert!(parked.iter().eq(rest), "parked {parked:?} of {rest:?}");
        assert!(counted.is_disjoint(&requeued));
        assert!(counted.iter().all(|tag| self.open[tag].redeliveries > 0), "{counted:?}");
        assert!(
            requeued.iter().all(|tag| self.open[tag].redeliveries == 0),
            "{requeued:?}"
        );
        assert_eq!(&(&requeued | &counted), backlog);
        if parked.len() > 1 && !requeued.is_empty() {
            self.count("drains both");
        }
    }
}
