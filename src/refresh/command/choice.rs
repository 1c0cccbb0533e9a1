//! What a command chooses from. Unlike in the protocol there is no "unspecified", and no value of a newer release.

use crate::proto;

/// What to do with accounts that are new at the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportNewAccounts {
    /// Only accounts that are known are updated.
    Skip,
    /// New accounts are imported where finAPI can do it.
    Conditional,
    /// New accounts are imported, with the user's help where need be.
    Forced,
}

/// finAPI's account types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AccountType {
    Checking,
    Savings,
    CreditCard,
    Security,
    Loan,
    Membership,
    Bausparen,
}

/// The ways finAPI talks to a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankingInterface {
    /// The PSD2 interface.
    Xs2a,
    /// A FinTS server.
    FintsServer,
    /// The bank's online banking.
    WebScraper,
}

/// What a user can edit of what is saved at finAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedSetting {
    /// The login credentials.
    Credentials,
    /// The default two-step procedure.
    DefaultTwoStepProcedure,
}

/// How much finAPI downloads of known accounts. Balances can't be left out alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {
    /// All there is.
    Everything,
    /// No transactions and no security positions.
    WithoutPositions,
    /// No transactions, no security positions and no balances.
    WithoutPositionsAndBalances,
}

impl ImportNewAccounts {
    pub(super) fn of(mode: proto::ImportNewAccounts) -> Option<Self> {
        Some(match mode {
            proto::ImportNewAccounts::Unspecified => return None,
            proto::ImportNewAccounts::Skip => Self::Skip,
            proto::ImportNewAccounts::Conditional => Self::Conditional,
            proto::ImportNewAccounts::Forced => Self::Forced,
        })
    }
}

impl From<ImportNewAccounts> for proto::ImportNewAccounts {
    fn from(mode: ImportNewAccounts) -> Self {
        match mode {
            ImportNewAccounts::Skip => Self::Skip,
            ImportNewAccounts::Conditional => Self::Conditional,
            ImportNewAccounts::Forced => Self::Forced,
        }
    }
}

impl AccountType {
    pub(super) fn of(value: i32) -> Option<Self> {
        Some(match proto::AccountType::try_from(value).ok()? {
            proto::AccountType::Unspecified => return None,
            proto::AccountType::Checking => Self::Checking,
            proto::AccountType::Savings => Self::Savings,
            proto::AccountType::CreditCard => Self::CreditCard,
            proto::AccountType::Security => Self::Security,
            proto::AccountType::Loan => Self::Loan,
            proto::AccountType::Membership => Self::Membership,
            proto::AccountType::Bausparen => Self::Bausparen,
        })
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

impl BankingInterface {
    pub(super) fn of(value: i32) -> Option<Self> {
        Some(match proto::BankingInterface::try_from(value).ok()? {
            proto::BankingInterface::Unspecified => return None,
            proto::BankingInterface::Xs2a => Self::Xs2a,
            proto::BankingInterface::FintsServer => Self::FintsServer,
            proto::BankingInterface::WebScraper => Self::WebScraper,
        })
    }
}

impl From<BankingInterface> for proto::BankingInterface {
    fn from(interface: BankingInterface) -> Self {
        match interface {
            BankingInterface::Xs2a => Self::Xs2a,
            BankingInterface::FintsServer => Self::FintsServer,
            BankingInterface::WebScraper => Self::WebScraper,
        }
    }
}

impl SavedSetting {
    pub(super) fn of(value: i32) -> Option<Self> {
        Some(match proto::SavedSetting::try_from(value).ok()? {
            proto::SavedSetting::Unspecified => return None,
            proto::SavedSetting::Credentials => Self::Credentials,
            proto::SavedSetting::DefaultTwoStepProcedure => Self::DefaultTwoStepProcedure,
        })
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
