//! Query parameters, as strictly as finAPI could take them: an unknown or repeated one, or one of the wrong form, is an error.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::refusal::{FieldError, Refusal};

/// The parameters of a call, and what is wrong with them so far.
#[derive(Debug)]
pub(super) struct Params {
    values: BTreeMap<String, Vec<String>>,
    errors: Vec<FieldError>,
}

/// Which page, from 1, and how much is on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) page: usize,
    pub(super) per_page: usize,
}

impl Page {
    /// How many things stand on the pages before this one.
    pub(super) const fn skipped(self) -> usize {
        (self.page - 1).saturating_mul(self.per_page)
    }
}

/// Which way a list runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

const PER_PAGE: usize = 20;
const PER_PAGE_MAX: usize = 500;

impl Params {
    /// Reads a query string or a form; `known` are the names that may come.
    pub(super) fn read(encoded: &[u8], known: &[&str]) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(encoded) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        let unknown = values.keys().filter(|name| !known.contains(&name.as_str()));
        let errors = unknown.map(|name| FieldError::new(name, "is unknown")).collect();
        Self { values, errors }
    }

    /// Fails when anything was wrong.
    pub(super) fn done(self) -> Result<(), Refusal> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Refusal::Invalid(self.errors))
    }

    pub(super) fn wrong(&mut self, name: &str, message: &str) {
        self.errors.push(FieldError::new(name, message));
    }

    pub(super) fn optional(&mut self, name: &str) -> Option<String> {
        let values = self.values.get(name)?;
        let first = values.first().cloned();
        if values.len() > 1 {
            self.wrong(name, "must be given once");
        }
        first
    }

    pub(super) fn required(&mut self, name: &str) -> String {
        let value = self.optional(name).filter(|value| !value.is_empty());
        value.unwrap_or_else(|| {
            self.wrong(name, "must not be empty");
            String::new()
        })
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let parsed = self.optional(name)?.parse().ok();
        if parsed.is_none() {
            self.wrong(name, "has the wrong type");
        }
        parsed
    }

    /// Ids, with commas between them or in several parameters of the name.
    pub(super) fn ids(&mut self, name: &str) -> Option<Vec<i64>> {
        let values = self.values.get(name)?;
        let ids: Option<Vec<i64>> = values
            .iter()
            .flat_map(|value| value.split(','))
            .map(|id| id.trim().parse().ok())
            .collect();
        if ids.is_none() {
            self.wrong(name, "must be integers");
        }
        ids
    }

    pub(super) fn page(&mut self) -> Page {
        let page = self.parsed("page").unwrap_or(1);
        let per_page = self.parsed("perPage").unwrap_or(PER_PAGE);
        if page == 0 {
            self.wrong("page", "must be at least 1");
        }
        if !(1..=PER_PAGE_MAX).contains(&per_page) {
            self.wrong("perPage", "must be between 1 and 500");
        }
        Page {
            page: page.max(1),
            per_page: per_page.clamp(1, PER_PAGE_MAX),
        }
    }

    /// `order=<by>,asc` or `desc`; only one thing can be ordered by.
    pub(super) fn order(&mut self, by: &str, usual: Order) -> Order {
        let Some(order) = self.optional("order") else {
            return usual;
        };
        match order.split_once(',') {
            None if order == by => Order::Ascending,
            Some((name, way)) if name == by && way.eq_ignore_ascii_case("asc") => Order::Ascending,
            Some((name, way)) if name == by && way.eq_ignore_ascii_case("desc") => Order::Descending,
            _ => {
                self.wrong("order", &format!("must be {by},asc or {by},desc"));
                usual
            }
        }
    }
}

/// The `paging` of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    page: usize,
    per_page: usize,
    page_count: usize,
    total_count: usize,
}

impl Paging {
    pub(super) const fn new(page: Page, total_count: usize) -> Self {
        Self {
            page: page.page,
            per_page: page.per_page,
            page_count: total_count.div_ceil(page.per_page),
            total_count,
        }
    }
}
