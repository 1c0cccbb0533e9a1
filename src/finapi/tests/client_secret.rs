//! A new secret of the client, handed in while the client runs.

use super::secrets::Log;
use super::*;
use crate::finapi::probe::ClientGrant;
use crate::finapi::version::Version;

/// What is logged until it is dropped.
fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(lines))
}

fn warnings(log: &Log) -> [usize; 2] {
    let text = log.text();
    ["refuses the new", "does not say"].map(|words| text.matches(words).count())
}

#[tokio::test(start_paused = true)]
async fn operators_are_warned_once_of_each_thing_that_is_wrong_with_a_new_secret() {
    let (log, _kept) = logged();
    let world = Arc::new(World::new());
    let client = Arc::clone(&world);
    let keeping = tokio::spawn(async move { client.client.keep_client_secret().await });
    let offers = world.client.client_secret_offers();
    let offer = |text: &str| offers.offer(Some(secret(text)));
    offer("wrong");
    pass(300).await;
    assert_eq!(warnings(&log), [1, 0]);
    offer("wrong in another way");
    pass(300).await;
    assert_eq!(warnings(&log), [2, 0]);
    world.sandbox.go_down(FaultKind::Dropped);
    pass(300).await;
    assert_eq!(warnings(&log), [2, 1]);
    assert!(offers.is_pending());
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn what_finapi_said_of_the_old_secret_is_not_believed_of_the_new_one() {
    let world = Arc::new(World::of(
        SandboxConfig::default(),
        Settings {
            client_secret: secret("the old one"),
            ..settings()
        },
    ));
    let version = if speaks_v1() { Version::V1 } else { Version::V2 };
    assert_eq!(world.client.client_grant(version).await, ClientGrant::Refused);
    let client = Arc::clone(&world);
    let keeping = tokio::spawn(async move { client.client.keep_client_secret().await });
    let offers = world.client.client_secret_offers();
    offers.offer(Some(secret("sandbox-secret")));
    pass(1).await;
    assert!(!offers.is_pending(), "finAPI accepts it");
    assert_eq!(world.client.client_grant(version).await, ClientGrant::Granted);
    keeping.abort();
}
