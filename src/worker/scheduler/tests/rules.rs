//! What must become of a delivery as soon as something comes in: the scheduler's rules, stated a second time and apart from its code. Each is
//! checked before the loop performs what follows.

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// How long the broker may take for an acknowledgement, and to deliver what is to be forwarded.
const QUIET: Duration = Duration::from_millis(1500);

/// Where a delivery is.
#[derive(Debug)]
pub(super) enum Place<'a> {
    Backlog,
    Runnable,
    AwaitingToken(&'a Refresh),
    Held(Duration, &'a Refresh),
    Running,
    Parked(&'a Refresh),
    Requeued,
    Forwarded,
    Acknowledged,
    /// The scheduler no longer has it, and has not acknowledged it.
    Abandoned,
}

/// How much there is before something comes in.
#[derive(Debug)]
pub(super) struct Before {
    held: usize,
    in_flight: usize,
    backlog: Vec<Tag>,
}

/// A refresh that comes in.
#[derive(Debug)]
pub(super) struct Arrival {
    due_at: Timestamp,
    /// The delivery of the same command that is worked on.
    first: Option<First>,
    user_id: UserId,
    /// It has not begun, and its user has its whole share.
    is_above_share: bool,
    has_begun: bool,
    before: Before,
}

#[derive(Debug)]
struct First {
    tag: Tag,
    is_busy: bool,
    is_held: bool,
}

/// How a run or a publication ended, and what follows from that.
#[derive(Debug)]
pub(super) enum Ended {
    /// The refresh waits until then.
    Placed(Timestamp),
    Refused(Timestamp),
    Stopped(Timestamp),
    NeedsToken(u8),
    Published,
    Lost,
    Done,
}

/// A wait of something that is held.
#[derive(Debug)]
pub(super) struct Wait {
    command_id: CommandId,
    due: Duration,
    since: Duration,
    due_at: Timestamp,
    failures: u32,
    is_blocked: bool,
}

/// The first to run first: interactive ones, and of those whatever is closest to its outcome.
type Urgency = (bool, u8);

fn urgency(refresh: &Refresh) -> Urgency {
    let stage = match refresh.phase {
        Phase::Settling { .. } | Phase::Collecting { .. } | Phase::Failing { .. } => 0,
        Phase::Locating {
            lookup: Lookup::Start, ..
        } => 1,
        Phase::Locating { .. } => 2,
        Phase::Updating { .. } | Phase::NotifyingUser { .. } | Phase::AwaitingUser { .. } => 3,
    };
    (!refresh.envelope.interactive, stage)
}

impl World {
    pub(super) fn before(&self) -> Before {
        Before {
            held: self.scheduler.held().count(),
            in_flight: self.in_flight(),
            backlog: tags(&self.scheduler.backlog),
        }
    }

    fn in_flight(&self) -> usize {
        let scheduler = &self.scheduler;
        let awaiting = scheduler.awaiting_token.values().flatten().count();
        scheduler.held().count() + scheduler.busy.len() + self.runnable().len() + awaiting
    }

    fn in_flight_max(&self) -> usize {
        usize::from(self.settings.in_flight)
    }

    /// What waits and is not held, and whether it is in the backlog.
    pub(super) fn waiting(&self) -> Vec<(Tag, bool)> {
        let scheduler = &self.scheduler;
        let others = scheduler.runnable.in_order().into_iter();
        let others = others.chain(scheduler.awaiting_token.values().flatten());
        let others = others.map(|job| (job.receipt.tag(), false));
        let backlog = scheduler.backlog.iter().map(|job| (job.receipt.tag(), true));
        others.chain(backlog).collect()
    }

    /// In the order in which they would run if users had no shares.
    pub(super) fn runnable(&self) -> Vec<(Tag, Urgency, UserId)> {
        let jobs = self.scheduler.runnable.in_order().into_iter();
        let user_id = |job: &Job| job.refresh.command.user_id().clone();
        jobs.map(|job| (job.receipt.tag(), urgency(&job.refresh), user_id(job)))
            .collect()
    }

    /// Whether the user has as many runs as it may.
    pub(super) fn is_capped(&self, user_id: &UserId) -> bool {
        let runs = self.running.iter();
        runs.filter(|run| run.refresh.command.user_id() == user_id).count() >= self.shares.running
    }

    /// How many commands of a user are worked on here, beside this one.
    fn others_of(&self, refresh: &Refresh) -> usize {
        let command = &refresh.command;
        let firsts = self.scheduler.firsts.iter();
        let others = firsts.filter(|(id, _)| id.user_id == *command.user_id() && *id != command.refresh_id());
        others.count()
    }

    /// The next place in the line of those that wait for room for their user.
    fn line_up(&mut self, user_id: &UserId) -> Duration {
        let line = self.lines.get(user_id).copied().unwrap_or_default();
        let turn = line.max(self.now.since_start + 5 * SECOND);
        let share = u32::try_from(self.shares.in_flight).expect("a few");
        let latest = self.now.since_start + 1800 * SECOND;
        self.lines
            .insert(user_id.clone(), (turn + 5 * SECOND / share).min(latest));
        turn - self.now.since_start
    }

    pub(super) fn waits(&self) -> BTreeMap<Tag, Wait> {
        let wait = |(due, since, job): (Duration, Duration, &Job)| {
            let wait = Wait {
                command_id: job.refresh.command.id(),
                due,
                since,
                due_at: job.refresh.due_at,
                failures: job.refresh.failures,
                is_blocked: job.is_blocked,
            };
            (job.receipt.tag(), wait)
        };
        self.scheduler.held.waits().map(wait).collect()
    }

    fn place(&self, tag: Tag) -> Place<'_> {
        let scheduler = &self.scheduler;
        for action in &scheduler.actions {
            match action {
                Action::Acknowledge(receipt) if receipt.tag() == tag => return Place::Acknowledged,
                Action::Publish(_, of, publication) if *of == tag => {
                    return match publication {
                        Publication::Park(refresh, _) => Place::Parked(refresh),
                        Publication::Requeue(..) => Place::Requeued,
                        Publication::Forward(_) | Publication::Step(_) | Publication::Start(_) => Place::Forwarded,
                    };
                }
                _ => {}
            }
        }
        let is_it = |job: &&Job| job.receipt.tag() == tag;
        if let Some((due, _, job)) = scheduler.held.waits().find(|(_, _, job)| is_it(job)) {
            Place::Held(due, &job.refresh)
        } else if scheduler.backlog.iter().any(|job| is_it(&job)) {
            Place::Backlog
        } else if scheduler.runnable.in_order().iter().any(is_it) {
            Place::Runnable
        } else if let Some(job) = scheduler.awaiting_token.values().flatten().find(is_it) {
            Place::AwaitingToken(&job.refresh)
        } else if scheduler.busy.values().any(|busy| busy.receipt.tag() == tag) {
            Place::Running
        } else {
            Place::Abandoned
        }
    }

    /// Before a refresh comes in.
    pub(super) fn arrival(&self, refresh: &Refresh, released_at: Option<Timestamp>) -> Arrival {
        let first = self.scheduler.firsts.get(refresh.command.refresh_id()).map(|first| {
            let place = self.place(first.tag);
            First {
                tag: first.tag,
                is_busy: matches!(place, Place::Running),
                is_held: matches!(place, Place::Held(..)),
            }
        });
        // Who had it may have polled just before.
        let polls = matches!(refresh.phase, Phase::Locating { .. } | Phase::Updating { .. });
        let due_at = match released_at {
            Some(released_at) if polls => refresh.due_at.max(later(released_at, SECOND)),
            _ => refresh.due_at,
        };
        let has_share = self.others_of(refresh) < self.shares.in_flight;
        let has_begun = !matches!(refresh.phase, Phase::Locating { .. });
        Arrival {
            due_at,
            first,
            user_id: refresh.command.user_id().clone(),
            is_above_share: !has_share && !has_begun,
            has_begun: !has_share && has_begun,
            before: self.before(),
        }
    }

    pub(super) fn check_forwarded(&self, tag: Tag) {
        assert!(matches!(self.place(tag), Place::Forwarded), "{:?}", self.place(tag));
    }

    pub(super) fn check_delivered(&mut self, tag: Tag, arrival: Arrival) {
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
            if open.is_careful() {
                let Place::Parked(refresh) = place else {
                    panic!("it waits for room under its old count: {place:?}")
                };
                assert_eq!(refresh.due_at, due_at.max(later(self.now.time, SECOND)));
                self.count("careful without room");
            } else {
                assert!(matches!(place, Place::Backlog), "there is no room: {place:?}");
                self.count("backlog");
            }
        } else {
            self.check_placed(tag, due_at, before);
        }
    }

    /// It runs, or it waits: held where it may be, else parked.
    pub(super) fn check_placed(&mut self, tag: Tag, due_at: Timestamp, before: &Before) {
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

    /// Something goes to the quarantine, or has just arrived there.
    pub(super) fn forwards(&mut self) {
        self.quarantined_by = self.now.since_start + QUIET;
        self.quarantine_resumes = self.quarantined_by;
    }

    /// Until when something waits because others are on their way to the quarantine.
    fn waits_until(&self, open: &Open) -> Option<Duration> {
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
    pub(super) fn check_resumed(&mut self) {
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

    pub(super) fn check_pause(&self) {
        assert!(
            self.quarantine_paused || self.is_quiet(),
            "others are on their way to the quarantine"
        );
    }

    fn is_quiet(&self) -> bool {
        self.connected && self.forwarding.is_empty() && self.quarantine_resumes <= self.now.since_start
    }

    fn why_not_held(&self, open: &Open, wait: Duration, before: &Before) -> Option<&'static str> {
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
        } else if open.is_careful() {
            Some("it is careful")
        } else {
            None
        }
    }

    /// After a run or a publication.
    pub(super) fn check_ended(&mut self, tag: Tag, ended: Ended, before: &Before) {
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

    /// The backlog is served in its order, as far as there is room and finAPI is not down.
    pub(super) fn check_backlog(&mut self, before: &Before) {
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
    pub(super) fn check_woken(&mut self, command_id: CommandId, before: &BTreeMap<Tag, Wait>) {
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
    pub(super) fn check_unblocked(&mut self, before: &BTreeMap<Tag, Wait>) {
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
    pub(super) fn check_due(&self, before: &BTreeMap<Tag, Wait>) {
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
    pub(super) fn check_run(&mut self, run: &Run, before: &[(Tag, Urgency, UserId)]) {
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

    /// What may not wait here was parked for a second.
    pub(super) fn check_released(&mut self) {
        let parked: Vec<Tag> = (self.scheduler.actions.iter())
            .filter_map(|action| match action {
                Action::Publish(_, tag, Publication::Park(refresh, _)) => {
                    assert!(refresh.due_at >= later(self.now.time, SECOND), "it comes straight back");
                    Some(*tag)
                }
                _ => None,
            })
            .collect();
        for tag in parked {
            assert!(self.open[&tag].is_careful());
            self.count("careful without a permit");
        }
    }

    pub(super) fn check_that_nothing_careful_waits(&self) {
        for (tag, _) in self.waiting() {
            let open = &self.open[&tag];
            let waits_for_token = matches!(self.place(tag), Place::AwaitingToken(_));
            assert!(!open.is_careful() || waits_for_token, "it waits under its old count");
        }
    }

    /// What came back before it ran keeps its count, and what has run does not. Only commands are requeued.
    pub(super) fn check_publication(&mut self, tag: Tag, publication: &Publication) {
        let open = &self.open[&tag];
        let (kept, what) = match publication {
            Publication::Park(_, DECIDED) | Publication::Forward(_) | Publication::Step(_) | Publication::Start(_) => {
                return;
            }
            Publication::Park(_, kept) => (*kept, "parked"),
            Publication::Requeue(_) => {
                assert!(open.missing_requested_at || (open.is_command() && !open.has_run));
                (0, "requeued")
            }
        };
        let forgets = open.has_run || (open.is_quarantined() && !open.missing_requested_at);
        assert_eq!(kept, if forgets { 0 } else { open.redeliveries }, "of {open:?}");
        if kept > 0 {
            self.count("keeps its count");
        }
        self.count(what);
    }

    /// What waits for too long is published again, and nothing else is.
    pub(super) fn check_evicted(&mut self, waiting: &[(Tag, bool)]) {
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

    /// Each command that is worked on has one delivery that is worked on.
    pub(super) fn check_firsts(&self) {
        let scheduler = &self.scheduler;
        let firsts: BTreeSet<Tag> = scheduler.firsts.values().map(|first| first.tag).collect();
        let busy = scheduler.busy.values().filter(|busy| busy.refresh_id.is_some());
        let busy = busy.map(|busy| busy.receipt.tag());
        let held = scheduler.held.waits().map(|(_, _, job)| job.receipt.tag());
        let waiting = self.waiting().into_iter().map(|(tag, _)| tag);
        let there: BTreeSet<Tag> = busy.chain(held).chain(waiting).collect();
        assert_eq!(firsts, there);
    }

    pub(super) fn in_backlog_and_elsewhere(&self) -> (BTreeSet<Tag>, BTreeSet<Tag>) {
        let (backlog, others): (Vec<_>, Vec<_>) = self.waiting().into_iter().partition(|(_, is_backlog)| *is_backlog);
        let tags = |waiting: Vec<(Tag, bool)>| waiting.into_iter().map(|(tag, _)| tag);
        (
            tags(backlog).collect(),
            tags(others).chain(self.waits().into_keys()).collect(),
        )
    }

    /// Commands that were not begun are requeued, and everything else is parked in the order in which it came.
    pub(super) fn check_drained(&mut self, backlog: &BTreeSet<Tag>, rest: &BTreeSet<Tag>) {
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

fn tags(jobs: &VecDeque<Job>) -> Vec<Tag> {
    jobs.iter().map(|job| job.receipt.tag()).collect()
}
