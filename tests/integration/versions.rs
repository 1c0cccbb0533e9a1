//! Which version of finAPI's Access workers speak: set, proven at their start, and switched while they run.

use bankrefresh::sandbox::{ApiVersion, Endpoint, FaultKind, SandboxConfig};

use crate::support::platform::{
    PATIENCE, Platform, assert_one_good_outcome_each, client, command, commands, free_address, quick,
};

fn bound_to(api_version: ApiVersion) -> SandboxConfig {
    SandboxConfig { api_version, ..quick() }
}

#[tokio::test]
async fn each_version_is_spoken_set_or_proven() {
    for (bound, spoken, probes) in [
        (ApiVersion::V1, "v1", 0),
        (ApiVersion::V2, "v2", 0),
        (ApiVersion::V1, "auto", 1),
        (ApiVersion::V2, "auto", 1),
    ] {
        let mut platform = Platform::start(bound_to(bound)).await;
        let _worker = platform.worker(&[("FINAPI__API_VERSION", spoken)]);
        let id = platform.send(command(1)).await;
        platform.outcome(&id).await;
        assert_one_good_outcome_each(&platform, 1);
        let asked = platform.sandbox.asked().calls;
        let probed = asked.get(&Endpoint::ClientConfiguration).copied().unwrap_or_default();
        assert_eq!(probed, probes, "{bound:?} by {spoken}");
    }
}

#[tokio::test]
async fn a_client_that_is_switched_while_workers_run_costs_no_refresh() {
    let mut platform = Platform::start(bound_to(ApiVersion::V1)).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    platform.send_all(commands(40), true).await;
    platform.until_asked(|asked| asked.tasks >= 5).await;
    platform.sandbox.switch_api_version(ApiVersion::V2);
    platform.outcomes(40).await;
    assert_one_good_outcome_each(&platform, 40);
}

#[tokio::test]
async fn as_long_as_no_version_is_proven_commands_wait_and_readyz_says_why() {
    let mut platform = Platform::start(quick()).await;
    platform
        .sandbox
        .go_down_at(FaultKind::status(500), &[Endpoint::ClientConfiguration]);
    let listen = free_address();
    let _worker = platform.worker(&[("ADMIN__LISTEN", &listen)]);
    let id = platform.send(command(1)).await;
    let ready = async || {
        let answer = client().get(format!("http://{listen}/readyz")).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.expect("a text")))
    };
    let until = async |status: u16| {
        let answers = async {
            loop {
                match ready().await {
                    // Before the first probe has ended, it says only that.
                    Some((is, text)) if is == status && (is == 200 || text.contains("answered")) => return text,
                    _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, answers)
            .await
            .expect("its readiness in time")
    };
    let why = until(503).await;
    assert!(why.contains("GET /api/v2/clientConfiguration answered 500"), "{why}");
    assert_eq!(platform.sandbox.asked().tasks, 0);
    let topology = platform.topology.clone();
    platform
        .until_depth(&topology.interactive(), |(ready, _)| ready == 1)
        .await;
    platform.sandbox.come_up();
    assert_eq!(until(200).await, "ok\n");
    platform.outcome(&id).await;
    assert_one_good_outcome_each(&platform, 1);
}
