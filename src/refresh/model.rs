//! What finAPI can say, as facts the workflow decides on. What is new in one of finAPI's enums reads as still running.

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use secrecy::SecretString;

use crate::id::{AccountId, BankId, ConnectionId, TaskId, TransactionId, WebFormId};

/// A background update.
#[derive(Clone, Debug)]
pub struct Task {
    /// finAPI's id.
    pub id: TaskId,
    /// When finAPI created it.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: TaskStatus,
    /// The connection it updates.
    pub bank_connection_id: Option<ConnectionId>,
    /// The web form it led to.
    pub web_form: Option<WebFormLink>,
    /// Why it failed.
    pub error: Option<BankError>,
    /// finAPI's names of what can't be read of it.
    pub unreadable: Vec<String>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// NOT_YET_STARTED, IN_PROGRESS, and what is new.
    Running,
    /// WEB_FORM_REQUIRED: the task never changes again.
    WebFormRequired,
    /// COMPLETED.
    Completed,
    /// COMPLETED_WITH_ERROR.
    Failed,
}

/// A web form as a task names it.
#[derive(Clone, Debug)]
pub struct WebFormLink {
    /// finAPI's id.
    pub id: WebFormId,
    /// The one-time URL for the user.
    pub url: SecretString,
}

/// Why a task, a web form or an update failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankError {
    /// finAPI's code; empty where it is not a word.
    pub code: String,
    /// The text for the user; may be personal data.
    pub message: Option<String>,
}

/// A web form.
#[derive(Clone, Debug)]
pub struct WebForm {
    /// Where it stands.
    pub status: WebFormStatus,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<BankError>,
    /// finAPI's names of what can't be read of it.
    pub unreadable: Vec<String>,
}

/// Where a web form stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebFormStatus {
    /// NOT_YET_OPENED, IN_PROGRESS, and what is new.
    Open,
    /// COMPLETED.
    Completed,
    /// COMPLETED_WITH_ERROR.
    Failed,
    /// EXPIRED.
    Expired,
    /// ABORTED, CANCELLED.
    Aborted,
}

/// A bank connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The bank's id.
    pub bank_id: BankId,
    /// The bank's name.
    pub bank_name: String,
    /// The bank's BIC.
    pub bank_bic: String,
    /// The German bank code.
    pub bank_code: String,
    /// `updateStatus` is READY: everything is stored.
    pub ready: bool,
    /// `categorizationStatus` is READY.
    pub categorized: bool,
    /// The ids of its accounts.
    pub account_ids: Vec<AccountId>,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// finAPI's names of what can't be read of it.
    pub unreadable: Vec<String>,
}

/// One interface of a bank connection.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// finAPI's name: XS2A, FINTS_SERVER, WEB_SCRAPER or newer.
    pub name: String,
    /// finAPI can't update over it without the user.
    pub user_action_required: bool,
    /// finAPI's word for the user's consent.
    pub consent_status: String,
    /// Accounts can be imported without a new consent.
    pub consent_supports_new_accounts: Option<bool>,
    /// When the user's consent ends.
    pub consent_expires_at: Option<Timestamp>,
    /// The last successful update, by whomever.
    pub last_success_at: Option<Timestamp>,
    /// The last update by a task, however it ended.
    pub last_manual_update_at: Option<Timestamp>,
}

impl Connection {
    /// The last update by a task over any interface, however it ended.
    #[must_use]
    pub fn last_manual_update_at(&self) -> Option<Timestamp> {
        self.interfaces
            .iter()
            .filter_map(|interface| interface.last_manual_update_at)
            .max()
    }

    /// The last successful update over any interface.
    #[must_use]
    pub fn last_success_at(&self) -> Option<Timestamp> {
        self.interfaces
            .iter()
            .filter_map(|interface| interface.last_success_at)
            .max()
    }
}

/// Accounts, a page of transactions, or both.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// All accounts of the connection, where they were asked for.
    pub accounts: Option<Vec<Account>>,
    /// The page, where one was asked for.
    pub page: Option<Page>,
    /// How many accounts there are whose ids can't be read.
    pub skipped_accounts: usize,
    /// finAPI's names of what can't be read around the accounts.
    pub unreadable: Vec<String>,
}

/// A page of transactions.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Those that were imported since the moment asked for.
    pub transactions: Vec<Transaction>,
    /// All ids on it; none where it is empty.
    pub ids: Option<PageIds>,
    /// Whether no page follows.
    pub is_last: bool,
    /// What finAPI says of all pages together.
    pub totals: Totals,
    /// The transactions whose ids can't be read, and that may have been imported since.
    pub skipped: Vec<Skipped>,
    /// finAPI's names of what can't be read around the transactions.
    pub unreadable: Vec<String>,
}

/// A transaction whose id can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// When finAPI stored it, where that can be read.
    pub imported_at: Option<Timestamp>,
}

/// Which transactions are on a page, whenever they were imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageIds {
    /// The lowest id.
    pub first: TransactionId,
    /// The highest id.
    pub last: TransactionId,
    /// The accounts that have a transaction with the highest id: two accounts may have one id.
    pub last_accounts: Vec<AccountId>,
}

/// What finAPI says of all pages of transactions together. While it stays the same, nothing was added and nothing was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many transactions there are.
    pub count: Option<u64>,
    /// The sum of what came in.
    pub income: Option<Decimal>,
    /// The sum of what went out.
    pub spending: Option<Decimal>,
}

/// An account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// finAPI's id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Its IBAN.
    pub iban: String,
    /// finAPI's name of its type.
    pub kind: String,
    /// ISO 4217.
    pub currency: String,
    /// The balance.
    pub balance: Option<Decimal>,
    /// The balance has more digits than a decimal can hold.
    pub balance_is_rounded: bool,
    /// The account holder.
    pub holder_name: String,
    /// The account number.
    pub number: String,
    /// The sub-account number.
    pub sub_number: String,
    /// A court has seized it.
    pub is_seized: bool,
    /// How far it may be overdrawn.
    pub overdraft_limit: Option<Decimal>,
    /// How far it is overdrawn.
    pub overdraft: Option<Decimal>,
    /// What can be drawn.
    pub available_funds: Option<Decimal>,
    /// First imported by the last update.
    pub is_new: bool,
    /// How its download went, per interface.
    pub interfaces: Vec<AccountInterface>,
    /// finAPI's names of what can't be read of it.
    pub unreadable: Vec<String>,
}

/// How an account's download went over one interface.
#[derive(Clone, Debug, Default)]
pub struct AccountInterface {
    /// finAPI's name of the interface.
    pub name: String,
    /// finAPI's status.
    pub status: String,
    /// The last update that was tried.
    pub last_attempt_at: Option<Timestamp>,
    /// The last successful update.
    pub last_success_at: Option<Timestamp>,
}

/// A transaction.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// finAPI's id.
    pub id: TransactionId,
    /// The account's id; 0 where it can't be read.
    pub account_id: AccountId,
    /// The amount, where it can be read.
    pub amount: Option<Decimal>,
    /// The amount has more digits than a decimal can hold.
    pub amount_is_rounded: bool,
    /// ISO 4217.
    pub currency: String,
    /// The bank's booking date.
    pub bank_booking_date: Option<Date>,
    /// The value date.
    pub value_date: Option<Date>,
    /// finAPI's booking date.
    pub finapi_booking_date: Option<Date>,
    /// The purpose.
    pub purpose: String,
    /// The other party's name.
    pub counterpart_name: String,
    /// The other party's IBAN.
    pub counterpart_iban: String,
    /// The other party's BIC.
    pub counterpart_bic: String,
    /// The SEPA end-to-end reference.
    pub end_to_end_reference: String,
    /// The SEPA mandate reference.
    pub mandate_reference: String,
    /// The bank's word for its kind.
    pub kind: String,
    /// finAPI's category.
    pub category: String,
    /// finAPI thinks it may be a duplicate.
    pub is_potential_duplicate: bool,
    /// finAPI made it up to make the balance fit.
    pub is_adjusting_entry: bool,
    /// finAPI's names of what can't be read of it.
    pub unreadable: Vec<String>,
    /// When finAPI stored it.
    pub imported_at: Option<Timestamp>,
    /// The other party's account number.
    pub counterpart_account_number: String,
    /// The other party's German bank code.
    pub counterpart_bank_code: String,
    /// The other party's bank.
    pub counterpart_bank_name: String,
    /// The reference that the other party gave its customer.
    pub customer_reference: String,
    /// The SEPA creditor id.
    pub creditor_id: String,
    /// The originator's id.
    pub debtor_id: String,
    /// In whose name it was paid.
    pub ultimate_debtor: String,
    /// For whom it was paid.
    pub ultimate_creditor: String,
    /// The SEPA purpose code.
    pub sepa_purpose_code: String,
    /// The ISO 20022 code.
    pub bank_transaction_code: String,
    /// What that code means.
    pub bank_transaction_code_description: String,
    /// The German banks' code of its kind.
    pub zka_code: String,
    /// SWIFT's code of its kind.
    pub swift_code: String,
    /// The bank's batch number.
    pub primanota: String,
    /// ISO 4217.
    pub original_currency: String,
    /// ISO 4217.
    pub fee_currency: String,
    /// The amount before conversion.
    pub original_amount: Option<Decimal>,
    /// The bank's fee.
    pub fee_amount: Option<Decimal>,
    /// What a returned direct debit cost.
    pub compensation_amount: Option<Decimal>,
}
