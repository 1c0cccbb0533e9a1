//! Secrets whose files change while a worker or a console runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::platform::{
    Log, PATIENCE, Platform, WorkerProcess, client, command, free_address, quick, speaks_v1,
};

/// As Kubernetes changes a mounted secret: by another link, in one step.
fn put(folder: &Path, name: &str, text: &str) -> String {
    let version = folder.join(format!("{name}.{}", uuid::Uuid::new_v4()));
    fs::write(&version, text).expect("written");
    let (link, new) = (folder.join(name), folder.join(format!("{name}.new")));
    std::os::unix::fs::symlink(&version, &new).expect("a link");
    fs::rename(&new, &link).expect("swapped");
    link.to_str().expect("text").to_owned()
}

async fn until_metric(address: &str, setting: &str, value: u8) {
    let started = Instant::now();
    loop {
        let response = client().get(format!("http://{address}/metrics")).send().await;
        let text = response.expect("an answer").text().await.expect("text");
        let shown = text
            .lines()
            .find(|line| line.starts_with("bankrefresh_secrets_unused") && line.contains(setting));
        if shown.is_some_and(|line| line.ends_with(&format!(" {value}"))) {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "bankrefresh_secrets_unused of {setting} is not {value}:\n{text}"
        );
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_clients_secret_changes_once_finapi_accepts_it_and_a_bad_one_changes_nothing() {
    let mut platform = Platform::start(quick()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = put(folder.path(), "secret", "sandbox-secret\n");
    let listen = free_address();
    let version = if speaks_v1() { "v1" } else { "v2" };
    let mut program = platform.program(
        &["worker"],
        &[("ADMIN__LISTEN", &listen), ("FINAPI__API_VERSION", version)],
    );
    program.env_remove("BANKREFRESH__FINAPI__CLIENT_SECRET");
    program.env("BANKREFRESH__FINAPI__CLIENT_SECRET_FILE", &file);
    let mut worker = WorkerProcess::start(&mut program);
    worker.log.until("connected to RabbitMQ").await;
    until_metric(&listen, "finapi.client_secret", 0).await;
    put(folder.path(), "secret", "not-the-secret-of-the-sandbox");
    worker.log.until("finAPI refuses the new finapi.client_secret").await;
    until_metric(&listen, "finapi.client_secret", 1).await;
    // A user whose token is not there yet.
    let id = platform.send(command(1)).await;
    platform.outcome(&id).await;
    // An empty file, and one that is gone.
    put(folder.path(), "secret", "");
    worker.log.until("every secret stays as it is").await;
    until_metric(&listen, "settings", 1).await;
    fs::remove_file(&file).expect("removed");
    let id = platform.send(command(2)).await;
    platform.outcome(&id).await;
    put(folder.path(), "secret", "sandbox-secret");
    until_metric(&listen, "settings", 0).await;
    until_metric(&listen, "finapi.client_secret", 0).await;
    for (event, _) in platform.events.values().flatten() {
        assert!(!format!("{event:?}").contains("Failed"), "{event:?}");
    }
    let text = worker.log.text();
    assert!(
        !text.contains("sandbox-secret") && !text.contains("not-the-secret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_worker_that_began_with_a_wrong_secret_works_once_its_file_is_right() {
    let mut platform = Platform::start(quick()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = put(folder.path(), "secret", "wrong");
    let version = if speaks_v1() { "v1" } else { "v2" };
    let mut program = platform.program(&["worker"], &[("FINAPI__API_VERSION", version)]);
    program.env_remove("BANKREFRESH__FINAPI__CLIENT_SECRET");
    program.env("BANKREFRESH__FINAPI__CLIENT_SECRET_FILE", &file);
    let mut worker = WorkerProcess::start(&mut program);
    let id = platform.send(command(1)).await;
    let refused = platform.outcome(&id).await;
    assert!(format!("{refused:?}").contains("client unauthorized"), "{refused:?}");
    put(folder.path(), "secret", "sandbox-secret");
    worker.log.until("finAPI accepts the new finapi.client_secret").await;
    let id = platform.send(command(2)).await;
    let updated = platform.outcome(&id).await;
    assert!(format!("{updated:?}").contains("TransactionsUpdated"), "{updated:?}");
}

#[tokio::test]
async fn the_consoles_old_password_is_good_until_somebody_has_used_the_new_one() {
    let platform = Platform::start(quick()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = put(folder.path(), "password", "the old password");
    let listen = free_address();
    let mut program = platform.program(&["console", "--listen", &listen], &[]);
    let mut console = program
        .env("BANKREFRESH__CONSOLE__PASSWORD_FILE", &file)
        .spawn()
        .expect("it starts");
    Log::of(&mut console).until("The console is at").await;
    let get = async |password: &str| {
        let request = client()
            .get(format!("http://{listen}/"))
            .basic_auth("anybody", Some(password));
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(
        (get("the old password").await, get("the new password").await),
        (200, 401)
    );
    put(folder.path(), "password", "the new password");
    let started = Instant::now();
    // Each try with the old one goes before: it is good until the new one was used.
    while {
        assert_eq!(get("the old password").await, 200);
        get("the new password").await != 200
    } {
        assert!(started.elapsed() < PATIENCE, "the new password is not taken");
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        (get("the old password").await, get("the new password").await),
        (401, 200)
    );
}
