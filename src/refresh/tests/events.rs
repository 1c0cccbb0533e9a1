//! What is published to the services downstream.

use prost::Message as _;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::event::Detail;
use super::model::AccountInterface;
use super::*;
use crate::limits::TEXT_CHARACTERS_MAX;
use crate::proto::{AccountType, BankingInterface};

fn success(connection: Connection, collected: impl Said) -> TransactionsUpdated {
    let mut run = Run::settling();
    run.connection(connection).collect(collected);
    run.updated().clone()
}

#[test]
fn ids_are_derived_from_the_command_and_what_happened() {
    let mut run = Run::awaiting();
    run.form(form(WebFormStatus::Completed))
        .connection(ready())
        .collect(collected(0));
    let refresh = Uuid::new_v5(
        &Uuid::parse_str(&command().command_id).expect("a UUID"),
        format!("{}/{}", command().bank_connection_id, command().user_id).as_bytes(),
    );
    let ids: Vec<_> = run
        .published
        .iter()
        .map(|event| event.context().event_id.clone())
        .collect();
    let derived = |what: &str| Uuid::new_v5(&refresh, what.as_bytes()).to_string();
    assert_eq!(ids, [derived("web-form/form-1"), derived("outcome")]);
}

#[test]
fn the_outcome_has_one_id_whatever_it_is() {
    let mut success = Run::collecting();
    success.collect(collected(1));
    let mut failure = Run::updating();
    failure.poll(task_failed("INTERNAL_ERROR"));
    let mut overdue = Run::plain();
    overdue.deadline();
    let ids = [&success, &failure, &overdue].map(|run| run.published[0].context().event_id.clone());
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
}

#[test]
fn a_repeat_carries_the_same_id_and_another_command_another() {
    let outcome = |command: RefreshConnection| {
        let mut run = Run::of(command);
        run.find(FailureClass::Rejected);
        run.published[0].context().event_id.clone()
    };
    let other = RefreshConnection {
        command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0002".into(),
        ..command()
    };
    assert_eq!(outcome(command()), outcome(command()));
    assert_ne!(outcome(command()), outcome(other));
}

#[test]
fn every_event_says_which_refresh_it_is_about() {
    let labels = [("tenant".to_owned(), "t-1".to_owned())];
    let mut run = Run::of(RefreshConnection {
        labels: labels.clone().into(),
        ..command()
    });
    run.find([])
        .start(form_required())
        .form(open_form())
        .form(form(WebFormStatus::Aborted));
    for event in &run.published {
        let context = event.context();
        assert_eq!(context.command_id, command().command_id);
        assert_eq!(
            (context.user_id.as_str(), context.bank_connection_id),
            ("anna", CONNECTION)
        );
        assert_eq!(context.task_id, "task-1");
        assert_eq!(context.labels, labels.clone().into());
        assert!(context.occurred_at.is_some());
    }
}

#[test]
fn routing_keys_and_names_are_the_contracts() {
    let mut run = Run::awaiting();
    run.form(form(WebFormStatus::Completed))
        .connection(ready())
        .collect(collected(0));
    let mut failed = Run::plain();
    failed.deadline();
    let names = [
        ("user-action.required", "bankrefresh.v1.UserActionRequired"),
        ("transactions.updated", "bankrefresh.v1.TransactionsUpdated"),
        ("refresh.failed", "bankrefresh.v1.RefreshFailed"),
    ];
    for (event, (key, name)) in run.published.iter().chain(&failed.published).zip(names) {
        assert_eq!((event.routing_key(), event.message_name()), (key, name));
        assert_eq!(Event::decode(name, &event.encode()).as_ref(), Ok(event));
    }
    assert!(Event::decode("bankrefresh.v1.Nothing", &[]).is_err());
}

#[test]
fn an_event_is_one_message_that_begins_with_its_context() {
    let mut run = Run::awaiting();
    run.form(form(WebFormStatus::Completed))
        .connection(ready())
        .collect(collected(3));
    let mut failed = Run::plain();
    failed.deadline();
    let bytes = [&run.published[0], &run.published[1], &failed.published[0]].map(Event::encode);
    let asked = UserActionRequired::decode(&*bytes[0]).expect("a message");
    let updated = TransactionsUpdated::decode(&*bytes[1]).expect("a message");
    let over = RefreshFailed::decode(&*bytes[2]).expect("a message");
    let contexts = [&asked.refresh, &updated.refresh, &over.refresh].map(Option::as_ref);
    let contexts_of_events = [&run.published[0], &run.published[1], &failed.published[0]].map(Event::context);
    assert_eq!(contexts, contexts_of_events.map(Some));
    assert_eq!(
        bytes,
        [asked.encode_to_vec(), updated.encode_to_vec(), over.encode_to_vec()],
        "as the messages are written in one"
    );
}

#[test]
fn what_does_not_say_of_which_refresh_it_is_is_no_event() {
    let nameless = RefreshFailed::default().encode_to_vec();
    let refused = Event::decode("bankrefresh.v1.RefreshFailed", &nameless).expect_err("no event");
    assert!(refused.to_string().contains("of which refresh"), "{refused}");
}

#[test]
fn only_outcomes_are_last() {
    let run = Run::awaiting();
    assert!(!run.published[0].is_last());
    let mut run = Run::collecting();
    run.collect(collected(1));
    assert!(run.published[0].is_last());
}

#[test]
fn a_summary_in_one_line_says_nothing_personal() {
    let mut run = Run::awaiting();
    run.form(WebForm {
        error: Some(bank_error("BANK_SERVER_REJECTION")),
        ..form(WebFormStatus::Failed)
    });
    let lines: Vec<_> = run.published.iter().map(Event::summary).collect();
    assert_eq!(
        lines,
        [
            "UserActionRequired (during update)",
            "RefreshFailed (bank rejected, BANK_SERVER_REJECTION)"
        ]
    );
    let mut run = Run::collecting();
    run.collect(collected(3));
    assert_eq!(
        run.published[0].summary(),
        "TransactionsUpdated (silent, 3 new transactions)"
    );
}

#[test]
fn accounts_count_what_is_new_and_since_when() {
    let date = |text: &str| Some(text.parse().expect("a date"));
    let mut collected = collected(4);
    collected.transactions[0].bank_booking_date = date("2026-03-01");
    collected.transactions[2].finapi_booking_date = date("2026-02-27");
    collected.transactions[2].bank_booking_date = date("2026-02-28");
    collected.transactions.remove(1);
    let event = success(ready(), collected);
    let accounts: Vec<_> = event
        .accounts
        .iter()
        .map(|account| {
            (
                account.id,
                account.new_transactions,
                account.oldest_changed_date.as_str(),
            )
        })
        .collect();
    assert_eq!(accounts, [(71, 2, "2026-02-28"), (72, 1, "")]);
    assert_eq!(event.new_transactions, 3);
}

#[test]
fn an_account_is_published_with_every_digit_and_its_interfaces() {
    let mut collected = collected(0);
    collected.accounts[0] = Account {
        iban: "DE89370400440532013000".into(),
        kind: "CreditCard".into(),
        balance: Some(Decimal::new(-123_450, 2)),
        interfaces: vec![AccountInterface {
            name: "FINTS_SERVER".into(),
            status: "SOMETHING_NEW".into(),
            last_success_at: Some(at(5)),
            last_attempt_at: Some(at(6)),
        }],
        ..collected.accounts[0].clone()
    };
    collected.accounts[1].kind = "Kryptokonto".into();
    let event = success(ready(), collected);
    let account = &event.accounts[0];
    assert_eq!(
        (account.balance.as_str(), account.r#type()),
        ("-1234.50", AccountType::CreditCard)
    );
    let interface = &account.interfaces[0];
    assert_eq!(interface.interface(), BankingInterface::FintsServer);
    assert_eq!(interface.status, "SOMETHING_NEW");
    assert_eq!(interface.last_successful_update, Some(from_timestamp(at(5))));
    assert_eq!(interface.last_attempt, Some(from_timestamp(at(6))));
    assert_eq!(
        event.accounts[1].r#type(),
        AccountType::Unspecified,
        "a type of tomorrow"
    );
    assert_eq!(event.accounts[1].balance, "", "not known is not zero");
    assert_eq!(
        event.bank.map(|bank| (bank.id, bank.name)),
        Some((11, "Testbank".into()))
    );
}

#[test]
fn what_finapi_says_more_of_an_account_and_its_consent_is_published() {
    let mut collected = collected(0);
    collected.accounts[0] = Account {
        holder_name: "Žofie Nováková".into(),
        number: "532013000".into(),
        is_seized: true,
        overdraft_limit: Some(Decimal::new(50_000, 2)),
        available_funds: Some(Decimal::new(-1, 1)),
        ..collected.accounts[0].clone()
    };
    let connection = Connection {
        interfaces: vec![Interface {
            consent_status: "NOT_PRESENT".into(),
            consent_supports_new_accounts: Some(false),
            ..ready().interfaces[0].clone()
        }],
        ..ready()
    };
    let event = success(connection, collected);
    let bank = event.bank.expect("the bank");
    assert_eq!(
        (bank.bic.as_str(), bank.bank_code.as_str()),
        ("TESTDE88XXX", "50010517")
    );
    let (interface, [account, other]) = (&event.interfaces[0], &event.accounts[..2]) else {
        panic!("two accounts");
    };
    assert_eq!(interface.consent_status, "NOT_PRESENT");
    assert_eq!(interface.consent_supports_new_accounts, Some(false));
    assert_eq!(
        (account.holder_name.as_str(), account.number.as_str()),
        ("Žofie Nováková", "532013000")
    );
    assert!(account.is_seized && !other.is_seized);
    assert_eq!(
        (account.overdraft_limit.as_str(), account.overdraft.as_str()),
        ("500.00", "")
    );
    assert_eq!(account.available_funds, "-0.1");
}

#[test]
fn what_finapi_says_more_of_a_transaction_is_published() {
    let mut collected = collected(2);
    collected.transactions[0] = Transaction {
        original_amount: Some(Decimal::new(-1234, 2)),
        original_currency: "USD".into(),
        fee_amount: Some(Decimal::new(150, 2)),
        fee_currency: "EUR".into(),
        creditor_id: "DE98ZZZ09999999999".into(),
        ultimate_creditor: "PayPal Händler".into(),
        bank_transaction_code: "PMNT-RCDT-ESCT".into(),
        zka_code: "166".into(),
        ..collected.transactions[0].clone()
    };
    let event = success(ready(), collected);
    let (said, silent) = (&event.transactions[0], &event.transactions[1]);
    assert_eq!(
        (said.original_amount.as_str(), said.original_currency.as_str()),
        ("-12.34", "USD")
    );
    assert_eq!((said.fee_amount.as_str(), said.fee_currency.as_str()), ("1.50", "EUR"));
    assert_eq!(said.creditor_id, "DE98ZZZ09999999999");
    assert_eq!(said.ultimate_creditor, "PayPal Händler");
    assert_eq!(
        (said.bank_transaction_code.as_str(), said.zka_code.as_str()),
        ("PMNT-RCDT-ESCT", "166")
    );
    assert_eq!((silent.original_amount.as_str(), silent.fee_amount.as_str()), ("", ""));
}

#[test]
fn a_transaction_is_published_with_every_digit() {
    let mut collected = collected(1);
    collected.transactions[0].amount = Some("-90071992547409.930".parse().expect("a decimal"));
    collected.transactions[0].imported_at = Some(at(9));
    let event = success(ready(), collected);
    assert_eq!(event.transactions[0].amount, "-90071992547409.930");
    assert_eq!(event.transactions[0].imported_at, Some(from_timestamp(at(9))));
}

#[test]
fn what_cannot_be_read_is_named_counted_or_marked() {
    let mut data = collected(2);
    let transaction = &mut data.transactions[0];
    (transaction.amount, transaction.unreadable) = (None, vec!["amount".into()]);
    data.transactions[1].amount_is_rounded = true;
    data.accounts[0].unreadable = vec!["accountType".into()];
    data.accounts[1].balance_is_rounded = true;
    let Ok(Response::Collected(mut all)) = data.said() else {
        panic!("collected")
    };
    (all.skipped_accounts, all.unreadable) = (2, vec!["accounts".into()]);
    all.page.as_mut().expect("a page").skipped = vec![Skipped { imported_at: None }; 3];
    let connection = Connection {
        unreadable: vec!["interfaces.status".into()],
        ..ready()
    };
    let event = success(connection, all);
    let [odd, rounded] = &event.transactions[..] else {
        panic!("{event:?}")
    };
    assert_eq!(
        (odd.amount.as_str(), odd.unreadable.as_slice()),
        ("", &["amount".to_owned()][..])
    );
    assert!(rounded.amount_is_rounded && rounded.unreadable.is_empty());
    assert_eq!(event.accounts[0].unreadable, ["accountType"]);
    assert!(event.accounts[1].balance_is_rounded);
    assert_eq!((event.skipped_accounts, event.skipped_transactions), (2, 3));
    assert_eq!(event.unreadable, ["interfaces.status", "accounts"]);
    assert_eq!(
        event.covered_until, event.covered_from,
        "what was skipped may have been imported at any time"
    );
}

#[test]
fn texts_have_no_control_characters() {
    let mut collected = collected(1);
    collected.transactions[0].purpose = "one\ntwo\r\t\u{1b}[2J\u{85}three\u{7f}\0".into();
    collected.transactions[0].category = "a\nb".into();
    let event = success(ready(), collected);
    let [transaction] = &event.transactions[..] else {
        panic!("{event:?}")
    };
    assert_eq!(
        (transaction.purpose.as_str(), transaction.category.as_str()),
        ("one two  [2Jthree", "a b")
    );
}

#[test]
fn a_long_purpose_is_cut_between_characters() {
    let mut collected = collected(2);
    collected.transactions[0].purpose = "ü".repeat(TEXT_CHARACTERS_MAX + 1);
    collected.transactions[1].purpose = "ü".repeat(TEXT_CHARACTERS_MAX);
    let event = success(ready(), collected);
    for transaction in &event.transactions {
        assert_eq!(transaction.purpose.chars().count(), TEXT_CHARACTERS_MAX);
    }
}

#[test]
fn a_consent_that_ends_soon_is_said_to() {
    let days = |days: i64| at(days * 24 * 3600);
    let interface = |consent_expires_at| Interface {
        name: "XS2A".into(),
        consent_expires_at,
        last_manual_update_at: Some(at(3)),
        ..Interface::default()
    };
    let asked = Interface {
        user_action_required: true,
        name: "NEW_ONE".into(),
        ..Interface::default()
    };
    let connection = Connection {
        interfaces: vec![
            interface(Some(days(-1))),
            interface(Some(days(14))),
            interface(Some(days(15))),
            asked,
        ],
        ..ready()
    };
    let event = success(connection, collected(0));
    let soon: Vec<_> = event.interfaces.iter().map(|i| i.consent_expires_soon).collect();
    assert_eq!(soon, [true, true, false, false]);
    assert!(event.interfaces[3].user_action_required);
    assert_eq!(event.interfaces[3].interface(), BankingInterface::Unspecified);
}

#[test]
fn a_summary_keeps_personal_data_off_the_bus_but_counts() {
    let events = Transactions {
        transactions: Detail::Summary,
        size_max: 600,
        ..Transactions::default()
    };
    let policy = Policy {
        events,
        ..Policy::default()
    };
    let mut run = Run::under(policy, command());
    run.find([])
        .start(completed())
        .connection(ready())
        .collect(collected(500));
    let event = run.updated();
    assert_eq!(
        (event.last, event.new_transactions, event.transactions.len()),
        (true, 500, 0)
    );
    assert_eq!(event.accounts[0].new_transactions, 250);
}
