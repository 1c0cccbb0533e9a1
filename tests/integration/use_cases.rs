//! finAPI's guide, line by line, with a real worker on a real broker.

use std::time::Duration;

use bankrefresh::broker::Header;
use bankrefresh::proto::{
    AccountType, BankingInterface, FailureReason, ImportNewAccounts, RefreshConnection, RefreshFailed, SavedSetting,
    TransactionsUpdated, UpdateOrigin, UserActionReason, UserActionRequired, UserMetadata,
};
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{
    Account, AccountType as SandboxType, After, Behaviour, Endpoint, Interface, Script, UserDoes,
};

use crate::support::platform::{Platform, command, quick, silent, speaks_v1};

const SOON: After = After::millis(500);

/// No event overlaps with what was there before.
const NO_OVERLAP: (&str, &str) = ("EVENTS__MARGIN", "0s");

async fn refreshed(script: Script, ask: impl FnOnce(&mut RefreshConnection)) -> (Platform, Vec<Event>) {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[NO_OVERLAP]);
    let mut command = command(1);
    platform.sandbox.script(&command.user_id, 1, script);
    ask(&mut command);
    let id = platform.send(command).await;
    let events = platform.outcome(&id).await;
    assert_eq!(platform.updates_per_connection_max(), 1, "one update for one command");
    (platform, events)
}

fn during(user: UserDoes) -> Script {
    Script::of(Behaviour::WebFormDuring { after: SOON, user })
}

fn updated(event: &Event) -> &TransactionsUpdated {
    match event.kind() {
        EventKind::TransactionsUpdated(event) => event,
        _ => panic!("not TransactionsUpdated: {event:?}"),
    }
}

fn user_needed(event: &Event) -> &UserActionRequired {
    match event.kind() {
        EventKind::UserActionRequired(event) => event,
        _ => panic!("not UserActionRequired: {event:?}"),
    }
}

fn failed(event: &Event) -> &RefreshFailed {
    match event.kind() {
        EventKind::RefreshFailed(event) => event,
        _ => panic!("not RefreshFailed: {event:?}"),
    }
}

#[tokio::test]
async fn an_update_without_the_user_brings_exactly_the_new_transactions() {
    let (platform, events) = refreshed(Script::of(silent()), |command| {
        command.labels.insert("tenant".into(), "blue".into());
    })
    .await;
    let [event] = events.as_slice() else {
        panic!("{events:?}")
    };
    let event = updated(event);
    assert_eq!(event.origin(), UpdateOrigin::Silent);
    assert_eq!((event.transactions.len(), event.new_transactions), (5, 5));
    assert_eq!((event.part, event.last), (1, true));
    assert_eq!(event.accounts.len(), 2);
    assert_eq!(
        event
            .accounts
            .iter()
            .map(|account| account.new_transactions)
            .sum::<u32>(),
        5
    );
    let context = events[0].context();
    assert_eq!(context.labels["tenant"], "blue");
    let message = &platform.events[&context.command_id][0].1;
    let properties = &message.properties;
    assert_eq!(properties.content_type.as_deref(), Some("application/protobuf"));
    assert_eq!(properties.kind.as_deref(), Some("bankrefresh.v1.TransactionsUpdated"));
    assert_eq!(properties.message_id.as_ref(), Some(&context.event_id));
    assert_eq!(properties.correlation_id, Some(format!("c-{}", context.command_id)));
    assert_eq!(properties.app_id.as_deref(), Some("bankrefresh"));
    assert!(properties.timestamp.is_some());
    let header = |name: &str| {
        properties
            .headers
            .get(name)
            .and_then(Header::as_text)
            .unwrap_or_default()
    };
    assert_eq!(header("cloudEvents_specversion"), "1.0");
    assert_eq!(header("cloudEvents_id"), context.event_id);
    assert_eq!(header("cloudEvents_type"), "bankrefresh.v1.TransactionsUpdated");
    assert!(header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
}

#[tokio::test]
async fn new_accounts_of_chosen_types_are_imported() {
    let script = Script {
        new_accounts: vec![
            Account::new(SandboxType::CreditCard),
            Account::new(SandboxType::Security),
        ],
        ..Script::of(silent())
    };
    let (_platform, events) = refreshed(script, |command| {
        command.import_new_accounts = ImportNewAccounts::Conditional.into();
        command.account_types = vec![AccountType::CreditCard.into()];
    })
    .await;
    let accounts = &updated(&events[0]).accounts;
    let new: Vec<AccountType> = accounts
        .iter()
        .filter(|account| account.is_new)
        .map(|a| a.r#type())
        .collect();
    assert_eq!(new, [AccountType::CreditCard]);
}

#[tokio::test]
async fn a_user_who_is_needed_in_mid_update_is_notified_first() {
    let (_platform, events) = refreshed(during(UserDoes::Completes { after: After::secs(1) }), |_| {}).await;
    let [first, last] = events.as_slice() else {
        panic!("{events:?}")
    };
    let needed = user_needed(first);
    assert_eq!(needed.reason(), UserActionReason::DuringUpdate);
    assert!(needed.web_form_url.starts_with("https://"));
    assert!(needed.expires_at.is_some());
    assert_eq!(updated(last).origin(), UpdateOrigin::UserActed);
    assert_eq!(updated(last).transactions.len(), 5);
}

#[tokio::test]
async fn editing_credentials_always_leads_to_a_web_form() {
    let (_platform, events) = refreshed(Script::of(silent()), |command| {
        command.edit_saved_settings = vec![SavedSetting::Credentials.into()];
    })
    .await;
    let [first, last] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(user_needed(first).reason(), UserActionReason::EditSavedSettings);
    assert_eq!(updated(last).origin(), UpdateOrigin::UserActed);
}

#[tokio::test]
async fn an_immediate_web_form_is_published_at_once() {
    let user = UserDoes::Completes { after: After::secs(1) };
    let (_platform, events) = refreshed(Script::of(Behaviour::ImmediateWebForm { user }), |_| {}).await;
    let [first, last] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(user_needed(first).reason(), UserActionReason::Immediate);
    assert_eq!(updated(last).origin(), UpdateOrigin::UserActed);
}

#[tokio::test]
async fn a_task_that_fails_says_why_for_each_code() {
    let cases = [
        ("BANK_SERVER_REJECTION", FailureReason::BankRejected, false),
        ("INVALID_TOKEN", FailureReason::UpdateFailed, true),
        ("UNEXPECTED_ACCESS_RESPONSE", FailureReason::UpdateFailed, true),
        ("INTERNAL_ERROR", FailureReason::UpdateFailed, true),
        ("SOMETHING_NEW", FailureReason::UpdateFailed, false),
    ];
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    for (id, (code, reason, retryable)) in (1..).zip(cases) {
        let command = command(id);
        let fails = Behaviour::Fails {
            after: SOON,
            error_code: code.to_owned(),
            error_message: "Falsche PIN.".to_owned(),
        };
        platform.sandbox.script(&command.user_id, id, Script::of(fails));
        let id = platform.send(command).await;
        let events = platform.outcome(&id).await;
        let event = failed(&events[0]);
        assert_eq!((event.reason(), event.retryable), (reason, retryable), "{code}");
        assert_eq!(
            (event.finapi_code.as_str(), event.bank_message.as_str()),
            (code, "Falsche PIN.")
        );
    }
}

#[tokio::test]
async fn a_web_form_that_the_user_cancels_fails_the_refresh() {
    let (_platform, events) = refreshed(during(UserDoes::Aborts { after: After::secs(1) }), |_| {}).await;
    user_needed(&events[0]);
    assert_eq!(failed(&events[1]).reason(), FailureReason::UserAborted);
}

#[tokio::test]
async fn a_web_form_that_expires_fails_the_refresh() {
    let (_platform, events) = refreshed(during(UserDoes::Expires), |_| {}).await;
    user_needed(&events[0]);
    assert_eq!(failed(&events[1]).reason(), FailureReason::WebFormExpired);
}

#[tokio::test]
async fn a_web_form_that_fails_says_why() {
    let user = UserDoes::FailsWith {
        after: After::secs(1),
        code: "NO_ACCOUNTS_FOR_TYPE_LIST".to_owned(),
    };
    let (_platform, events) = refreshed(during(user), |_| {}).await;
    let event = failed(&events[1]);
    assert_eq!(event.reason(), FailureReason::WebFormFailed);
    assert_eq!(event.finapi_code, "NO_ACCOUNTS_FOR_TYPE_LIST");
}

#[tokio::test]
async fn a_connection_that_the_batch_update_holds_is_waited_for_and_found_fresh() {
    let mut platform = Platform::start(quick()).await;
    // The hour after midnight would have what the sandbox imported at midnight.
    let _worker = platform.worker(&[NO_OVERLAP]);
    let command = command(1);
    let script = Script {
        batch_update: Some(After::secs(3)),
        ..Script::of(silent())
    };
    platform.sandbox.script(&command.user_id, 1, script);
    let id = platform.send(command).await;
    let events = platform.outcome(&id).await;
    assert_eq!(updated(&events[0]).origin(), UpdateOrigin::AlreadyFresh);
    // finAPI's clock may be behind ours, so what came up to two seconds before the command is published, too.
    let published = updated(&events[0]).transactions.len();
    assert!((5..=7).contains(&published), "{published}");
    assert_eq!(
        platform.updates_per_connection_max(),
        0,
        "the bank was asked once, by finAPI itself"
    );
}

#[tokio::test]
async fn many_transactions_come_in_parts_that_hold_each_of_them_once() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[NO_OVERLAP, ("EVENTS__SIZE_MAX", "65536")]);
    let mut command = command(9008);
    command.user_id = "anna".to_owned();
    let id = platform.send(command).await;
    let events = platform.outcome(&id).await;
    let parts: Vec<&TransactionsUpdated> = events.iter().map(updated).collect();
    assert!(parts.len() > 4, "{} parts", parts.len());
    for (number, part) in (1..).zip(&parts) {
        assert_eq!((part.part, part.last), (number, number as usize == parts.len()));
        assert!(prost::Message::encoded_len(*part) <= 65536);
    }
    let mut ids: Vec<i64> = parts
        .iter()
        .flat_map(|part| part.transactions.iter().map(|t| t.id))
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(
        (ids.len(), count),
        (1700, 1700),
        "each once: {:?}",
        parts
            .iter()
            .map(|p| (p.transactions.len(), p.new_transactions))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn summaries_keep_transactions_off_the_bus() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[("EVENTS__TRANSACTIONS", "summary")]);
    let id = platform.send(command(1)).await;
    let events = platform.outcome(&id).await;
    let event = updated(&events[0]);
    assert_eq!((event.new_transactions, event.transactions.len()), (5, 0));
    assert!(
        event
            .accounts
            .iter()
            .any(|account| !account.oldest_changed_date.is_empty())
    );
}

#[tokio::test]
async fn a_connection_that_is_fresh_enough_is_left_alone() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let first = platform.send(command(1)).await;
    platform.outcome(&first).await;
    let again = RefreshConnection {
        max_age: Some(Duration::from_secs(3600).try_into().expect("a duration")),
        ..command(1)
    };
    let again = platform.send(again).await;
    let events = platform.outcome(&again).await;
    assert_eq!(updated(&events[0]).origin(), UpdateOrigin::AlreadyFresh);
    assert_eq!(platform.updates_per_connection_max(), 1);
}

#[tokio::test]
async fn many_commands_for_one_connection_cost_one_update_and_each_has_its_outcome() {
    let mut platform = Platform::start(quick()).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    let commands: Vec<RefreshConnection> = (0..20).map(|_| command(1)).collect();
    platform.send_all(commands, true).await;
    platform.outcomes(20).await;
    assert_eq!(platform.updates_per_connection_max(), 1);
}

#[tokio::test]
async fn every_option_reaches_finapi_and_a_present_user_costs_no_access() {
    let (platform, events) = refreshed(Script::of(silent()), |command| {
        command.import_new_accounts = ImportNewAccounts::Forced.into();
        command.account_types = vec![AccountType::Checking.into(), AccountType::Bausparen.into()];
        command.allowed_interfaces = vec![BankingInterface::Xs2a.into(), BankingInterface::FintsServer.into()];
        command.skip_balances_download = true;
        command.skip_positions_download = true;
        command.load_owner_data = true;
        command.profile_id = "d9fd1b93-2f9c-4d0b-8f6a-6e4b1a1e6f10".to_owned();
        command.redirect_url = "https://platform.example.org/done".to_owned();
        command.user_metadata = Some(UserMetadata {
            ip_address: "192.0.2.7".to_owned(),
            device_os: "iOS 26".to_owned(),
            user_agent: "Platform/1.0".to_owned(),
        });
    })
    .await;
    updated(&events[0]);
    assert_eq!(platform.sandbox.asked().connections[&1].without_user, 0);
}

#[tokio::test]
async fn a_consent_that_ends_soon_is_said() {
    let interface = |name: &str, days, needed| Interface {
        interface: name.to_owned(),
        consent_days: Some(days),
        user_action_required: needed,
        ..Interface::default()
    };
    let script = Script {
        interfaces: vec![interface("XS2A", 3, false), interface("FINTS_SERVER", 60, true)],
        ..Script::of(silent())
    };
    let (_platform, events) = refreshed(script, |_| {}).await;
    let said: Vec<(BankingInterface, bool, bool)> = updated(&events[0])
        .interfaces
        .iter()
        .map(|status| {
            (
                status.interface(),
                status.consent_expires_soon,
                status.user_action_required,
            )
        })
        .collect();
    let expected = [
        (BankingInterface::Xs2a, true, false),
        (BankingInterface::FintsServer, false, true),
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn categories_are_waited_for_when_asked() {
    let script = Script {
        categorizes: After::secs(2),
        ..Script::of(silent())
    };
    let (_platform, events) = refreshed(script, |command| command.wait_for_categorization = true).await;
    let transactions = &updated(&events[0]).transactions;
    assert!(transactions.iter().all(|transaction| !transaction.category.is_empty()));
}

#[tokio::test]
async fn a_token_that_dies_costs_one_new_one() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let id = platform.send(command(1)).await;
    platform.until_asked(|asked| asked.tasks == 1).await;
    platform.sandbox.revoke_token("user-1");
    let events = platform.outcome(&id).await;
    updated(&events[0]);
    let asked = platform.sandbox.asked();
    // A client of V1 is refused by V2 first.
    let own = if speaks_v1() { 2 } else { 1 };
    assert_eq!(
        asked.calls[&Endpoint::Token],
        2 + own,
        "the user's two, and the client's own"
    );
    assert_eq!(asked.users["user-1"].wrong_passwords, 0);
}
