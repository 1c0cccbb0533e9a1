//! What finAPI says.

use super::*;

/// A task of the connection, made a second after the command.
pub(super) fn task(status: TaskStatus) -> Task {
    Task {
        id: "task-1".into(),
        created_at: at(1),
        web_form: (status == TaskStatus::WebFormRequired).then(form_link),
        status,
        bank_connection_id: Some(CONNECTION.into()),
        error: None,
        unreadable: Vec::new(),
    }
}

pub(super) fn form_link() -> WebFormLink {
    WebFormLink {
        id: "form-1".into(),
        url: SecretString::from(FORM_URL),
    }
}

pub(super) fn running() -> Task {
    task(TaskStatus::Running)
}

pub(super) fn completed() -> Task {
    task(TaskStatus::Completed)
}

pub(super) fn form_required() -> Task {
    task(TaskStatus::WebFormRequired)
}

pub(super) fn task_failed(code: &str) -> Task {
    Task {
        error: Some(bank_error(code)),
        ..task(TaskStatus::Failed)
    }
}

pub(super) fn bank_error(code: &str) -> BankError {
    BankError {
        code: code.into(),
        message: Some("Ihre Bank sagt nein".into()),
    }
}

impl Task {
    pub(super) fn made_at(self, seconds: i64) -> Self {
        Self {
            created_at: at(seconds),
            ..self
        }
    }
}

/// A web form that ends 20 minutes after the command.
pub(super) fn form(status: WebFormStatus) -> WebForm {
    WebForm {
        status,
        expires_at: Some(at(1200)),
        error: None,
        unreadable: Vec::new(),
    }
}

pub(super) fn open_form() -> WebForm {
    form(WebFormStatus::Open)
}

/// The accounts of the connection.
pub(super) fn accounts() -> Vec<AccountId> {
    [71, 72].map(AccountId::from).into()
}

/// The connection when everything is stored.
pub(super) fn ready() -> Connection {
    Connection {
        bank_id: 11.into(),
        bank_name: "Testbank".into(),
        bank_bic: "TESTDE88XXX".into(),
        bank_code: "50010517".into(),
        ready: true,
        categorized: true,
        account_ids: accounts(),
        interfaces: vec![Interface {
            name: "XS2A".into(),
            last_manual_update_at: Some(at(3)),
            ..Interface::default()
        }],
        unreadable: Vec::new(),
    }
}

pub(super) fn unready() -> Connection {
    Connection {
        ready: false,
        ..ready()
    }
}

/// The connection, last updated with success at a moment.
pub(super) fn updated_at(seconds: i64) -> Connection {
    let interface = Interface {
        last_success_at: Some(at(seconds)),
        ..Interface::default()
    };
    Connection {
        interfaces: vec![interface],
        ..ready()
    }
}

/// Accounts, and all their transactions on one page.
#[derive(Clone)]
pub(super) struct Data {
    pub(super) accounts: Vec<Account>,
    pub(super) transactions: Vec<Transaction>,
}

pub(super) fn page_ids(transactions: &[Transaction]) -> Option<PageIds> {
    let last = transactions.iter().map(|transaction| transaction.id).max()?;
    let have_last = transactions.iter().filter(|transaction| transaction.id == last);
    Some(PageIds {
        first: transactions.iter().map(|transaction| transaction.id).min()?,
        last,
        last_accounts: have_last.map(|transaction| transaction.account_id).collect(),
    })
}

/// Two accounts, and so many transactions in turn, with ids from 1.
pub(super) fn collected(transactions: i64) -> Data {
    let account = |id: AccountId| Account {
        id,
        name: format!("Konto {id}"),
        kind: "Checking".into(),
        currency: "EUR".into(),
        ..Account::default()
    };
    let transaction = |id: i64| Transaction {
        id: id.into(),
        account_id: accounts()[usize::from(id % 2 == 0)],
        purpose: format!("Zweck {id}"),
        ..Transaction::default()
    };
    Data {
        accounts: accounts().into_iter().map(account).collect(),
        transactions: (1..=transactions).map(transaction).collect(),
    }
}

/// What finAPI may say.
pub(super) trait Said {
    fn said(self) -> QueryResult;
}

impl Said for Task {
    fn said(self) -> QueryResult {
        Ok(Response::Task(self))
    }
}

impl<const N: usize> Said for [Task; N] {
    fn said(self) -> QueryResult {
        Ok(Response::Tasks(self.into()))
    }
}

impl Said for WebForm {
    fn said(self) -> QueryResult {
        Ok(Response::WebForm(self))
    }
}

impl Said for Connection {
    fn said(self) -> QueryResult {
        Ok(Response::Connection(self))
    }
}

impl Said for Data {
    fn said(self) -> QueryResult {
        let page = Page {
            ids: page_ids(&self.transactions),
            is_last: true,
            transactions: self.transactions,
            ..Page::default()
        };
        Collected {
            accounts: Some(self.accounts),
            page: Some(page),
            ..Collected::default()
        }
        .said()
    }
}

impl Said for Collected {
    fn said(self) -> QueryResult {
        Ok(Response::Collected(self))
    }
}

impl Said for Failure {
    fn said(self) -> QueryResult {
        Err(self)
    }
}

impl Said for FailureClass {
    fn said(self) -> QueryResult {
        Err(Failure::new(self, "made to fail"))
    }
}

/// Each class of failures once.
pub(super) fn failure_classes() -> [FailureClass; 15] {
    [
        FailureClass::NotSent(Duration::ZERO),
        FailureClass::RateLimited(None),
        FailureClass::Unavailable,
        FailureClass::MaybeDown,
        FailureClass::Unexpected,
        FailureClass::Foreign,
        FailureClass::TokenRefused,
        FailureClass::Locked,
        FailureClass::Rejected,
        FailureClass::NotFound,
        FailureClass::NotSupported,
        FailureClass::UserUnauthorized,
        FailureClass::UserLocked,
        FailureClass::ClientUnauthorized,
        FailureClass::Internal,
    ]
}
