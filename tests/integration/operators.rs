//! What operators see: wrong settings, and how a worker is.

use std::time::Duration;

use crate::support::platform::{Log, Platform, client, command, commands, free_address, quick, slow};
use crate::support::rabbitmq::RabbitMq;

#[tokio::test]
async fn a_bad_setting_stops_the_start_and_is_named() {
    let platform = Platform::start(quick()).await;
    let refused = platform
        .program(&["worker"], &[("POLLING__INITIAL", "10ms")])
        .output()
        .await
        .expect("it runs");
    assert!(!refused.status.success());
    let shown = String::from_utf8_lossy(&refused.stderr);
    assert!(
        shown.contains("polling.initial is 10ms; it must be 1s to 1m"),
        "{shown}"
    );
    let checked = platform
        .program(&["config", "check"], &[])
        .output()
        .await
        .expect("it runs");
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(
        shown.contains("client_secret = \"(hidden)\"") && !shown.contains("sandbox-secret"),
        "{shown}"
    );
    let checked = platform
        .program(&["topology", "check"], &[])
        .output()
        .await
        .expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test]
async fn operators_see_whether_a_worker_lives_is_ready_and_what_it_holds() {
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
    let mut platform = Platform::on(rabbit, slow(Duration::from_secs(4))).await;
    let listen = free_address();
    let mut worker = platform.worker(&[("ADMIN__LISTEN", &listen)]);
    platform.send_all(commands(20), true).await;
    platform.until_asked(|asked| asked.tasks >= 20).await;
    let client = client();
    let get = |path: &'static str| {
        let request = client.get(format!("http://{listen}{path}")).send();
        async move {
            let answer = request.await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        }
    };
    assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    let status: serde_json::Value = serde_json::from_str(&get("/status").await.1).expect("JSON");
    assert_eq!(status["held"]["updating"]["count"], 20, "{status}");
    assert!(!status.to_string().contains("user-1"), "nothing personal");
    platform.outcomes(20).await;
    let metrics = get("/metrics").await.1;
    for line in [
        "bankrefresh_refreshes_total{outcome=\"updated\",reason=\"UPDATE_ORIGIN_SILENT\"",
        "bankrefresh_finapi_query_duration_seconds_count{class=\"ok\",query=\"start\"",
        "bankrefresh_detection_delay_seconds_count",
        "bankrefresh_in_flight{",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    rabbit.crash().await;
    worker.log.until("lost the connection").await;
    assert_eq!(get("/readyz").await.0, 503);
    assert_eq!(get("/livez").await.0, 200, "it waits for the broker, and lives");
}

/// RabbitMQ from 4.3 on refuses an event because the queue of somebody who watched has just gone. Its refresh does not wait for that.
#[tokio::test]
async fn who_stops_watching_delays_nobody() {
    let mut platform = Platform::start(quick()).await;
    let worker = platform.worker(&[]);
    let mut sent = 0;
    for _ in 0..20 {
        let watch = platform.program(&["watch", "--count", "1"], &[]).spawn();
        let mut watch = watch.expect("it starts");
        Log::of(&mut watch).until("watching").await;
        platform
            .send_all((sent + 1..=sent + 10).map(command).collect(), true)
            .await;
        sent += 10;
        assert!(watch.wait().await.expect("its end").success());
    }
    platform.outcomes(usize::try_from(sent).expect("a count")).await;
    let text = worker.log.text();
    let again = text.matches("could not publish a message, and will try again").count();
    println!("{again} publishes were refused and tried again");
    assert!(!text.contains("the broker refuses an event"), "{text}");
}
