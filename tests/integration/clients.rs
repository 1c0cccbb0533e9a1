//! Several clients of finAPI side by side on one broker.

use bankrefresh::proto::{FailureReason, RefreshConnection};
use bankrefresh::refresh::event::{Event, EventKind};
use bankrefresh::sandbox::{ApiVersion, SandboxConfig};

use crate::support::platform::{Platform, command, quick};

#[tokio::test]
async fn two_clients_of_two_versions_share_a_broker_and_a_command_for_the_other_one_says_so() {
    for (version, name, other) in [(ApiVersion::V1, "v1", "v2"), (ApiVersion::V2, "v2", "v1")] {
        let mut platform = Platform::start(SandboxConfig {
            api_version: version,
            ..quick()
        })
        .await;
        let _worker = platform.worker(&[("FINAPI__CLIENT_NAME", name), ("FINAPI__API_VERSION", name)]);
        let named = |connection, client: &str| RefreshConnection {
            client: client.to_owned(),
            ..command(connection)
        };
        let wrong = platform.send(named(1, other)).await;
        let events = platform.outcome(&wrong).await;
        let failed = match events.last().map(Event::kind) {
            Some(EventKind::RefreshFailed(failed)) => failed,
            _ => panic!("{events:?}"),
        };
        assert_eq!(failed.reason(), FailureReason::WrongClient);
        assert!(
            failed.message.contains(name) && failed.message.contains(other),
            "{}",
            failed.message
        );
        assert_eq!(platform.sandbox.asked().tasks, 0);
        for client in [name, ""] {
            let id = platform.send(named(2, client)).await;
            let events = platform.outcome(&id).await;
            assert!(
                matches!(events[0].kind(), EventKind::TransactionsUpdated(_)),
                "{events:?}"
            );
        }
    }
}
