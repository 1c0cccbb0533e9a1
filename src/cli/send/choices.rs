//! The choices of a command, as they are typed.

use clap::ValueEnum;

use crate::proto;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Import {
    Skip,
    Conditional,
    Forced,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AccountType {
    Checking,
    Savings,
    CreditCard,
    Security,
    Loan,
    Membership,
    Bausparen,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SavedSetting {
    Credentials,
    DefaultTwoStepProcedure,
}

impl From<Import> for proto::ImportNewAccounts {
    fn from(import: Import) -> Self {
        match import {
            Import::Skip => Self::Skip,
            Import::Conditional => Self::Conditional,
            Import::Forced => Self::Forced,
        }
    }
}

impl From<AccountType> for proto::AccountType {
    fn from(kind: AccountType) -> Self {
        match kind {
            AccountType::Checking => Self::Checking,
            AccountType::Savings => Self::Savings,
            AccountType::CreditCard => Self::CreditCard,
            AccountType::Security => Self::Security,
            AccountType::Loan => Self::Loan,
            AccountType::Membership => Self::Membership,
            AccountType::Bausparen => Self::Bausparen,
        }
    }
}

impl From<SavedSetting> for proto::SavedSetting {
    fn from(setting: SavedSetting) -> Self {
        match setting {
            SavedSetting::Credentials => Self::Credentials,
            SavedSetting::DefaultTwoStepProcedure => Self::DefaultTwoStepProcedure,
        }
    }
}
