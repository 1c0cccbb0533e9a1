//! What a bank connection does when it is updated.
//!
//! Times are written as `"2s"`, `"1m 30s"`, or as a range to draw from, `{ min = "1s", max = "5s" }`.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// How a bank connection behaves. Every field has a default, so that a script names only what is special.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The bank's name.
    pub bank_name: String,
    /// What its updates do, one after another; the last one again and again. None: silent after 3 seconds.
    pub updates: Vec<Behaviour>,
    /// How long finAPI's own batch update holds the connection, from the moment it is first asked about.
    pub batch_update: Option<After>,
    /// How long `updateStatus` stays `IN_PROGRESS` after a successful update.
    pub settles: After,
    /// How long categorization takes after that.
    pub categorizes: After,
    /// The accounts of the first import; at most [`ACCOUNTS_MAX`] count, together with the new ones.
    pub accounts: Vec<Account>,
    /// Accounts that an update brings when importing new accounts is asked for and the type fits.
    pub new_accounts: Vec<Account>,
    /// The bank's interfaces.
    pub interfaces: Vec<Interface>,
    /// How many transactions there are.
    pub transactions: Transactions,
    /// What updates store later than `updateStatus` says.
    pub late: Option<Late>,
    /// What goes wrong on the way to it, tried in this order; the first that applies is met.
    pub faults: Vec<Fault>,
}

/// The most accounts one connection can have.
pub const ACCOUNTS_MAX: usize = 999;

/// What one update does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Behaviour {
    /// Completes without the user.
    Silent {
        /// How long after the POST.
        after: After,
    },
    /// Needs the user after a while.
    WebFormDuring {
        /// How long after the POST.
        after: After,
        /// What the user then does.
        user: UserDoes,
    },
    /// Needs the user at once: the POST's answer has the web form.
    ImmediateWebForm {
        /// What the user then does.
        user: UserDoes,
    },
    /// Fails.
    Fails {
        /// How long after the POST.
        after: After,
        /// The task's `errorCode`, for instance `BANK_SERVER_REJECTION`.
        error_code: String,
        /// The task's `errorMessage`.
        error_message: String,
    },
}

/// What the user does with a web form. A form is `NOT_YET_OPENED` for the first half of `after`, then `IN_PROGRESS`.
/// What takes longer than the form lives ends as `EXPIRED`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UserDoes {
    /// Completes it.
    Completes {
        /// How long after the form appeared.
        after: After,
    },
    /// Cancels it.
    Aborts {
        /// How long after the form appeared.
        after: After,
    },
    /// Never opens it.
    Expires,
    /// The form ends with an error.
    FailsWith {
        /// How long after the form appeared.
        after: After,
        /// The form's `errorCode`.
        code: String,
    },
    /// Nothing by itself: someone plays the user by hand, or the form expires.
    Waits,
}

/// A length of time, known or drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum After {
    /// Always the same.
    Fixed(#[serde(with = "humantime_serde")] Duration),
    /// Drawn uniformly, ends included.
    Between {
        /// The shortest.
        #[serde(with = "humantime_serde")]
        min: Duration,
        /// The longest; when it is below the shortest, the shortest counts.
        #[serde(with = "humantime_serde")]
        max: Duration,
    },
}

impl After {
    /// A fixed number of seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self::Fixed(Duration::from_secs(secs))
    }

    /// A fixed number of milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self::Fixed(Duration::from_millis(millis))
    }

    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        match self {
            Self::Fixed(time) => time,
            Self::Between { min, max } => {
                let spread = max.saturating_sub(min).as_nanos();
                let spread = u64::try_from(spread).unwrap_or(u64::MAX);
                min.saturating_add(Duration::from_nanos(rng.u64(0..=spread)))
            }
        }
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its type.
    pub kind: AccountType,
    /// Its name; `accountName` is null without one.
    #[serde(default)]
    pub name: Option<String>,
    /// The status of its interfaces, for instance `UPDATED` or `DOWNLOAD_FAILED`.
    #[serde(default = "updated")]
    pub status: String,
    /// Whether a court has seized it.
    #[serde(default)]
    pub seized: bool,
}

fn updated() -> String {
    "UPDATED".to_owned()
}

impl Account {
    /// An account of a type, without a name and in good order.
    #[must_use]
    pub fn new(kind: AccountType) -> Self {
        Self {
            kind,
            name: None,
            status: updated(),
            seized: false,
        }
    }
}

/// The account types, as `accountTypes` of a background update and a script name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccountType {
    /// A building-loan contract.
    Bausparen,
    /// A current account.
    Checking,
    /// A credit card.
    CreditCard,
    /// A loan.
    Loan,
    /// A membership share.
    Membership,
    /// A savings account.
    Savings,
    /// A securities account.
    Security,
}

impl AccountType {
    /// As Access names it.
    #[must_use]
    pub const fn access_name(self) -> &'static str {
        match self {
            Self::Bausparen => "Bausparen",
            Self::Checking => "Checking",
            Self::CreditCard => "CreditCard",
            Self::Loan => "Loan",
            Self::Membership => "Membership",
            Self::Savings => "Savings",
            Self::Security => "Security",
        }
    }
}

/// An interface of the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interface {
    /// `XS2A`, `FINTS_SERVER` or `WEB_SCRAPER`.
    pub interface: String,
    /// Whether the batch update leaves it out until the user has acted. A completed web form clears it.
    pub user_action_required: bool,
    /// Days that the consent is good for, from the first use of the connection or the last completed web form;
    /// none: there is no `aisConsent`.
    pub consent_days: Option<u32>,
    /// The consent's status.
    pub consent_status: String,
}

impl Default for Interface {
    fn default() -> Self {
        Self {
            interface: "XS2A".to_owned(),
            user_action_required: false,
            consent_days: Some(90),
            consent_status: "PRESENT".to_owned(),
        }
    }
}

/// How many transactions there are. They are spread over the accounts in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transactions {
    /// Imported before the connection was first used: a third of them 30 days before, a third as the German day began, and the
    /// rest a second before (or as the day began, when it is not a second old).
    pub older: u32,
    /// New ones that each successful update imports. While `updateStatus` is `IN_PROGRESS`, only half of them show.
    pub per_update: u32,
}

/// Transactions of an update that are stored, and imported, after its connection is `READY` again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// How many.
    pub count: u32,
    /// How long after.
    pub after: After,
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            older: 6,
            per_update: 5,
        }
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            bank_name: "Sandbox Bank".to_owned(),
            updates: vec![Behaviour::Silent { after: After::secs(3) }],
            batch_update: None,
            settles: After::secs(1),
            categorizes: After::secs(5),
            accounts: vec![
                Account {
                    name: Some("Girokonto".to_owned()),
                    ..Account::new(AccountType::Checking)
                },
                Account::new(AccountType::Savings),
            ],
            new_accounts: Vec::new(),
            interfaces: vec![Interface::default()],
            transactions: Transactions::default(),
            late: None,
            faults: Vec::new(),
        }
    }
}

impl Script {
    /// The default script with one behaviour for every update.
    #[must_use]
    pub fn of(behaviour: Behaviour) -> Self {
        Self {
            updates: vec![behaviour],
            ..Self::default()
        }
    }

    /// What the update of this number (from 0) does.
    pub(super) fn update(&self, number: usize) -> Behaviour {
        let behaviour = self.updates.get(number).or_else(|| self.updates.last());
        behaviour
            .cloned()
            .unwrap_or(Behaviour::Silent { after: After::secs(3) })
    }

    /// The user of the web form that the update of this number leads to in any case.
    pub(super) fn user(&self, number: usize) -> UserDoes {
        match self.update(number) {
            Behaviour::WebFormDuring { user, .. } | Behaviour::ImmediateWebForm { user } => user,
            Behaviour::Silent { after } => UserDoes::Completes { after },
            Behaviour::Fails { after, error_code, .. } => UserDoes::FailsWith {
                after,
                code: error_code,
            },
        }
    }
}
