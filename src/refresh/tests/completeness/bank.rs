//! finAPI with one connection, as a function of time. All of its moments are by its own clock.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::{Draw, Happened, Row};
use crate::refresh::tests::*;

/// In seconds.
const DAY: i64 = 24 * 3600;
/// Nothing is stored later than this.
const LATE_MAX: Duration = Duration::from_secs(3 * 3600);

/// A transaction.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) row: Row,
    imported: Timestamp,
    /// finAPI shows it from here on.
    stored: Timestamp,
    deleted: Option<Timestamp>,
    /// Its id can't be read until then.
    unreadable_until: Timestamp,
}

impl Stored {
    pub(super) fn is_late(&self) -> bool {
        later(self.imported, secs(60)) < self.stored
    }

    fn shows(&self, at: Timestamp) -> bool {
        self.stored <= at && self.deleted.is_none_or(|deleted| at < deleted)
    }
}

/// An update, by a task or by finAPI itself.
struct Update {
    task: Option<Task>,
    /// When finAPI is done with it; a web form it leads to is open from then on.
    ends: Timestamp,
    end: TaskStatus,
    /// When the web form is over, and how.
    form: Option<(Timestamp, WebFormStatus)>,
    settled: Timestamp,
}

impl Update {
    /// When it is over, with its web form.
    fn over(&self) -> Timestamp {
        self.form.as_ref().map_or(self.ends, |(ends, _)| *ends)
    }

    fn is_success(&self) -> bool {
        self.end == TaskStatus::Completed || matches!(self.form, Some((_, WebFormStatus::Completed)))
    }

    /// Who is asked for a form that nobody has opened locks nothing; it is opened in the middle of its time.
    fn locks(&self, at: Timestamp) -> bool {
        let opened = self.form.as_ref().map(|(ends, _)| {
            let half = ends.duration_since(self.ends) / 2;
            self.ends + half
        });
        at < self.ends || opened.is_some_and(|opened| opened <= at && at < self.over())
    }

    fn shown(&self, at: Timestamp) -> Option<Task> {
        let task = self.task.clone()?;
        Some(match at < self.ends {
            true => task,
            false => Task {
                web_form: self.form.as_ref().map(|_| WebFormLink {
                    id: task.id.to_string().replace("task", "form").as_str().into(),
                    ..form_link()
                }),
                status: self.end.clone(),
                ..task
            },
        })
    }
}

pub(super) struct Bank {
    draw: Draw,
    ahead: SignedDuration,
    margin: Duration,
    page_size: usize,
    /// Whether an update's time is when it began, and not when it ended.
    dates_by_start: bool,
    /// Each from when on it is there, and until when.
    accounts: Vec<(AccountId, Timestamp, Timestamp)>,
    /// Newest first.
    updates: Vec<Update>,
    rows: Vec<Stored>,
    calm: bool,
    pub(super) happened: Happened,
}

impl Bank {
    pub(super) fn new(mut draw: Draw, ahead: SignedDuration, margin: Duration) -> Self {
        let hour = |hours: i64| at(hours * 3600);
        let accounts = (0..draw.0.i64(1..=3)).map(|number| {
            let from = match number {
                0 => hour(-1000),
                _ => hour(draw.0.i64(-50..100)),
            };
            let until = match number > 0 && draw.one_in(4) {
                true => from + SignedDuration::from_hours(draw.0.i64(1..100)),
                false => hour(10_000),
            };
            ((71 + number).into(), from, until)
        });
        let accounts = accounts.collect();
        let mut bank = Self {
            ahead,
            margin,
            page_size: draw.0.usize(3..20),
            dates_by_start: draw.0.bool(),
            accounts,
            updates: Vec::new(),
            rows: Vec::new(),
            calm: false,
            happened: Happened::new(),
            draw,
        };
        for _ in 0..bank.draw.0.u32(0..6) {
            bank.batch_update();
        }
        bank
    }

    pub(super) fn calm_down(&mut self) {
        self.calm = true;
    }

    pub(super) fn all(&self) -> BTreeSet<Row> {
        self.rows.iter().map(|stored| stored.row).collect()
    }

    /// What was stored within the margin, imported from a moment on and is not deleted.
    pub(super) fn required(&self, from: Timestamp) -> Vec<&Stored> {
        let is_due = |stored: &&Stored| {
            from <= stored.imported && stored.deleted.is_none() && stored.stored <= later(stored.imported, self.margin)
        };
        self.rows.iter().filter(is_due).collect()
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// finAPI updates the connection by itself.
    fn batch_update(&mut self) {
        let began = at(self.draw.0.i64(-3600..100 * 3600));
        let ends = later(began, self.draw.up_to(secs(120)));
        let settled = later(ends, self.draw.up_to(secs(8)));
        self.import(ends, settled);
        self.count("a batch update");
        self.updates.push(Update {
            task: None,
            ends,
            end: TaskStatus::Completed,
            form: None,
            settled,
        });
    }

    /// An update imports something at a moment. finAPI stores some of it at once, some until the connection is ready, and some much later.
    fn import(&mut self, imported: Timestamp, settled: Timestamp) {
        let there = |(_, from, until): &&(AccountId, Timestamp, Timestamp)| *from <= imported && imported < *until;
        let accounts: Vec<_> = self.accounts.iter().filter(there).copied().collect();
        for _ in 0..self.draw.0.u32(0..16) {
            let (account, _, _) = accounts[self.draw.0.usize(0..accounts.len())];
            let stored = match self.draw.0.u32(0..20) {
                0..10 => imported,
                10..15 => settled,
                15..19 => later(imported, self.draw.up_to(self.margin)),
                _ => later(imported, self.draw.up_to(LATE_MAX)),
            };
            let deleted = self.draw.one_in(8).then(|| later(stored, self.draw.gap()));
            self.store(account, imported, stored, deleted);
        }
    }

    fn store(&mut self, account: AccountId, imported: Timestamp, stored: Timestamp, deleted: Option<Timestamp>) {
        // It may have its id from when it was imported, or from when it was stored.
        let id_from = if self.draw.0.bool() { imported } else { stored };
        let id = id_from.duration_since(at(-100_000_000)).as_secs() * 1000 + self.rows.len() as i64 % 1000;
        let unreadable = match self.draw.one_in(40) {
            true => self.draw.gap(),
            false => Duration::ZERO,
        };
        // An account takes what it has with it.
        let of_account = self
            .accounts
            .iter()
            .filter(|(id, _, until)| *id == account && *until < at(1_000 * 3600));
        let deleted = of_account.map(|(_, _, until)| *until).chain(deleted).min();
        self.rows.push(Stored {
            row: (account.get(), id),
            imported,
            stored,
            deleted,
            unreadable_until: later(stored, unreadable),
        });
    }

    /// Mostly an answer to the query; sometimes trouble, before the work or after it.
    pub(super) fn respond(&mut self, refresh: &Refresh, now: Timestamp) -> QueryResult {
        let trouble = (!self.calm && self.draw.one_in(12)).then(|| self.trouble());
        let Some(class) = trouble else {
            return self.answer(refresh, now + self.ahead);
        };
        if self.draw.0.bool() && !matches!(class, FailureClass::NotSent(_) | FailureClass::RateLimited(_)) {
            drop(self.answer(refresh, now + self.ahead));
        }
        class.said()
    }

    fn trouble(&mut self) -> FailureClass {
        match self.draw.0.u32(0..6) {
            0 => FailureClass::NotSent(self.draw.up_to(secs(60))),
            1 => FailureClass::RateLimited(Some(self.draw.up_to(secs(60)))),
            2 => FailureClass::MaybeDown,
            3 => FailureClass::Unexpected,
            4 => FailureClass::Foreign,
            _ => FailureClass::Unavailable,
        }
    }

    fn answer(&mut self, refresh: &Refresh, now: Timestamp) -> QueryResult {
        match refresh.query() {
            Query::FindTask => {
                let tasks = self.updates.iter().filter_map(|update| update.shown(now));
                Ok(Response::Tasks(tasks.collect()))
            }
            Query::Start => self.start(now),
            Query::Task(id) => {
                let mut tasks = self.updates.iter().filter_map(|update| update.shown(now));
                tasks.find(|task| task.id == id).expect("a task").said()
            }
            Query::WebForm(id) => {
                let task = id.to_string().replace("form", "task");
                let is_its = |update: &&Update| update.task.as_ref().is_some_and(|of| of.id.to_string() == task);
                let update = self.updates.iter().find(is_its).expect("a web form's task");
                let (ends, end) = update.form.clone().expect("a web form");
                let open = now < ends;
                WebForm {
                    expires_at: Some(later(update.ends, secs(1200))),
                    ..form(if open { WebFormStatus::Open } else { end })
                }
                .said()
            }
            Query::Connection => self.connection(now).said(),
            Query::Collect(wanted) => self.collect(&wanted, now),
        }
    }

    fn start(&mut self, now: Timestamp) -> QueryResult {
        let began = |update: &&Update| update.task.is_some() || earlier(update.ends, secs(120)) <= now;
        if self.updates.iter().filter(began).any(|update| update.locks(now)) {
            self.count("a locked connection");
            return FailureClass::Locked.said();
        }
        let ends = later(now, self.draw.up_to(secs(60)));
        let (end, form) = match self.draw.0.u32(0..10) {
            _ if self.calm => (TaskStatus::Completed, None),
            0..6 => (TaskStatus::Completed, None),
            6 | 7 => (TaskStatus::Failed, None),
            _ => {
                let end = [WebFormStatus::Completed, WebFormStatus::Aborted, WebFormStatus::Failed];
                let end = end[self.draw.0.usize(0..3)].clone();
                let form = (later(ends, self.draw.up_to(secs(1000))), end);
                (TaskStatus::WebFormRequired, Some(form))
            }
        };
        let task = Task {
            id: format!("task-{}", self.updates.len()).as_str().into(),
            created_at: now,
            ..running()
        };
        let mut update = Update {
            task: Some(task),
            ends,
            end,
            form,
            settled: ends,
        };
        update.settled = later(update.over(), self.draw.up_to(secs(8)));
        // One that fails may have stored something before.
        if !self.calm && (update.is_success() || self.draw.one_in(3)) {
            self.import(update.over(), update.settled);
        }
        self.count(if update.is_success() {
            "an update that succeeds"
        } else {
            "an update that fails"
        });
        let shown = update.shown(now).expect("a task");
        self.updates.insert(0, update);
        shown.said()
    }

    /// As it is, or as it was some seconds ago.
    fn connection(&mut self, now: Timestamp) -> Connection {
        let old = self.draw.one_in(4);
        let then = if old {
            earlier(now, self.draw.up_to(secs(5)))
        } else {
            now
        };
        let over = || self.updates.iter().filter(|update| update.over() <= then);
        let date = |update: &Update| match (&update.task, self.dates_by_start) {
            (Some(task), true) => task.created_at,
            _ => update.over(),
        };
        let is_settling = over().any(|update| update.is_success() && then < update.settled);
        let interface = Interface {
            last_success_at: over().filter(|update| update.is_success()).map(date).max(),
            last_manual_update_at: over().filter(|update| update.task.is_some()).map(date).max(),
            ..Interface::default()
        };
        let mut account_ids = self.accounts_at(then);
        // Its own list may lag behind that of the accounts.
        if self.draw.one_in(6) {
            account_ids.pop();
        }
        Connection {
            ready: !is_settling
                && !self
                    .updates
                    .iter()
                    .any(|update| update.task.is_some() && update.locks(then)),
            account_ids,
            interfaces: vec![interface],
            ..ready()
        }
    }

    fn accounts_at(&self, now: Timestamp) -> Vec<AccountId> {
        let there = self
            .accounts
            .iter()
            .filter(|(_, from, until)| *from <= now && now < *until);
        there.map(|(id, _, _)| *id).collect()
    }

    fn collect(&mut self, wanted: &Wanted, now: Timestamp) -> QueryResult {
        if self.draw.one_in(100) {
            self.delete_account(now);
        }
        let there = self.accounts_at(now);
        if let Some(page) = &wanted.page
            && page.accounts.iter().any(|id| !there.contains(id))
        {
            self.count("a page of an account that is gone");
            return FailureClass::NotFound.said();
        }
        let account = |id: &AccountId| Account {
            id: *id,
            ..Account::default()
        };
        let page = wanted.page.as_ref().map(|page| self.page(page, now));
        Collected {
            accounts: wanted.accounts.then(|| there.iter().map(account).collect()),
            page,
            ..Collected::default()
        }
        .said()
    }

    fn page(&mut self, wanted: &PageQuery, now: Timestamp) -> Page {
        if wanted.page > 1 && self.draw.one_in(6) {
            self.delete_one(wanted, now);
        }
        // finAPI asks for a day, which began up to so long before.
        let since = at(wanted.since.duration_since(at(0)).as_secs().div_euclid(DAY) * DAY);
        let is_asked = |stored: &&Stored| {
            wanted.accounts.contains(&stored.row.0.into()) && since <= stored.imported && stored.shows(now)
        };
        let mut all: Vec<&Stored> = self.rows.iter().filter(is_asked).collect();
        all.sort_by_key(|stored| (stored.row.1, stored.row.0));
        let amounts = || all.iter().map(|stored| amount(stored.row.1));
        let totals = Totals {
            count: Some(all.len() as u64),
            income: Some(amounts().filter(Decimal::is_sign_positive).sum()),
            spending: Some(amounts().filter(Decimal::is_sign_negative).sum()),
        };
        let pages = all.len().div_ceil(self.page_size).max(1);
        let skipped = (wanted.page as usize - 1) * self.page_size;
        let on_page = all.into_iter().skip(skipped).take(self.page_size);
        let (readable, unreadable): (Vec<&Stored>, Vec<&Stored>) =
            on_page.partition(|stored| stored.unreadable_until <= now);
        let transactions: Vec<Transaction> = readable.iter().map(|stored| transaction(stored)).collect();
        let skipped: Vec<Skipped> = unreadable
            .iter()
            .filter(|stored| stored.imported >= wanted.since)
            .map(|stored| Skipped {
                imported_at: (stored.row.1 % 3 > 0).then_some(stored.imported),
            })
            .collect();
        let mut page = Page {
            ids: page_ids(&transactions),
            is_last: wanted.page as usize >= pages,
            totals,
            skipped,
            transactions,
            ..Page::default()
        };
        page.transactions
            .retain(|transaction| transaction.imported_at >= Some(wanted.since));
        if self.draw.one_in(20) {
            self.store_just_after(wanted, now);
        }
        if pages > 1 {
            self.count("a page of several");
        }
        if !page.skipped.is_empty() {
            self.count("a page with what can't be read");
        }
        page
    }

    /// As late as may be, and right after a page was made.
    fn store_just_after(&mut self, wanted: &PageQuery, now: Timestamp) {
        let then = later(now, millis(1));
        if let Some(account) = wanted.accounts.first().filter(|_| !self.calm) {
            self.store(*account, earlier(then, self.margin), then, None);
        }
    }

    /// One of those before the page is deleted between two pages.
    fn delete_one(&mut self, wanted: &PageQuery, now: Timestamp) {
        let asked = self.rows.iter_mut();
        let mut shown: Vec<&mut Stored> = asked
            .filter(|stored| wanted.accounts.contains(&stored.row.0.into()) && stored.shows(now))
            .collect();
        if !shown.is_empty() && !self.calm {
            let index = self.draw.0.usize(0..shown.len());
            shown[index].deleted = Some(now);
            self.count("a deletion between two pages");
        }
    }

    /// An account is deleted between two pages, with what it has. The first one stays.
    fn delete_account(&mut self, now: Timestamp) {
        let last = self.accounts.len() - 1;
        let (id, _, until) = &mut self.accounts[last];
        if last == 0 || *until <= now || self.calm {
            return;
        }
        *until = now;
        let rows = self.rows.iter_mut().filter(|stored| stored.row.0 == id.get());
        rows.for_each(|stored| stored.deleted = stored.deleted.into_iter().chain([now]).min());
    }
}

fn amount(id: i64) -> Decimal {
    Decimal::new(id.wrapping_mul(7_919) % 100_003 - 50_000, 2)
}

fn transaction(stored: &Stored) -> Transaction {
    let (account, id) = stored.row;
    Transaction {
        id: id.into(),
        account_id: account.into(),
        amount: Some(amount(id)),
        imported_at: Some(stored.imported),
        ..Transaction::default()
    }
}
