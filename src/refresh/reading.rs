//! Reading the accounts and transactions of a connection: group by group, page by page, forwards, and back where the pages may have moved.
//!
//! Pages are ordered by id, so the last id says what was read so far. finAPI may delete transactions between two pages. What follows moves to an
//! earlier page then, and going on would skip it. So reading steps back, page by page, to one that begins at or before the last id: when the
//! totals change that each page repeats, and after an interruption, in which anything may have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::failure::Failure;
use super::model::{Account, Connection, Page, PageIds, Skipped, Totals, Transaction};
use super::query::{PageQuery, Query, Wanted};
use super::{Update, earlier, later};
use crate::id::{AccountId, TransactionId};
use crate::limits::{ACCOUNTS_MAX, GROUP_ACCOUNTS_MAX};

/// For so long what can't be read keeps a consumer's next interval from passing it.
const SKIPPED_FOR_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The data of an update on its way to its events.
#[derive(Clone, Debug)]
pub struct Collecting {
    /// The update.
    pub update: Update,
    /// How far its transactions are read.
    pub reading: Reading,
    /// The connection. Not in a checkpoint: whoever continues from one reads it again at the end.
    pub connection: Option<Connection>,
    /// Its accounts; the same.
    pub accounts: Option<Vec<Account>>,
    /// How many accounts there are whose ids can't be read; the same.
    pub skipped_accounts: usize,
    /// finAPI's names of what can't be read around the accounts; the same.
    pub unreadable: Vec<String>,
}

/// The import time that an event covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// What was imported from here on is published.
    pub from: Timestamp,
    /// Up to here nothing is missing.
    pub until: Timestamp,
}

/// How far transactions are read, and what the next part needs to know of those before.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What is published; nothing is where this is missing.
    pub interval: Option<Interval>,
    /// When the update began.
    pub began: Timestamp,
    /// Whether the groups have all accounts that finAPI lists.
    pub listed: bool,
    /// The accounts, as many together as one call asks for.
    pub groups: Vec<Vec<AccountId>>,
    /// The group that is being read.
    pub group: usize,
    /// The page that comes next, from 1.
    pub page: u32,
    /// The last id that was read of this group, and the accounts that have it.
    pub last_id: TransactionId,
    /// See `last_id`.
    pub last_accounts: Vec<AccountId>,
    /// The totals of the page before, in this group.
    pub totals: Option<Totals>,
    /// Where reading goes.
    pub way: Way,
    /// The next part to publish, from 1.
    pub part: u32,
    /// How many transactions were read, and how old they are.
    pub figures: Figures,
    /// Accounts that finAPI lists and whose transactions it refuses.
    pub uncovered: Vec<AccountId>,
    /// The transactions whose ids can't be read.
    pub skipped: Skips,
    /// finAPI refused this group, so the accounts are listed again. Not in a checkpoint.
    pub refused: bool,
}

/// Transactions that were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// How many.
    pub count: u32,
    /// When the first of them was imported, or may have been, or one of an account that was skipped.
    pub first: Option<Timestamp>,
}

/// Where reading goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// From page to page.
    #[default]
    Ahead,
    /// Back to a page that begins at or before the last id.
    Back,
    /// Ahead, from a page that does. An interruption does not lead back once more before anything was read: else one after each call
    /// would lead back for ever.
    Found,
}

/// How many transactions were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Those of the connection's accounts.
    pub accounts: BTreeMap<AccountId, AccountFigures>,
    /// How many were new of accounts that were not asked for.
    pub others: u32,
}

/// How many transactions of one account were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountFigures {
    /// How many were imported since the update began.
    pub new: u32,
    /// The oldest booking date among all of them.
    pub oldest: Option<Date>,
}

/// What a page leads to.
pub(super) enum Turn {
    /// These were not read before.
    Read(Vec<Transaction>),
    /// The page before is next.
    Back,
    /// The page is no good.
    Odd(&'static str),
}

impl Collecting {
    /// What is to be asked next.
    pub(super) fn query(&self) -> Query {
        let (reading, page) = (&self.reading, self.reading.page_query());
        let accounts = reading.refused || !reading.listed;
        let is_page_next = page.is_some() && !reading.refused;
        // What is continued before anything was read is published as if nothing had come between: as one event, if it fits one.
        let is_unread = (reading.group, reading.page, reading.part) == (0, 1, 1);
        let is_connection_first = self.connection.is_none() && is_unread;
        match () {
            () if is_connection_first => Query::Connection,
            () if accounts || is_page_next => Query::Collect(Wanted {
                accounts,
                page: page.filter(|_| is_page_next),
            }),
            () if self.connection.is_none() => Query::Connection,
            () => Query::Collect(Wanted {
                accounts: true,
                page: None,
            }),
        }
    }
}

impl Reading {
    /// Reading that begins now, at an interval if there is one.
    #[must_use]
    pub fn new(interval: Option<Interval>, began: Timestamp) -> Self {
        Self {
            interval,
            began,
            listed: false,
            groups: Vec::new(),
            group: 0,
            page: 1,
            last_id: TransactionId::default(),
            last_accounts: Vec::new(),
            totals: None,
            way: Way::Ahead,
            part: 1,
            figures: Figures::default(),
            uncovered: Vec::new(),
            skipped: Skips::default(),
            refused: false,
        }
    }

    /// Whether all pages of all groups are read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.listed && self.page_query().is_none()
    }

    /// What the last part says: where an account is not covered, nothing new is. What was skipped is not covered either, but for no longer than
    /// a week: it may never be readable.
    #[must_use]
    pub fn covered(&self) -> Option<Interval> {
        let is_short = |interval: Interval| interval.until <= later(interval.from, SKIPPED_FOR_MAX);
        let until = |interval: Interval| match self.skipped.first {
            _ if !self.uncovered.is_empty() => interval.from,
            Some(first) if is_short(interval) => first.min(interval.until).max(interval.from),
            _ => interval.until,
        };
        self.interval.map(|interval| Interval {
            until: until(interval),
            ..interval
        })
    }

    /// How many transactions were imported since the update began.
    #[must_use]
    pub fn new_transactions(&self) -> u32 {
        let of_accounts = self.figures.accounts.values().map(|figures| figures.new);
        of_accounts.fold(self.figures.others, u32::saturating_add)
    }

    /// Whether finAPI refuses the transactions of every account.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.uncovered.is_empty() && self.groups.iter().all(Vec::is_empty)
    }

    fn page_query(&self) -> Option<PageQuery> {
        let accounts = self.groups.get(self.group)?.clone();
        self.interval.map(|interval| PageQuery {
            accounts,
            since: interval.from,
            page: self.page,
        })
    }

    /// Something came between two pages.
    pub(super) fn interrupt(&mut self) {
        if self.page > 1 && self.way == Way::Ahead {
            self.way = Way::Back;
        }
    }

    /// finAPI's accounts. Those that are in no group yet come to one; a group that was refused goes on without those that are no longer there.
    pub(super) fn on_accounts(&mut self, ids: impl IntoIterator<Item = AccountId>) -> Result<(), Failure> {
        let ids: Vec<AccountId> = ids.into_iter().collect();
        if std::mem::take(&mut self.refused) {
            self.regroup(&ids);
        }
        self.add(ids)?;
        self.listed = true;
        Ok(())
    }

    /// Accounts to be read, each once.
    pub(super) fn add(&mut self, ids: Vec<AccountId>) -> Result<(), Failure> {
        if self.listed {
            return Ok(());
        }
        let mut known: BTreeSet<AccountId> = self.groups.iter().flatten().copied().collect();
        let new: Vec<AccountId> = ids.into_iter().filter(|id| known.insert(*id)).collect();
        if known.len() > ACCOUNTS_MAX {
            let why = format!("a connection with more than {ACCOUNTS_MAX} accounts");
            return Err(Failure::unexpected(&why));
        }
        self.groups.extend(new.chunks(GROUP_ACCOUNTS_MAX).map(<[_]>::to_vec));
        Ok(())
    }

    /// Drops accounts that are gone. If none is, one that is there is refused: the halves of the group are tried, and one alone is left out.
    fn regroup(&mut self, there: &[AccountId]) {
        let Some(group) = self.groups.get_mut(self.group) else {
            return;
        };
        let asked = std::mem::take(group);
        for id in &asked {
            self.figures.accounts.remove(id);
        }
        let left: Vec<AccountId> = asked.iter().copied().filter(|id| there.contains(id)).collect();
        match left.len() {
            len if len < asked.len() => *group = left,
            1 => self.uncovered.extend(left),
            len => {
                *group = left[..len / 2].to_vec();
                self.groups.insert(self.group + 1, left[len / 2..].to_vec());
            }
        }
        self.begin_group();
        if self.groups[self.group].is_empty() {
            self.group += 1;
        }
    }

    fn begin_group(&mut self) {
        self.page = 1;
        self.last_id = TransactionId::default();
        self.last_accounts.clear();
        self.totals = None;
        self.way = Way::Ahead;
    }

    /// The page that was asked for. Before it finds another one, two pages that follow each other are the same finAPI's.
    pub(super) fn on_page(&mut self, page: Page) -> Turn {
        let changed = self.totals.as_ref().is_some_and(|totals| *totals != page.totals);
        self.totals = Some(page.totals);
        let continues = page.ids.as_ref().is_some_and(|ids| ids.first <= self.last_id);
        if self.page > 1 && !continues && (changed || self.way == Way::Back) {
            self.page -= 1;
            return match std::mem::replace(&mut self.way, Way::Back) {
                Way::Back => Turn::Back,
                Way::Ahead | Way::Found => Turn::Odd("the transactions changed between two pages"),
            };
        }
        let repeats = |ids: &PageIds| {
            ids.last_accounts
                .iter()
                .all(|account| self.has_read(ids.last, *account))
        };
        if self.page > 1 && self.way != Way::Back && !changed && page.ids.as_ref().is_some_and(repeats) {
            return Turn::Odd("a page of transactions repeats those before it");
        }
        // What was read before was counted then, as far as anybody can know.
        let is_new = page.ids.as_ref().is_none_or(|ids| ids.last > self.last_id);
        page.skipped.iter().for_each(|skipped| self.skip(*skipped, is_new));
        let mut transactions = page.transactions;
        transactions.retain(|transaction| !self.has_read(transaction.id, transaction.account_id));
        transactions.sort_by_key(|transaction| (transaction.id, transaction.account_id));
        transactions.dedup_by_key(|transaction| (transaction.id, transaction.account_id));
        self.advance(page.ids, page.is_last);
        transactions.iter().for_each(|transaction| self.count(transaction));
        Turn::Read(transactions)
    }

    /// An account whose id can't be read may have transactions of any time.
    pub(super) fn skip_accounts(&mut self) {
        self.skipped.first = self.interval.map(|interval| interval.from);
    }

    fn skip(&mut self, skipped: Skipped, is_new: bool) {
        let from = self.interval.map(|interval| interval.from);
        let at = skipped.imported_at.or(from);
        self.skipped = Skips {
            count: self.skipped.count.saturating_add(u32::from(is_new)),
            first: self.skipped.first.into_iter().chain(at).min(),
        };
    }

    fn has_read(&self, id: TransactionId, account: AccountId) -> bool {
        id < self.last_id || id == self.last_id && self.last_accounts.contains(&account)
    }

    fn advance(&mut self, ids: Option<PageIds>, is_last: bool) {
        if let Some(ids) = ids {
            if ids.last > self.last_id {
                self.last_accounts.clear();
            }
            if ids.last >= self.last_id {
                self.last_id = ids.last;
                let new = ids.last_accounts.iter().filter(|id| !self.last_accounts.contains(id));
                let new: Vec<AccountId> = new.copied().collect();
                self.last_accounts.extend(new);
                self.last_accounts.truncate(GROUP_ACCOUNTS_MAX);
            }
        }
        self.way = match self.way {
            Way::Back => Way::Found,
            Way::Ahead | Way::Found => Way::Ahead,
        };
        self.page = self.page.saturating_add(1);
        if is_last {
            self.group += 1;
            self.begin_group();
        }
    }

    fn count(&mut self, transaction: &Transaction) {
        let is_new = u32::from(transaction.imported_at.is_none_or(|at| at >= self.began));
        let id = transaction.account_id;
        if !self.groups.iter().any(|group| group.contains(&id)) {
            self.figures.others = self.figures.others.saturating_add(is_new);
            return;
        }
        let figures = self.figures.accounts.entry(id).or_default();
        figures.new = figures.new.saturating_add(is_new);
        let date = transaction.bank_booking_date.or(transaction.finapi_booking_date);
        figures.oldest = figures.oldest.into_iter().chain(date).min();
    }
}

impl Interval {
    /// What an event covers that reads now, by finAPI's clock: everything since `since` if that was asked for, else what an update brought that began then.
    #[must_use]
    pub fn new(since: Option<Timestamp>, began: Timestamp, now: Timestamp, margin: Duration) -> Self {
        let from = since.unwrap_or_else(|| earlier(began, margin));
        Self {
            from,
            until: earlier(now, margin).max(from),
        }
    }
}
