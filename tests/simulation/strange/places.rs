//! Where data can be odd, and what stands there. Ids are left alone: nothing can be said of what has none.

use bankrefresh::sandbox::Endpoint;

/// A member, at an endpoint.
pub(super) type Place = (Endpoint, &'static str);

/// Members that may be null, missing or of any type.
pub(super) const ANY: [Place; 24] = [
    (Endpoint::Token, "/expires_in"),
    (Endpoint::Token, "/refresh_token"),
    (Endpoint::Token, "/scope"),
    (Endpoint::StartUpdate, "/type"),
    (Endpoint::StartUpdate, "/createdAt"),
    (Endpoint::Tasks, "/items/*/type"),
    (Endpoint::Tasks, "/paging"),
    (Endpoint::Task, "/createdAt"),
    (Endpoint::Task, "/status"),
    (Endpoint::WebForm, "/expiresAt"),
    (Endpoint::WebForm, "/status"),
    (Endpoint::WebForm, "/payload"),
    (Endpoint::BankConnection, "/bank"),
    (Endpoint::BankConnection, "/accountIds"),
    (Endpoint::BankConnection, "/interfaces"),
    (Endpoint::BankConnection, "/interfaces/0/lastManualUpdate"),
    (Endpoint::Accounts, "/accounts/0/balance"),
    (Endpoint::Accounts, "/accounts/0/accountType"),
    (Endpoint::Accounts, "/accounts/0/interfaces"),
    (Endpoint::Transactions, "/transactions/0/amount"),
    (Endpoint::Transactions, "/transactions/0/purpose"),
    (Endpoint::Transactions, "/transactions/*/category"),
    (Endpoint::Transactions, "/transactions/0/currency"),
    (Endpoint::Transactions, "/balance"),
];

/// Members that are numbers.
pub(super) const NUMBERS: [Place; 6] = [
    (Endpoint::Token, "/expires_in"),
    (Endpoint::Tasks, "/paging/totalCount"),
    (Endpoint::Accounts, "/accounts/0/balance"),
    (Endpoint::Transactions, "/transactions/0/amount"),
    (Endpoint::Transactions, "/transactions/*/amount"),
    (Endpoint::Transactions, "/spending"),
];

/// Members that are dates and times.
pub(super) const TIMES: [Place; 10] = [
    (Endpoint::StartUpdate, "/createdAt"),
    (Endpoint::Task, "/createdAt"),
    (Endpoint::WebForm, "/expiresAt"),
    (Endpoint::BankConnection, "/interfaces/0/lastManualUpdate/timestamp"),
    (Endpoint::BankConnection, "/interfaces/0/aisConsent/expiresAt"),
    (Endpoint::Accounts, "/accounts/0/interfaces/0/lastSuccessfulUpdate"),
    (Endpoint::Transactions, "/transactions/0/valueDate"),
    (Endpoint::Transactions, "/transactions/0/bankBookingDate"),
    (Endpoint::Transactions, "/transactions/*/finapiBookingDate"),
    (Endpoint::Transactions, "/transactions/0/importDate"),
];

/// Members that have one of some words.
pub(super) const WORDS: [Place; 7] = [
    (Endpoint::Task, "/status"),
    (Endpoint::WebForm, "/status"),
    (Endpoint::BankConnection, "/categorizationStatus"),
    (Endpoint::BankConnection, "/interfaces/0/bankingInterface"),
    (Endpoint::Accounts, "/accounts/0/accountType"),
    (Endpoint::Accounts, "/accounts/0/interfaces/0/status"),
    (Endpoint::Token, "/token_type"),
];

pub(super) const OTHER_TYPES: [&str; 5] = ["[]", "{}", "true", "7", r#""x""#];

pub(super) const ODD_NUMBERS: [&str; 6] = [
    "1e400",
    "-1",
    "3599.5",
    "0.1234567890123456789012345678901234567890123456789",
    r#""12,50""#,
    r#""3600""#,
];

/// None of them is a time.
pub(super) const ODD_TIMES: [&str; 6] = [
    r#""2026-02-30 00:00:00.000""#,
    r#""0000-00-00""#,
    r#""2026-03-09T25:61:61.000+0000""#,
    r#""31.12.2026""#,
    r#""""#,
    "1773045375",
];
