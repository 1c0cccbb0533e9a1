//! The image: a worker, finAPI's simulator and a broker as containers, a command in, an event out. `BANKREFRESH_IMAGE` names the image, which
//! `scripts/check` builds; without it there is nothing to test.

use testcontainers::core::WaitFor;
use testcontainers::core::wait::{ExitWaitStrategy, HealthWaitStrategy};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::support::platform::PATIENCE;
use crate::support::rabbitmq::RabbitMq;

fn container(image: &str, ready: WaitFor) -> GenericImage {
    let (name, tag) = image.rsplit_once(':').expect("an image's name has a tag");
    GenericImage::new(name, tag).with_wait_for(ready)
}

/// The program with the settings that lead to the other two.
fn program(image: &str, arguments: &[&str], ready: WaitFor, network: &str) -> ContainerRequest<GenericImage> {
    let [broker, sandbox] = ["rabbitmq", "sandbox"].map(|part| format!("{network}-{part}"));
    container(image, ready)
        .with_cmd(arguments.iter().copied())
        .with_network(network)
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_startup_timeout(PATIENCE)
        .with_env_var("BANKREFRESH__AMQP__URL", format!("amqp://guest:guest@{broker}/%2f"))
        .with_env_var("BANKREFRESH__FINAPI__ACCESS_URL", format!("http://{sandbox}:8531"))
        .with_env_var("BANKREFRESH__FINAPI__WEB_FORM_URL", format!("http://{sandbox}:8531"))
        .with_env_var("BANKREFRESH__FINAPI__ALLOW_INSECURE", "true")
        .with_env_var("BANKREFRESH__FINAPI__CLIENT_ID", "sandbox-client")
        .with_env_var("BANKREFRESH__FINAPI__CLIENT_SECRET", "sandbox-secret")
        .with_env_var("BANKREFRESH__CREDENTIALS__SOURCE", "http")
        .with_env_var(
            "BANKREFRESH__CREDENTIALS__URL",
            format!("http://{sandbox}:8531/sandbox/credentials"),
        )
        .with_env_var("BANKREFRESH__CREDENTIALS__ALLOW_INSECURE", "true")
}

#[tokio::test]
async fn a_command_to_a_worker_in_a_container_leads_to_an_event() {
    let Ok(image) = std::env::var("BANKREFRESH_IMAGE") else {
        println!("BANKREFRESH_IMAGE names no image");
        return;
    };
    let network = format!("bankrefresh-test-{}", uuid::Uuid::new_v4().simple());
    let broker = container(
        &RabbitMq::image(),
        WaitFor::message_on_stdout("Server startup complete"),
    )
    .with_network(&network)
    .with_container_name(format!("{network}-rabbitmq"))
    .with_startup_timeout(PATIENCE)
    .start();
    let listen = ["sandbox", "--listen", "0.0.0.0:8531"];
    let sandbox = program(&image, &listen, WaitFor::Nothing, &network)
        .with_container_name(format!("{network}-sandbox"))
        .start();
    let (broker, sandbox) = tokio::join!(broker, sandbox);
    let _running = (broker.expect("a broker"), sandbox.expect("the simulator"));

    let healthy = WaitFor::Healthcheck(HealthWaitStrategy::new());
    let worker = program(&image, &["worker"], healthy, &network).start().await;
    let worker = worker.expect("a worker that becomes healthy");
    let done = WaitFor::Exit(ExitWaitStrategy::new().with_exit_code(0));
    let send = ["send", "--user", "anna", "--connection", "1", "--wait"];
    let sent = program(&image, &send, done, &network).start().await;
    let sent = sent.expect("a command that has a good outcome");
    let said = sent.stdout_to_vec().await.expect("its output");
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("TransactionsUpdated"), "{said}");

    worker.stop_with_timeout(Some(20)).await.expect("it stops");
    assert_eq!(worker.exit_code().await.expect("its end"), Some(0));
}
