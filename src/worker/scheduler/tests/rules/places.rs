//! Where a delivery goes that comes in, or whose run or publication has ended.

use super::*;

impl World {
    pub(in crate::worker::scheduler::tests) fn check_forwarded(&self, tag: Tag) {
        assert!(matches!(self.place(tag), Place::Forwarded), "{:?}", self.place(tag));
    }

    pub(in crate::worker::scheduler::tests) fn check_delivered(&mut self, tag: Tag, arrival: Arrival) {
        let Arrival {
            mut due_at,
            first,
            user_id,
            is_above_share,
            has_begun,
            mut before,
        } = arrival;
        let line = is_above_share.then_some(&user_id);
        let open = &self.open[&tag];
        let place = self.place(tag);
        if open.missing_requested_at {
            return assert!(open.is_requeued(&place), "its date is not published: {place:?}");
        }
        let Some(first) = first else {
            return self.check_admitted(tag, due_at, line, has_begun, &before);
        };
        let is_further = open.progress > self.open[&first.tag].progress;
        if self.owns(first.tag) && !is_further {
            assert!(
                matches!(place, Place::Acknowledged),
                "a duplicate that is behind: {place:?}"
            );
            let first = self.place(first.tag);
            assert!(
                !matches!(first, Place::Acknowledged),
                "the one that is worked on is dropped"
            );
        } else if first.is_busy {
            let Place::Parked(refresh) = place else {
                panic!("a further duplicate of one that is busy, or one of a lost connection: {place:?}")
            };
            assert_eq!(refresh.due_at, later(self.now.time, 5 * SECOND));
            let what = if self.owns(first.tag) {
                "further than what is busy"
            } else {
                "first of a lost connection"
            };
            self.count(what);
        } else {
            let dropped = self.place(first.tag);
            assert!(
                matches!(dropped, Place::Acknowledged),
                "behind and not dropped: {dropped:?}"
            );
            if before.backlog.contains(&first.tag) {
                before.backlog.retain(|tag| *tag != first.tag);
            } else {
                before.in_flight -= 1;
            }
            before.held -= usize::from(first.is_held);
            due_at = due_at.max(later(self.now.time, SECOND));
            self.check_admitted(tag, due_at, line, has_begun, &before);
            self.count("replaces the first");
        }
    }

    fn check_admitted(&mut self, tag: Tag, due_at: Timestamp, line: Option<&UserId>, is_beyond: bool, before: &Before) {
        if is_beyond {
            self.count("begun and above its user's share");
        }
        let open = &self.open[&tag];
        let is_requeued = self.draining && open.is_command();
        if let Some(user_id) = line.filter(|_| !is_requeued && !open.is_quarantined()) {
            let wait = self.line_up(user_id);
            let Place::Parked(refresh) = self.place(tag) else {
                panic!("its user has its whole share: {:?}", self.place(tag))
            };
            assert_eq!(refresh.due_at, due_at.max(later(self.now.time, wait)));
            return self.count("above its user's share");
        }
        let place = self.place(tag);
        if self.draining && open.is_command() {
            assert!(open.is_requeued(&place), "a command while draining: {place:?}");
        } else if open.origin == Origin::Background && before.in_flight >= self.in_flight_max() {
            assert!(matches!(place, Place::Backlog), "there is no room: {place:?}");
            self.count("backlog");
        } else {
            self.check_placed(tag, due_at, before);
        }
    }

    /// It runs, or it waits: held where it may be, else parked.
    pub(in crate::worker::scheduler::tests) fn check_placed(&mut self, tag: Tag, due_at: Timestamp, before: &Before) {
        let open = &self.open[&tag];
        let place = self.place(tag);
        let wait = Duration::try_from(due_at.duration_since(self.now.time)).unwrap_or_default();
        let due = self.now.since_start + wait;
        let waits_until = self.waits_until(open).filter(|until| due <= *until);
        let what = if self.draining {
            assert!(matches!(place, Place::Parked(_)), "it waits while draining: {place:?}");
            "parked while draining"
        } else if let Some(waits_until) = waits_until {
            let is_held = matches!(place, Place::Held(until, _) if until == waits_until);
            assert!(is_held, "others are on their way to the quarantine: {place:?}");
            match open.is_quarantined() {
                true => "waits in spite of the pause",
                false => "waits for the quarantine",
            }
        } else if wait.is_zero() {
            assert!(matches!(place, Place::Runnable), "it is due: {place:?}");
            "due"
        } else if let Some(reason) = self.why_not_held(open, wait, before) {
            let Place::Parked(refresh) = place else {
                panic!("may not be held, {reason}: {place:?}")
            };
            assert_eq!(refresh.due_at, due_at);
            reason
        } else {
            let is_held = matches!(place, Place::Held(until, _) if until == due);
            assert!(is_held, "it may be held until {due:?}: {place:?}");
            "holds"
        };
        self.count(what);
    }

    pub(super) fn why_not_held(&self, open: &Open, wait: Duration, before: &Before) -> Option<&'static str> {
        let age = self.now.since_start - open.received + wait;
        if open.is_quarantined() {
            let is_first_trial = !open.has_run && wait <= 5 * SECOND;
            return (!is_first_trial).then_some("it keeps the quarantine waiting");
        }
        if age > self.settings.hold_max {
            Some("beyond hold_max")
        } else if wait < SECOND {
            None
        } else if wait > self.settings.hold_wait_max {
            Some("beyond hold_wait_max")
        } else if !before.backlog.is_empty() && wait > 5 * SECOND {
            Some("others wait for room")
        } else if before.held >= self.in_flight_max() {
            Some("in_flight are held")
        } else {
            None
        }
    }

    /// After a run or a publication.
    pub(in crate::worker::scheduler::tests) fn check_ended(&mut self, tag: Tag, ended: Ended, before: &Before) {
        let place = self.place(tag);
        if !self.owns(tag) {
            assert!(matches!(place, Place::Abandoned), "of a lost connection: {place:?}");
            self.count("ended after its connection");
            return self.check_backlog(before);
        }
        match ended {
            Ended::Placed(due_at) => self.check_placed(tag, due_at, before),
            Ended::Stopped(due_at) => {
                self.check_that_it_locates_again(tag);
                let due_at = if self.draining {
                    due_at
                } else {
                    due_at.max(later(self.now.time, SECOND))
                };
                self.check_placed(tag, due_at, before);
                self.count("stopped");
            }
            Ended::NeedsToken(renewals) => {
                self.check_that_it_locates_again(tag);
                match self.draining {
                    true => assert!(matches!(place, Place::Parked(_)), "it waits while draining: {place:?}"),
                    false => assert!(matches!(place, Place::AwaitingToken(_)), "it needs a token: {place:?}"),
                }
                self.open.get_mut(&tag).expect("it is open").renewals = renewals.saturating_add(1);
            }
            Ended::Refused(refused) => {
                let is_parked = matches!(place, Place::Parked(refresh) if refresh.due_at == refused);
                assert!(is_parked, "the broker refused it: {place:?}");
                self.count("refused");
            }
            Ended::Published => {
                let is_published = matches!(place, Place::Parked(_) | Place::Requeued | Place::Forwarded);
                assert!(is_published, "it is to be published: {place:?}");
            }
            Ended::Lost => assert!(matches!(place, Place::Abandoned), "it was lost: {place:?}"),
            Ended::Done => assert!(matches!(place, Place::Acknowledged), "it is confirmed: {place:?}"),
        }
        self.check_backlog(before);
    }

    fn check_that_it_locates_again(&self, tag: Tag) {
        let refresh = match self.place(tag) {
            Place::AwaitingToken(refresh) | Place::Held(_, refresh) | Place::Parked(refresh) => refresh,
            place => panic!("it waits: {place:?}"),
        };
        let starts = matches!(
            refresh.phase,
            Phase::Locating {
                lookup: Lookup::Start,
                ..
            }
        );
        assert!(!starts, "somebody may have started a task meanwhile");
    }
}
