//! What must become of a delivery as soon as something comes in: the scheduler's rules, stated a second time and apart from its code. Each is
//! checked before the loop performs what follows.

mod places;
mod waits;

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
}

fn tags(jobs: &VecDeque<Job>) -> Vec<Tag> {
    jobs.iter().map(|job| job.receipt.tag()).collect()
}
