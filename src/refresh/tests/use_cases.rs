//! finAPI's guide to updating a bank connection, use case by use case.

use super::*;
use crate::proto::ImportNewAccounts;

#[test]
fn existing_accounts_are_updated_without_the_user() {
    let mut run = Run::plain();
    run.find([])
        .start(running())
        .poll(running())
        .poll(completed())
        .connection(unready())
        .connection(ready())
        .collect(collected(3));
    let event = run.updated();
    assert_eq!(event.origin(), UpdateOrigin::Silent);
    assert_eq!((event.part, event.last, event.new_transactions), (1, true, 3));
    assert_eq!(event.transactions.len(), 3);
    assert_eq!(run.published[0].context().task_id, "task-1");
    assert_eq!(run.published.len(), 1, "nobody is bothered on the way");
}

#[test]
fn new_accounts_are_imported_and_published_as_new() {
    let mut run = Run::of(RefreshConnection {
        import_new_accounts: ImportNewAccounts::Conditional.into(),
        account_types: vec![crate::proto::AccountType::CreditCard.into()],
        ..command()
    });
    let mut brought = collected(0);
    brought.accounts[1].is_new = true;
    run.find([])
        .start(running())
        .poll(completed())
        .connection(ready())
        .collect(brought);
    let new: Vec<bool> = run.updated().accounts.iter().map(|account| account.is_new).collect();
    assert_eq!(new, [false, true]);
}

#[test]
fn the_bank_asks_for_the_user_in_the_middle() {
    let mut run = Run::updating();
    run.poll(form_required()).form(open_form());
    assert_eq!(run.phase(), "awaiting_user");
    let form = run.forms()[0].clone();
    assert_eq!(form.reason(), UserActionReason::DuringUpdate);
    assert_eq!(
        (form.web_form_url.as_str(), form.web_form_id.as_str()),
        (FORM_URL, "form-1")
    );
    assert_eq!(form.expires_at, Some(from_timestamp(at(1200))));
    // The task never changes again: it is the web form that is followed.
    run.form(open_form())
        .form(form_completed())
        .connection(ready())
        .collect(collected(1));
    assert_eq!(run.updated().origin(), UpdateOrigin::UserActed);
    assert_eq!(run.forms().len(), 1);
}

#[test]
fn the_user_edits_the_saved_credentials() {
    let mut run = Run::of(edit_command());
    run.find([]).start(form_required()).form(open_form());
    assert_eq!(run.forms()[0].reason(), UserActionReason::EditSavedSettings);
    run.form(form_completed()).connection(ready()).collect(collected(1));
    assert_eq!(run.updated().origin(), UpdateOrigin::UserActed);
}

#[test]
fn a_web_form_is_needed_at_once() {
    let mut run = Run::plain();
    run.find([]).start(form_required()).form(open_form());
    assert_eq!(run.forms()[0].reason(), UserActionReason::Immediate);
    run.form(form_completed()).connection(ready()).collect(collected(1));
    assert_eq!(run.updated().origin(), UpdateOrigin::UserActed);
}

#[test]
fn the_bank_refuses() {
    let mut run = Run::updating();
    run.poll(task_failed("BANK_SERVER_REJECTION"));
    assert_eq!(run.failure(), (FailureReason::BankRejected, false));
    let event = run.failed();
    assert_eq!(event.finapi_code, "BANK_SERVER_REJECTION");
    assert_eq!(event.bank_message, "Ihre Bank sagt nein");
    assert_eq!(run.published[0].context().task_id, "task-1");
}

#[test]
fn the_user_cancels() {
    let mut run = Run::awaiting();
    run.form(form(WebFormStatus::Aborted));
    assert_eq!(run.failure(), (FailureReason::UserAborted, false));
    assert_eq!(run.published.len(), 2);
}

#[test]
fn the_user_never_comes() {
    let mut run = Run::awaiting();
    run.form(open_form()).form(form(WebFormStatus::Expired));
    assert_eq!(run.failure(), (FailureReason::WebFormExpired, false));
}

#[test]
fn the_batch_update_is_at_it_already() {
    let mut run = Run::plain();
    run.find([]).start(FailureClass::Locked).find([]);
    assert!(run.wait() >= secs(1));
    run.connection(updated_at(-60))
        .find([])
        .start(FailureClass::Locked)
        .find([]);
    // The batch update has done what the command asks for.
    run.connection(updated_at(2)).collect(collected(4));
    let event = run.updated();
    assert_eq!(event.origin(), UpdateOrigin::AlreadyFresh);
    assert_eq!(
        event.new_transactions, 4,
        "what it has brought since the command is published"
    );
}

fn form_completed() -> WebForm {
    form(WebFormStatus::Completed)
}
