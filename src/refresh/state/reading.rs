//! How far the transactions of an update are read, as a checkpoint has it.

use std::collections::BTreeMap;

use super::{Times, Unreadable, write_update, wrong};
use crate::id::AccountId;
use crate::limits::{ACCOUNTS_MAX, GROUP_ACCOUNTS_MAX};
use crate::proto::from_timestamp;
use crate::proto::refresh_state as wire;
use crate::refresh::model::Totals;
use crate::refresh::reading::{AccountFigures, Collecting, Figures, Interval, Reading, Way};

pub(super) fn write(collecting: &Collecting) -> wire::Collecting {
    let reading = &collecting.reading;
    let group = |ids: &Vec<AccountId>| wire::Group {
        account_ids: numbers(ids),
    };
    let figures = |(id, figures): (&AccountId, &AccountFigures)| wire::AccountFigures {
        account_id: id.get(),
        new: figures.new,
        oldest: text(figures.oldest),
    };
    wire::Collecting {
        update: Some(write_update(&collecting.update)),
        covered_from: reading.interval.map(|interval| from_timestamp(interval.from)),
        covered_until: reading.interval.map(|interval| from_timestamp(interval.until)),
        began: Some(from_timestamp(reading.began)),
        listed: reading.listed,
        groups: reading.groups.iter().map(group).collect(),
        group: u32::try_from(reading.group).unwrap_or(u32::MAX),
        page: reading.page,
        last_id: reading.last_id.get(),
        last_account_ids: numbers(&reading.last_accounts),
        totals: reading.totals.as_ref().map(|totals| wire::Totals {
            count: totals.count,
            income: text(totals.income),
            spending: text(totals.spending),
        }),
        way: write_way(reading.way).into(),
        part: reading.part,
        figures: reading.figures.accounts.iter().map(figures).collect(),
        others: reading.figures.others,
        uncovered_account_ids: numbers(&reading.uncovered),
    }
}

pub(super) fn read(collecting: wire::Collecting, times: &Times) -> Result<Collecting, Unreadable> {
    let way = read_way(collecting.way())?;
    let interval = match (collecting.covered_from, collecting.covered_until) {
        (None, None) => None,
        (from, until) => Some(Interval {
            from: times.any(from, "covered_from")?,
            until: times.any(until, "covered_until")?,
        }),
    };
    let groups = groups(collecting.groups)?;
    let group = usize::try_from(collecting.group).unwrap_or(usize::MAX);
    Ok(Collecting {
        update: times.update(collecting.update)?,
        reading: Reading {
            interval,
            began: times.read(collecting.began, "began")?,
            listed: collecting.listed,
            group: Some(group)
                .filter(|group| *group <= groups.len())
                .ok_or_else(|| wrong("group"))?,
            groups,
            page: at_least_one(collecting.page, "page")?,
            last_id: collecting.last_id.into(),
            last_accounts: ids(&collecting.last_account_ids, GROUP_ACCOUNTS_MAX, "last_account_ids")?,
            totals: collecting.totals.map(totals).transpose()?,
            way,
            part: at_least_one(collecting.part, "part")?,
            figures: Figures {
                accounts: figures(&collecting.figures)?,
                others: collecting.others,
            },
            uncovered: ids(&collecting.uncovered_account_ids, ACCOUNTS_MAX, "uncovered_account_ids")?,
            refused: false,
        },
        connection: None,
        accounts: None,
    })
}

fn groups(groups: Vec<wire::Group>) -> Result<Vec<Vec<AccountId>>, Unreadable> {
    let group = |group: &wire::Group| ids(&group.account_ids, GROUP_ACCOUNTS_MAX, "groups");
    let accounts: usize = groups.iter().map(|group| group.account_ids.len()).sum();
    // A group that was split has one account at least, and one that was emptied had one.
    if accounts > ACCOUNTS_MAX || groups.len() > 2 * ACCOUNTS_MAX {
        return Err(wrong("groups"));
    }
    groups.iter().map(group).collect()
}

fn totals(totals: wire::Totals) -> Result<Totals, Unreadable> {
    let amount = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong("totals")),
    };
    Ok(Totals {
        count: totals.count,
        income: amount(&totals.income)?,
        spending: amount(&totals.spending)?,
    })
}

fn figures(figures: &[wire::AccountFigures]) -> Result<BTreeMap<AccountId, AccountFigures>, Unreadable> {
    if figures.len() > ACCOUNTS_MAX {
        return Err(wrong("figures"));
    }
    let read = |figures: &wire::AccountFigures| {
        let oldest = match figures.oldest.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| wrong("oldest"))?),
        };
        Ok((
            figures.account_id.into(),
            AccountFigures {
                new: figures.new,
                oldest,
            },
        ))
    };
    figures.iter().map(read).collect()
}

fn write_way(way: Way) -> wire::Way {
    match way {
        Way::Ahead => wire::Way::Ahead,
        Way::Back => wire::Way::Back,
        Way::Found => wire::Way::Found,
    }
}

fn read_way(way: wire::Way) -> Result<Way, Unreadable> {
    match way {
        wire::Way::Unspecified => Err(wrong("way")),
        wire::Way::Ahead => Ok(Way::Ahead),
        wire::Way::Back => Ok(Way::Back),
        wire::Way::Found => Ok(Way::Found),
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn numbers(ids: &[AccountId]) -> Vec<i64> {
    ids.iter().map(|id| id.get()).collect()
}

fn ids(numbers: &[i64], count_max: usize, name: &'static str) -> Result<Vec<AccountId>, Unreadable> {
    match numbers.len() <= count_max {
        true => Ok(numbers.iter().copied().map(AccountId::from).collect()),
        false => Err(wrong(name)),
    }
}

fn at_least_one(number: u32, name: &'static str) -> Result<u32, Unreadable> {
    Some(number).filter(|number| *number > 0).ok_or_else(|| wrong(name))
}
