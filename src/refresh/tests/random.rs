//! Thousands of refreshes under all that finAPI could say, each from a seed of its own.

use super::*;

/// How many there are; the environment variable `REFRESH_SEEDS` says otherwise.
const SEEDS: u64 = 20_000;

/// Something of a refresh that can be drawn.
struct Draw(fastrand::Rng);

impl Draw {
    fn one_in(&mut self, n: u32) -> bool {
        self.0.u32(0..n) == 0
    }

    fn command(&mut self) -> RefreshConnection {
        let mut command = match self.0.u32(0..4) {
            0 => edit_command(),
            1 => import_command(),
            _ => command(),
        };
        if self.one_in(3) {
            command.max_age = max_age_command(self.0.i64(0..7200)).max_age;
        }
        command.wait_for_categorization = self.one_in(4);
        command
    }

    fn policy(&mut self) -> Policy {
        let limits = Limits {
            refresh: secs(self.0.u64(60..7200)),
            updating: secs(self.0.u64(1..1800)),
            web_form_grace: secs(self.0.u64(0..300)),
            settling: secs(self.0.u64(1..1800)),
            settling_quiet: secs(self.0.u64(0..60)),
            start_visible: secs(self.0.u64(1..120)),
            clock_skew: secs(self.0.u64(0..60)),
        };
        let events = Transactions {
            size_max: self.0.usize(400..2000),
            ..Transactions::default()
        };
        let retry = schedule::Retry {
            attempts: self.0.u32(1..20),
            ..schedule::Retry::default()
        };
        Policy {
            limits,
            events,
            retry,
            ..Policy::default()
        }
    }

    fn seconds(&mut self) -> Duration {
        match self.0.u32(0..4) {
            0 => Duration::ZERO,
            1 => millis(self.0.u64(0..1000)),
            2 => secs(self.0.u64(0..60)),
            _ => secs(self.0.u64(0..24 * 3600)),
        }
    }

    fn failure(&mut self) -> FailureClass {
        match self.0.u32(0..20) {
            0 => FailureClass::NotSent(self.seconds() + millis(1)),
            1..4 => FailureClass::RateLimited(self.0.bool().then(|| self.seconds())),
            4..8 => FailureClass::Unavailable,
            8..10 => FailureClass::MaybeDown,
            10 => FailureClass::Unexpected,
            11 => FailureClass::Foreign,
            12 => FailureClass::TokenRefused,
            13..15 => FailureClass::Locked,
            15 => FailureClass::NotFound,
            16 => FailureClass::UserUnauthorized,
            17 => FailureClass::Rejected,
            18 => FailureClass::ClientUnauthorized,
            _ => FailureClass::Internal,
        }
    }

    fn task(&mut self) -> Task {
        let status = match self.0.u32(0..8) {
            0..5 => TaskStatus::Running,
            5 => TaskStatus::WebFormRequired,
            6 => TaskStatus::Completed,
            _ => TaskStatus::Failed,
        };
        let mut task = task(status).made_at(self.0.i64(-1300..100));
        if self.one_in(10) {
            task.web_form = None;
        }
        if self.one_in(4) {
            task.bank_connection_id = Some((CONNECTION + 1).into());
        }
        if self.one_in(8) {
            task.bank_connection_id = None;
        }
        if self.one_in(12) {
            task.created_at = self.odd_time();
        }
        task
    }

    /// A time that no one should send.
    fn odd_time(&mut self) -> Timestamp {
        match self.0.u32(0..4) {
            0 => Timestamp::MIN,
            1 => Timestamp::MAX,
            2 => Timestamp::UNIX_EPOCH,
            _ => at(self.0.i64(-100_000_000..100_000_000)),
        }
    }

    fn form(&mut self) -> WebForm {
        let status = match self.0.u32(0..12) {
            0..8 => WebFormStatus::Open,
            8 | 9 => WebFormStatus::Completed,
            10 => WebFormStatus::Expired,
            _ => WebFormStatus::Aborted,
        };
        let expires_at = match self.one_in(12) {
            true => Some(self.odd_time()),
            false => self.0.bool().then(|| at(self.0.i64(-100..2000))),
        };
        WebForm {
            expires_at,
            ..form(status)
        }
    }

    fn connection(&mut self) -> Connection {
        let mut connection = Connection {
            ready: self.0.bool(),
            categorized: self.0.bool(),
            ..updated_at(self.0.i64(-8000..100))
        };
        match self.0.u32(0..24) {
            0 => connection.interfaces.clear(),
            1 => connection.account_ids.clear(),
            2 => connection.interfaces[0].last_success_at = Some(self.odd_time()),
            3 => connection.interfaces[0].consent_expires_at = Some(self.odd_time()),
            _ => {}
        }
        connection
    }

    /// What there is to publish: accounts that vanished, transactions that come twice, of no account, or without any time.
    fn collected(&mut self, wanted: &Wanted) -> Collected {
        let mut all = collected(self.0.i64(0..40));
        if self.one_in(8) {
            all.accounts.clear();
        }
        let odd = self.0.usize(0..40);
        let (time, again) = (self.odd_time(), all.transactions.first().cloned());
        if let Some(transaction) = all.transactions.get_mut(odd) {
            match self.0.u32(0..4) {
                0 => transaction.account_id = 7.into(),
                1 => transaction.imported_at = Some(time),
                2 => transaction.purpose = "\u{0}\u{fffd}".repeat(self.0.usize(0..400)),
                _ => *transaction = again.unwrap_or_default(),
            }
        }
        let page = wanted.page.as_ref().map(|wanted| Page {
            ids: page_ids(&all.transactions),
            is_last: wanted.page >= 4 || self.one_in(3),
            totals: Totals {
                count: Some(self.0.u64(0..2)),
                ..Totals::default()
            },
            transactions: all.transactions,
            ..Page::default()
        });
        Collected {
            accounts: wanted.accounts.then_some(all.accounts),
            page,
            ..Collected::default()
        }
    }

    /// Mostly an answer to the call, sometimes to another one, often none.
    fn respond(&mut self, query: &Query) -> QueryResult {
        if self.one_in(4) {
            return self.failure().said();
        }
        let number = match query {
            _ if self.one_in(50) => self.0.u32(0..5),
            Query::FindTask => 0,
            Query::Start | Query::Task(_) => 1,
            Query::WebForm(_) => 2,
            Query::Connection => 3,
            Query::Collect(_) => 4,
        };
        Ok(match number {
            0 => Response::Tasks((0..self.0.u32(0..3)).map(|_| self.task()).collect()),
            1 => Response::Task(self.task()),
            2 => Response::WebForm(self.form()),
            3 => Response::Connection(self.connection()),
            _ => {
                let wanted = match query {
                    Query::Collect(wanted) if !self.one_in(20) => wanted.clone(),
                    _ => Wanted::default(),
                };
                Response::Collected(self.collected(&wanted))
            }
        })
    }
}

/// Follows a refresh to its end and checks, at every step, what must hold under any answers at all.
fn follow(seed: u64) {
    let mut draw = Draw(fastrand::Rng::with_seed(seed));
    let (policy, command) = (draw.policy(), draw.command());
    let deadline = later(at(0), policy.limits.refresh);
    let mut refresh = Refresh::new(parsed(command), at(0), Envelope::default(), at(0));
    let mut durable = state::encode(&refresh);
    let mut now = at(0);
    let mut polled: Option<Timestamp> = None;
    let mut parts_published = 0;
    let mut durable_parts = 0;
    for _ in 0..20_000 {
        now = now.max(refresh.due_at);
        if draw.one_in(40) {
            // Its worker is killed; what was last written down comes to another one, which takes a while.
            refresh = state::decode(&durable, now).expect("a checkpoint");
            parts_published = durable_parts;
            now = later(now.max(refresh.due_at), secs(draw.0.u64(1..30)));
            refresh.came_back(now);
        }
        if draw.one_in(40) {
            // Its worker is stopped; another one continues at once.
            refresh = state::decode(&state::encode(&refresh), now).expect("a checkpoint");
            now = now.max(refresh.due_at);
        }
        if refresh.failed(now, &policy).is_some() {
            assert!(now >= deadline && parts_published == 0, "seed {seed}");
            return;
        }
        assert!(
            now < deadline || parts_published > 0,
            "seed {seed}: asked after the deadline"
        );
        let query = refresh.query();
        let response = draw.respond(&query);
        let asked = !matches!(&response, Err(failure) if matches!(failure.class, FailureClass::NotSent(_)));
        if let (Query::Task(_), true) = (&query, asked) {
            let last = polled.replace(now);
            assert!(
                last.is_none_or(|last| later(last, secs(1)) <= now),
                "seed {seed}: two polls within a second"
            );
        }
        let context = StepContext {
            now,
            jitter: draw.0.f64(),
            next_poll: draw.0.bool().then(|| draw.seconds()),
            clocks: Clocks::default(),
            announced: None,
        };
        let notifies = matches!(refresh.phase, Phase::NotifyingUser { .. });
        let step = refresh.step(response, context, &policy);
        let last = step.events.last().is_some_and(Event::is_last);
        let outcomes = step.events.iter().filter(|event| event.is_last()).count();
        assert_eq!(outcomes, usize::from(last), "seed {seed}: the outcome is last");
        let asked_for_user = step
            .events
            .iter()
            .any(|e| matches!(e.kind(), EventKind::UserActionRequired(_)));
        assert_eq!(asked_for_user, notifies, "seed {seed}");
        match step.next {
            Next::Done => {
                assert!(last, "seed {seed}: over without an outcome");
                return;
            }
            Next::Continue(next) | Next::Checkpoint(next) if last => panic!("seed {seed}: continues in {next:?}"),
            Next::Continue(next) => {
                refresh = *next;
                if draw.one_in(5) {
                    durable = state::encode(&refresh);
                    durable_parts = parts_published;
                }
            }
            Next::Checkpoint(next) => {
                parts_published += step.events.len();
                refresh = *next;
                durable = state::encode(&refresh);
                durable_parts = parts_published;
            }
        }
        assert!(refresh.due_at >= now, "seed {seed}: due in the past");
        assert!(
            refresh.due_at <= deadline || parts_published > 0,
            "seed {seed}: due after the deadline"
        );
    }
    panic!("seed {seed}: never ends");
}

#[test]
fn any_answers_lead_to_one_outcome_by_the_deadline() {
    for seed in 0..count("REFRESH_SEEDS", SEEDS) {
        follow(seed);
    }
}

/// A finAPI that says what is so, when it says something.
struct World {
    draw: Draw,
    /// By how much its clock is behind.
    behind: SignedDuration,
    /// How old its lists of tasks and its connections are: what happened since does not show.
    old: Duration,
    /// Its tasks, newest first, each with the moment it ends and how.
    tasks: Vec<(Task, Timestamp, TaskStatus)>,
    /// Held by its batch update until then.
    batch_until: Timestamp,
    form_ends: Option<Timestamp>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(fastrand::Rng::with_seed(seed));
        let held = if draw.one_in(4) { draw.0.i64(1..120) } else { 0 };
        Self {
            behind: SignedDuration::from_millis(draw.0.i64(0..2000)),
            old: Duration::ZERO,
            tasks: Vec::new(),
            batch_until: at(held),
            form_ends: None,
            draw,
        }
    }

    fn with_old_lists(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.old = secs(world.draw.0.u64(1..30));
        world
    }

    /// The list as it was.
    fn list(&self, now: Timestamp) -> Vec<Task> {
        let then = earlier(now, self.old);
        let mut tasks = self.shown(then);
        tasks.retain(|task| task.created_at + self.behind <= then);
        tasks
    }

    fn shown(&self, now: Timestamp) -> Vec<Task> {
        let task = |(task, ends, end): &(Task, Timestamp, TaskStatus)| {
            if now < *ends {
                return task.clone();
            }
            Task {
                web_form: (*end == TaskStatus::WebFormRequired).then(form_link),
                status: end.clone(),
                ..task.clone()
            }
        };
        self.tasks.iter().map(task).collect()
    }

    fn respond(&mut self, refresh: &Refresh, now: Timestamp) -> QueryResult {
        let trouble = self.draw.one_in(4);
        if trouble && self.draw.0.bool() {
            return FailureClass::Unavailable.said();
        }
        let response = match refresh.query() {
            Query::FindTask => Ok(Response::Tasks(self.list(now))),
            Query::Start => self.start(refresh, now),
            Query::Task(_) => Ok(Response::Task(self.shown(now).remove(0))),
            Query::WebForm(_) => Ok(Response::WebForm(self.form(now))),
            Query::Connection => Ok(Response::Connection(self.connection(earlier(now, self.old)))),
            Query::Collect(wanted) => {
                let Data { accounts, transactions } = collected(30);
                Ok(Response::Collected(Collected {
                    accounts: wanted.accounts.then_some(accounts),
                    page: wanted.page.map(|_| Page {
                        ids: page_ids(&transactions),
                        is_last: true,
                        transactions,
                        ..Page::default()
                    }),
                    ..Collected::default()
                }))
            }
        };
        // Here the work is done and the answer is lost.
        if trouble {
            FailureClass::Unavailable.said()
        } else {
            response
        }
    }

    fn start(&mut self, refresh: &Refresh, now: Timestamp) -> QueryResult {
        let busy = self.tasks.iter().any(|(_, ends, _)| now < *ends);
        if busy || now < self.batch_until {
            return FailureClass::Locked.said();
        }
        let edits = refresh.command.edits_saved_settings();
        let end = match self.draw.0.u32(0..4) {
            _ if edits => TaskStatus::WebFormRequired,
            0 => TaskStatus::WebFormRequired,
            1 => TaskStatus::Failed,
            _ => TaskStatus::Completed,
        };
        let task = Task {
            created_at: now - self.behind,
            ..running()
        };
        let takes = if edits || self.draw.one_in(3) {
            0
        } else {
            self.draw.0.u64(0..90)
        };
        self.tasks.insert(0, (task, later(now, secs(takes)), end));
        Ok(Response::Task(self.shown(now).remove(0)))
    }

    fn form(&mut self, now: Timestamp) -> WebForm {
        let takes = secs(self.draw.0.u64(1..600));
        let ends = *self.form_ends.get_or_insert(later(now, takes));
        form(if now < ends {
            WebFormStatus::Open
        } else {
            WebFormStatus::Completed
        })
    }

    fn connection(&self, now: Timestamp) -> Connection {
        let task_ends = self.tasks.iter().map(|(_, ends, _)| *ends);
        let last = task_ends.chain([self.batch_until]).filter(|end| *end <= now).max();
        let interface = Interface {
            last_success_at: last.map(|last| last - self.behind),
            ..Interface::default()
        };
        Connection {
            interfaces: vec![interface],
            ..ready()
        }
    }
}

/// Follows a refresh at a truthful finAPI, through lost answers and killed workers.
fn follow_in(world: &mut World, seed: u64) -> usize {
    let command = world.draw.command();
    let retry = schedule::Retry {
        attempts: 50,
        ..schedule::Retry::default()
    };
    let policy = Policy {
        retry,
        ..Policy::default()
    };
    // The sender's clock may be ahead.
    let requested_at = at(world.draw.0.i64(0..30));
    let mut refresh = Refresh::new(parsed(command), requested_at, Envelope::default(), at(0));
    let mut durable = state::encode(&refresh);
    let mut now = at(0);
    for _ in 0..5_000 {
        now = now.max(refresh.due_at);
        assert!(refresh.failed(now, &policy).is_none(), "seed {seed}: never ends");
        let response = world.respond(&refresh, now);
        let context = StepContext {
            now,
            jitter: world.draw.0.f64(),
            next_poll: None,
            clocks: Clocks::default(),
            announced: None,
        };
        let step = refresh.step(response, context, &policy);
        refresh = match step.next {
            Next::Done => return world.tasks.len(),
            Next::Continue(next) | Next::Checkpoint(next) => *next,
        };
        if world.draw.one_in(10) {
            durable = state::encode(&refresh);
        }
        if world.draw.one_in(10) {
            refresh = state::decode(&durable, now).expect("a checkpoint");
            refresh.came_back(now);
        }
        now = later(now, millis(world.draw.0.u64(0..3000)));
    }
    panic!("seed {seed}: never ends");
}

#[test]
fn one_command_starts_one_update_whatever_is_lost_and_whoever_is_killed() {
    for seed in 0..count("REFRESH_SEEDS", SEEDS) {
        let started = follow_in(&mut World::new(seed), seed);
        assert!(started <= 1, "seed {seed} started {started}");
    }
}

#[test]
fn one_command_starts_one_update_where_lists_are_older_than_its_start() {
    for seed in 0..count("REFRESH_SEEDS", SEEDS) {
        let started = follow_in(&mut World::with_old_lists(seed), seed);
        assert!(started <= 1, "seed {seed} started {started}");
    }
}
