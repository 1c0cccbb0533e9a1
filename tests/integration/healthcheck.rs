//! What `bankrefresh healthcheck` says, as a container's health check has it.

use std::process::Output;

use tokio::time::timeout;

use crate::support::platform::{PATIENCE, Platform, free_port, quick};

/// Asks as a container would: by the worker's own settings.
async fn ask(platform: &Platform, arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let arguments = [&["healthcheck"], arguments].concat();
    let output: Output = platform
        .program(&arguments, settings)
        .output()
        .await
        .expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

async fn until_well(platform: &Platform, arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let well = async {
        loop {
            if let (Some(0), said) = ask(platform, arguments, settings).await {
                return said;
            }
        }
    };
    timeout(PATIENCE, well).await.expect("the worker is well in time")
}

#[tokio::test]
async fn a_worker_that_listens_everywhere_is_well_and_ready() {
    let platform = Platform::start(quick()).await;
    let port = free_port();
    let listen = format!("0.0.0.0:{port}");
    let settings = [("ADMIN__LISTEN", listen.as_str())];
    let _worker = platform.worker(&settings);
    let said = until_well(&platform, &["--ready"], &settings).await;
    assert_eq!(said, format!("http://127.0.0.1:{port}/readyz answers 200: ok\n"));
    let said = until_well(&platform, &[], &settings).await;
    assert_eq!(said, format!("http://127.0.0.1:{port}/livez answers 200: ok\n"));
}

#[tokio::test]
async fn a_worker_without_its_broker_is_well_and_not_ready() {
    let platform = Platform::start(quick()).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let nowhere = format!("amqp://127.0.0.1:{}", free_port());
    let settings = [("ADMIN__LISTEN", listen.as_str()), ("AMQP__URL", nowhere.as_str())];
    let _worker = platform.worker(&settings);
    until_well(&platform, &[], &settings).await;
    let (code, said) = ask(&platform, &["--ready"], &settings).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("http://{listen}/readyz answers 503: ")),
        "{said}"
    );
}

#[tokio::test]
async fn nobody_there_is_not_well() {
    let platform = Platform::start(quick()).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let (code, said) = ask(&platform, &[], &[("ADMIN__LISTEN", &listen)]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&listen), "{said}");
    let (code, said) = ask(&platform, &[], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("admin.listen is not set"), "{said}");
}
