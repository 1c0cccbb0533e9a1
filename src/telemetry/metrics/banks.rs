//! The banks that metrics name, where that is asked for.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::KeyValue;

use crate::id::BankId;

/// The banks that metrics name, where that is asked for.
pub(super) static BANKS: OnceLock<Banks> = OnceLock::new();

/// Every bank is a series of its own for each outcome, so there is a most.
#[derive(Debug)]
pub(super) struct Banks {
    max: usize,
    named: Mutex<BTreeSet<BankId>>,
}

pub(super) fn name_banks(max: usize) {
    if max > 0 {
        // Only whoever starts twice is too late.
        let _ = BANKS.set(Banks {
            max,
            named: Mutex::default(),
        });
    }
}

impl Banks {
    pub(super) fn label(&self, bank_id: Option<BankId>) -> KeyValue {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match bank_id {
            Some(id) if named.contains(&id) || named.len() < self.max => {
                named.insert(id);
                id.to_string()
            }
            Some(_) => "other".to_owned(),
            None => "unknown".to_owned(),
        };
        KeyValue::new("bank", name)
    }
}
