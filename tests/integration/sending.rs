//! `bankrefresh send`, and a worker that does what it says.

use std::collections::BTreeSet;

use crate::support::platform::{Platform, assert_one_good_outcome_each, quick};

#[tokio::test]
async fn two_hundred_commands_by_send_start_two_hundred_updates() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let arguments = [
        "send",
        "--user",
        "anna",
        "--connection",
        "1-200",
        "--lane",
        "background",
        "--wait",
    ];
    let sent = platform.program(&arguments, &[]).output().await.expect("send runs");
    let printed = String::from_utf8_lossy(&sent.stdout);
    assert!(
        sent.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    assert!(printed.ends_with("200 updated, 0 failed\n"), "{printed}");
    platform.outcomes(200).await;
    assert_one_good_outcome_each(&platform, 200);
    let asked = platform.sandbox.asked();
    assert_eq!(asked.tasks, 200);
    assert_eq!(
        asked.users.values().map(|user| user.token_responses).sum::<u64>(),
        1,
        "one token for one user"
    );
    assert!(asked.smallest_interval_ms.is_none_or(|interval| interval >= 1000));
}

#[tokio::test]
async fn send_goes_round_the_connections_until_it_is_stopped() {
    let mut platform = Platform::start(quick()).await;
    let _worker = platform.worker(&[]);
    let arguments = [
        "send",
        "--user",
        "user-{}",
        "--connection",
        "1-2",
        "--connection",
        "7",
        "--every",
        "50ms",
    ];
    let _sending = platform.program(&arguments, &[]).spawn().expect("send runs");
    platform.outcomes(7).await;
    let mut connections = BTreeSet::new();
    for (event, _) in platform.events.values().flatten() {
        let context = event.context();
        assert_eq!(context.user_id, format!("user-{}", context.bank_connection_id));
        connections.insert(context.bank_connection_id);
    }
    assert_eq!(connections, BTreeSet::from([1, 2, 7]));
}
