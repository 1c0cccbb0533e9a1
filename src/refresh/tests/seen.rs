//! What operators and finAPI see of a refresh: names, and what cannot be read.

use std::collections::BTreeSet;

use super::failure::FailureDetails;
use super::order::{Order, Target};
use super::*;
use crate::proto::{AccountType, BankingInterface, UserActionReason};

fn differ(names: &[&str]) {
    let different: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
    assert!(!different.contains(""), "{names:?}");
}

#[test]
fn each_query_response_failure_and_order_has_a_name_of_its_own() {
    let queries = [
        Query::Connection,
        Query::FindTask,
        Query::Start,
        Query::Task("t".into()),
        Query::WebForm("f".into()),
        Query::Collect(Wanted::default()),
    ];
    differ(&queries.each_ref().map(Query::name));
    let responses = [
        Response::Connection(ready()),
        Response::Tasks(Vec::new()),
        Response::Task(running()),
        Response::WebForm(open_form()),
        Response::Collected(Collected::default()),
    ];
    differ(&responses.each_ref().map(Response::name));
    differ(&failure_classes().map(FailureClass::name));
    let orders = [
        Order::Pause(super::order::Pause {
            target: Target::Everything,
            since: at(0),
            until: None,
            by: String::new(),
            reason: String::new(),
        }),
        Order::Resume {
            target: Target::Everything,
            at: at(0),
        },
    ];
    differ(&orders.each_ref().map(Order::name));
}

#[test]
fn what_was_not_sent_or_was_refused_has_done_nothing_at_finapi() {
    for class in failure_classes() {
        let failure = Failure::new(class, "a failure");
        let is_unknown = matches!(
            class,
            FailureClass::Unavailable
                | FailureClass::MaybeDown
                | FailureClass::Unexpected
                | FailureClass::Foreign
                | FailureClass::Internal
        );
        assert_eq!(failure.is_refusal(), !is_unknown, "{class:?}");
        assert_eq!(
            failure.is_not_sent(),
            matches!(class, FailureClass::NotSent(_)),
            "{class:?}"
        );
    }
}

#[test]
fn a_failure_of_the_bank_names_its_code() {
    let message = |code: &str| {
        let error = Some(bank_error(code));
        FailureDetails::by_bank(error, FailureReason::UpdateFailed, "the update").message
    };
    assert_eq!(message("INTERNAL_ERROR"), "the update ended with INTERNAL_ERROR");
    assert_eq!(message(""), "the update ended with a code that is not a word");
}

#[test]
fn an_error_without_a_code_is_odd() {
    let odd = |code: &str| {
        let task = Response::Task(task_failed(code));
        let form = Response::WebForm(WebForm {
            error: Some(bank_error(code)),
            ..open_form()
        });
        (task.has_odd_code(), form.has_odd_code())
    };
    assert_eq!(odd(""), (true, true));
    assert_eq!(odd("INTERNAL_ERROR"), (false, false));
    assert!(!Response::Task(running()).has_odd_code());
    assert!(!Response::Tasks(vec![task_failed("")]).has_odd_code());
}

#[test]
fn each_member_that_cannot_be_read_is_named_wherever_it_is() {
    let unreadable = |name: &str| vec![name.to_owned()];
    let named = |response: Response| {
        let mut names = Vec::new();
        response.each_unreadable(|name| names.push(name.to_owned()));
        names
    };
    let task = Task {
        unreadable: unreadable("status"),
        ..running()
    };
    assert_eq!(named(Response::Task(task.clone())), ["status"]);
    assert_eq!(named(Response::Tasks(vec![task.clone(), task])), ["status", "status"]);
    assert_eq!(
        named(Response::WebForm(WebForm {
            unreadable: unreadable("expiresAt"),
            ..open_form()
        })),
        ["expiresAt"]
    );
    assert_eq!(
        named(Response::Connection(Connection {
            unreadable: unreadable("bank"),
            ..ready()
        })),
        ["bank"]
    );
    let data = collected(1);
    let collected = Collected {
        accounts: Some(vec![Account {
            unreadable: unreadable("iban"),
            ..data.accounts[0].clone()
        }]),
        page: Some(Page {
            transactions: vec![Transaction {
                unreadable: unreadable("amount"),
                ..data.transactions[0].clone()
            }],
            skipped: vec![Skipped::default(); 2],
            unreadable: unreadable("paging"),
            ..Page::default()
        }),
        skipped_accounts: 3,
        unreadable: unreadable("accounts"),
    };
    assert_eq!(
        named(Response::Collected(collected)),
        ["accounts", "iban", "paging", "amount", "id", "id", "id", "id", "id"]
    );
}

#[test]
fn each_type_of_account_and_each_interface_has_its_word_in_an_event() {
    let account = |kind: &str, interface: &str| {
        let mut data = collected(0);
        data.accounts[0].kind = kind.into();
        data.accounts[0].interfaces = vec![super::model::AccountInterface {
            name: interface.into(),
            ..super::model::AccountInterface::default()
        }];
        let mut run = Run::settling();
        run.connection(ready()).collect(data);
        let account = &run.updated().accounts[0];
        (account.r#type(), account.interfaces[0].interface())
    };
    let types = [
        ("Checking", AccountType::Checking),
        ("Savings", AccountType::Savings),
        ("CreditCard", AccountType::CreditCard),
        ("Security", AccountType::Security),
        ("Loan", AccountType::Loan),
        ("Membership", AccountType::Membership),
        ("Bausparen", AccountType::Bausparen),
        ("checking", AccountType::Unspecified),
    ];
    for (kind, expected) in types {
        assert_eq!(account(kind, "XS2A"), (expected, BankingInterface::Xs2a), "{kind}");
    }
    assert_eq!(account("Loan", "FINTS_SERVER").1, BankingInterface::FintsServer);
    assert_eq!(account("Loan", "WEB_SCRAPER").1, BankingInterface::WebScraper);
    assert_eq!(account("Loan", "TELEX").1, BankingInterface::Unspecified);
}

#[test]
fn a_form_without_a_url_says_why_and_a_batch_update_says_that_it_asks() {
    let mut run = Run::updating();
    let mut task = form_required();
    task.web_form = Some(WebFormLink {
        url: SecretString::from(""),
        ..form_link()
    });
    run.poll(task).form(open_form());
    let form = run.forms()[0].clone();
    assert_eq!((form.web_form_url.as_str(), form.message.is_empty()), ("", false));
    assert_eq!(Run::awaiting().forms()[0].message, "");

    let event = super::event::user_action_by_batch(run.at(), at(0), "WEB_FORM");
    let reason = match event.kind() {
        EventKind::UserActionRequired(action) => Some(action.reason()),
        EventKind::TransactionsUpdated(_) | EventKind::RefreshFailed(_) => None,
    };
    assert_eq!(reason, Some(UserActionReason::BatchUpdate));
}

#[test]
fn a_trace_is_named_by_its_id() {
    let envelope = |traceparent: &str| Envelope {
        traceparent: traceparent.into(),
        ..Envelope::default()
    };
    let of = envelope("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(of.trace_id().map(str::len), Some(32));
    assert!(
        of.traceparent
            .starts_with(&format!("00-{}-", of.trace_id().expect("an id")))
    );
    assert_eq!(envelope("").trace_id(), None);
}
