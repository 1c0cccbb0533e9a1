//! What must hold whatever happened, counted over all commands.

use std::collections::{BTreeMap, BTreeSet};

use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{Asked, AskedOfTask};

use crate::account::{Account, task_id, transactions};
use crate::conduct::Done;
use crate::observer::Seen;
use crate::polls::{self, Pair, Polls};
use crate::schedule::Case;

/// An invariant and who broke it.
#[derive(Clone, Default)]
pub struct Invariant {
    pub name: &'static str,
    pub checked: usize,
    pub broken: Vec<String>,
}

impl Invariant {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub fn check(&mut self, holds: bool, who: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken.push(who());
        }
    }
}

/// What happened, beside what must hold.
#[derive(Default)]
pub struct Figures {
    pub cases: BTreeMap<Case, usize>,
    pub events: usize,
    /// Copies of events beside the first.
    pub repeated: usize,
    pub user_asked: usize,
    /// Outcomes that were published in several parts.
    pub in_parts: usize,
    /// Commands that were in two messages at once.
    pub in_two_messages: usize,
    /// Commands that made finAPI search for a task in vain: it answered, but no task came of it, as meant.
    pub without_task: usize,
    /// Commands in two messages at once whose duplicates met at two workers, and both started an update: a web form that nobody
    /// has opened does not lock the connection, so finAPI lets them.
    pub started_by_two: usize,
    /// Commands in two messages at once whose duplicates met at two workers, and both started an update: the first one was over before the second
    /// start arrived.
    pub raced: usize,
    /// Commands in two messages at once whose task was polled twice within a second, by two workers: neither can know of the
    /// other's polls.
    pub polled_by_two: usize,
    /// The same by one worker, which had parked the first message and forgotten it when the second one came.
    pub polled_by_one: usize,
    /// These polls, to be printed.
    pub close_polls: Vec<String>,
    /// Outcomes that also contain what came in the two seconds before the command, as they should.
    pub older_too: usize,
    /// Commands in two messages at once, of which the first was served by finAPI's batch update, and the second one started an
    /// update of its own later. Both outcomes have one id, so a consumer never has what the second one brought.
    pub second_updates: usize,
    /// Outcomes of commands in one message of which a worker published a part and died, and the next one cut that part differently: it is another
    /// event, and has some transactions again.
    pub cut_again: usize,
    pub polls: usize,
    /// The shortest interval between two polls of one task by one worker, and by two.
    pub interval_by_one: Option<u64>,
    pub interval_by_two: Option<u64>,
    /// Seconds from the command to its outcome, in order.
    pub seconds: Vec<f64>,
}

/// Judges what was seen of every command. `dropped` are the workers' log lines about duplicates that they dropped.
pub fn judge(done: &Done, seen: &Seen, asked: &Asked, polls: &Polls, dropped: &str) -> (Vec<Invariant>, Figures) {
    let mut judge = Judge::new(polls);
    for order in &done.orders {
        let id = &order.command.command_id;
        let events = seen.events.get(id).map_or(&[][..], Vec::as_slice);
        let connection = asked.connections.get(&order.command.bank_connection_id);
        judge.command(&Account::new(order, events, connection, dropped.contains(id)));
    }
    let mut odd = Invariant::new("every_event_can_be_read_and_carries_its_id");
    odd.checked = seen.count;
    odd.broken = vec!["an event".to_owned(); seen.odd];
    judge.figures.events = seen.count;
    judge.figures.seconds.sort_by(f64::total_cmp);
    let invariants = vec![
        judge.lost,
        judge.whole,
        judge.types,
        judge.right,
        judge.published,
        judge.user,
        judge.starts,
        judge.pace,
        judge.measured,
        odd,
    ];
    (invariants, judge.figures)
}

struct Judge<'a> {
    polls: &'a Polls,
    lost: Invariant,
    whole: Invariant,
    types: Invariant,
    right: Invariant,
    published: Invariant,
    user: Invariant,
    starts: Invariant,
    pace: Invariant,
    measured: Invariant,
    figures: Figures,
}

impl<'a> Judge<'a> {
    fn new(polls: &'a Polls) -> Self {
        Self {
            polls,
            lost: Invariant::new("every_command_has_an_outcome"),
            whole: Invariant::new("every_outcome_is_whole_and_the_only_one_by_event_id"),
            types: Invariant::new("with_forty_attempts_a_call_copies_of_an_event_have_one_type"),
            right: Invariant::new("outcomes_are_what_the_banks_did"),
            published: Invariant::new("every_transaction_is_published_once_by_event_id"),
            user: Invariant::new("users_are_notified_before_the_outcome_is_published"),
            starts: Invariant::new("no_update_is_started_twice"),
            pace: Invariant::new("no_task_is_polled_twice_within_a_second"),
            measured: Invariant::new("every_poll_that_arrived_has_a_sending_time"),
            figures: Figures::default(),
        }
    }

    fn command(&mut self, account: &Account<'_>) {
        self.count(account);
        for types in account.types() {
            self.types
                .check(types.len() == 1, || format!("{}: {types:?}", account.name()));
        }
        let started_by_two = self.started(account);
        let tasks = account.connection.map_or(&[][..], |connection| &connection.tasks);
        tasks.iter().for_each(|task| self.polled(account, task));
        let last = account.last();
        self.lost.check(last.is_some(), || account.name());
        if let Some(last) = last {
            self.outcome(account, last, started_by_two);
        }
    }

    fn count(&mut self, account: &Account<'_>) {
        let figures = &mut self.figures;
        *figures.cases.entry(account.order.case).or_default() += 1;
        figures.repeated += account.events.len() - account.copies.len();
        figures.in_two_messages += usize::from(account.in_two_messages);
        figures.without_task += usize::from(account.tasks_made() == 0);
        let asks = |copies: &&Vec<&Event>| matches!(copies[0].kind(), EventKind::UserActionRequired(_));
        figures.user_asked += account.copies.values().filter(asks).count();
    }

    /// Whether two workers started an update each, and that is excused or known.
    fn started(&mut self, account: &Account<'_>) -> bool {
        let tasks = account.tasks_made();
        let excused = tasks == 2 && account.in_two_messages && account.order.case == Case::FormAtOnce;
        let raced = !excused && account.raced();
        self.figures.started_by_two += usize::from(excused);
        let named = || format!("{}: {tasks} tasks, {}", account.name(), account.times());
        self.starts.check(tasks <= 1 || excused || raced, named);
        self.figures.raced += usize::from(raced);
        excused || raced
    }

    fn polled(&mut self, account: &Account<'_>, task: &AskedOfTask) {
        let polls = self.polls.of(&task.id);
        self.figures.polls += polls.len();
        let arrived = usize::try_from(task.polls).unwrap_or(usize::MAX);
        self.measured.check(arrived <= polls.len(), || {
            format!("{}: {arrived} arrived, {} were sent", account.name(), polls.len())
        });
        for pair in polls::pairs(&polls) {
            let shortest = match pair.by_one_worker() {
                true => &mut self.figures.interval_by_one,
                false => &mut self.figures.interval_by_two,
            };
            *shortest = Some(shortest.map_or(pair.interval_ms(), |ms| ms.min(pair.interval_ms())));
        }
        let (by_one, by_two): (Vec<Pair>, Vec<Pair>) = polls::too_close(&polls)
            .into_iter()
            .partition(|pair| pair.by_one_worker());
        if account.in_two_messages {
            self.figures.polled_by_one += usize::from(!by_one.is_empty());
            self.figures.polled_by_two += usize::from(!by_two.is_empty());
            let named = by_one
                .iter()
                .chain(&by_two)
                .map(|pair| format!("{}: {pair}", account.name()));
            self.figures.close_polls.extend(named);
        }
        let holds = account.in_two_messages || by_one.is_empty() && by_two.is_empty();
        self.pace
            .check(holds, || format!("{}: {by_one:?} {by_two:?}", account.name()));
    }

    fn outcome(&mut self, account: &Account<'_>, last: &Event, started_by_two: bool) {
        let parts = account.parts(last);
        self.whole.check(account.has_outcomes() == 1, || account.summary());
        self.figures.in_parts += usize::from(parts.len() > 1);
        let succeeded = matches!(last.kind(), EventKind::TransactionsUpdated(_));
        self.right
            .check(succeeded == account.order.case.succeeds(), || account.summary());
        if succeeded {
            self.transactions(account, last, &parts, started_by_two);
        }
        if account.order.case.needs_its_user() {
            self.user.check(account.user_was_asked(), || account.summary());
        }
        self.figures.seconds.extend(account.seconds(last));
    }

    /// What was published is what the update imported, to the last id. Of two tasks the first outcome may have both.
    fn transactions(&mut self, account: &Account<'_>, last: &Event, parts: &[&Event], started_by_two: bool) {
        let ids: Vec<i64> = parts.iter().flat_map(|part| transactions(part)).collect();
        let published: BTreeSet<i64> = ids.iter().copied().collect();
        let imported = account.imported(last);
        let by_tasks = account.imported_by_tasks();
        let more = &(&published - &imported) - &account.since_task(last);
        let mut missing: BTreeSet<i64> = imported.difference(&published).copied().collect();
        let is_second_update = task_id(last).is_empty() && account.in_two_messages && missing.is_subset(&by_tasks);
        if is_second_update && !missing.is_empty() {
            self.figures.second_updates += 1;
            missing.clear();
        }
        self.figures.older_too += usize::from(!published.is_disjoint(&account.older()));
        let no_other = more.is_empty() || started_by_two && more.is_subset(&by_tasks);
        // Each once, where no second message of the command began again.
        let repeats = ids.len() > published.len() && !account.in_two_messages;
        self.figures.cut_again += usize::from(repeats && account.was_cut_again);
        let distinct = !repeats || account.was_cut_again;
        let is_right = distinct && missing.is_empty() && no_other && !imported.is_empty();
        self.published.check(is_right, || {
            let (all, distinct) = (ids.len(), published.len());
            let (name, when) = (account.name(), account.times());
            format!("{name}: {all} published, {distinct} distinct, {missing:?} missing, {more:?} more, {when}")
        });
    }
}
