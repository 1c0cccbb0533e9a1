//! Collecting: the data of an update is read and published, page by page and part by part.

use super::Transition;
use crate::refresh::clocks::ClockOffset;
use crate::refresh::command::Download;
use crate::refresh::failure::Failure;
use crate::refresh::model::{Collected, Connection, Transaction};
use crate::refresh::query::{Query, Wanted};
use crate::refresh::reading::{Collecting, Interval, Reading, Turn, Way};
use crate::refresh::{Next, Phase, Refresh, Step, Update, event};

impl Transition<'_> {
    /// From here on it is fixed which import time the outcome covers.
    pub(super) fn enter_collecting(&self, refresh: Refresh, update: Update, connection: Connection) -> Step {
        // By finAPI's clock, which import times are of.
        let unknown = ClockOffset::within(self.policy.limits.clock_skew);
        let clock = self.context.clocks.access.unwrap_or(unknown);
        let now = clock.earliest(self.context.now);
        let began = match &update.task {
            Some(task) => task.created_at,
            // Its end may be what finAPI names, and it may be the command's own.
            None => connection
                .last_success_at()
                .map_or(refresh.requested_at, |at| at.min(refresh.requested_at)),
        };
        // What claims to have begun later than now would leave a gap.
        let began = began.min(clock.latest(self.context.now));
        let since = refresh.command.transactions_since();
        let interval = match refresh.command.download() {
            Download::Everything => Some(Interval::new(since, began, now, self.policy.events.margin)),
            Download::WithoutPositions | Download::WithoutPositionsAndBalances => None,
        };
        let mut reading = Reading::new(interval, began);
        if let Err(failure) = reading.add(connection.account_ids.clone()) {
            return self.finish_failed(refresh, &failure.into());
        }
        let collecting = Collecting {
            update,
            reading,
            connection: Some(connection),
            accounts: None,
            skipped_accounts: 0,
            unreadable: Vec::new(),
        };
        self.enter_now(refresh, Phase::Collecting(Box::new(collecting)))
    }

    /// The connection is read again at the end of what was continued from a checkpoint.
    pub(super) fn on_connection_collecting(
        &self,
        refresh: Refresh,
        mut collecting: Box<Collecting>,
        connection: Connection,
    ) -> Step {
        collecting.connection = Some(connection);
        self.publish_read(refresh, collecting, None)
    }

    pub(super) fn on_collected(&self, refresh: Refresh, mut collecting: Box<Collecting>, collected: Collected) -> Step {
        let Collected {
            accounts,
            page,
            skipped_accounts,
            unreadable,
        } = collected;
        let Query::Collect(Wanted {
            accounts: wants_accounts,
            page: wanted,
        }) = collecting.query()
        else {
            return self.on_call_failed(refresh, Failure::unexpected("accounts in place of the connection"));
        };
        if wants_accounts && accounts.is_none() || wanted.is_some() != page.is_some() {
            return self.on_call_failed(refresh, Failure::unexpected("half of what was asked for"));
        }
        if let Some(accounts) = accounts {
            if let Err(failure) = collecting
                .reading
                .on_accounts(accounts.iter().map(|account| account.id))
            {
                return self.finish_failed(refresh, &failure.into());
            }
            collecting.accounts = Some(accounts);
            (collecting.skipped_accounts, collecting.unreadable) = (skipped_accounts, unreadable);
            if skipped_accounts > 0 {
                collecting.reading.skip_accounts();
            }
        }
        match page.map(|page| collecting.reading.on_page(page)) {
            None => self.publish_read(refresh, collecting, None),
            Some(Turn::Read(transactions)) => {
                let phase_since = self.context.now;
                self.publish_read(Refresh { phase_since, ..refresh }, collecting, Some(&transactions))
            }
            Some(Turn::Back) => {
                let (phase, due_at) = (Phase::Collecting(collecting), self.context.now);
                self.schedule(Refresh {
                    phase,
                    due_at,
                    ..refresh
                })
            }
            Some(Turn::Odd(why)) => {
                let phase = Phase::Collecting(collecting);
                self.retry_with_backoff(Refresh { phase, ..refresh }, Failure::unexpected(why))
            }
        }
    }

    /// finAPI refuses the accounts that were asked for: perhaps one of them is gone.
    pub(super) fn on_page_refused(&self, mut refresh: Refresh) -> Step {
        if let Phase::Collecting(collecting) = &mut refresh.phase {
            collecting.reading.refused = true;
        }
        let due_at = self.context.now;
        self.schedule(Refresh { due_at, ..refresh })
    }

    /// Publishes what was read, and the end of the outcome if that was all.
    fn publish_read(&self, refresh: Refresh, mut collecting: Box<Collecting>, page: Option<&[Transaction]>) -> Step {
        let now = self.context.now;
        let is_over = collecting.reading.is_over();
        if is_over && collecting.reading.is_refused() {
            let failure = Failure::unexpected("finAPI lists accounts and refuses the transactions of each");
            return self.finish_failed(refresh, &failure.into());
        }
        let transactions = page.unwrap_or_default();
        let events = event::transactions_updated(&refresh, now, &collecting, transactions, &self.policy.events);
        if is_over && collecting.connection.is_some() && collecting.accounts.is_some() {
            return Step {
                events,
                next: Next::Done,
            };
        }
        let parts = u32::try_from(events.len()).unwrap_or(u32::MAX);
        collecting.reading.part = collecting.reading.part.saturating_add(parts);
        // Only a page is progress: the connection is read again after every wait that is parked. To find the way back is none: what changes from
        // page to page would never come to an end.
        let is_progress = page.is_some() && collecting.reading.way != Way::Found;
        let failures = if is_progress { 0 } else { refresh.failures };
        let next = Box::new(Refresh {
            phase: Phase::Collecting(collecting),
            due_at: now,
            failures,
            ..refresh
        });
        let next = match parts {
            0 => Next::Continue(next),
            _ => Next::Checkpoint(next),
        };
        Step { events, next }
    }
}
