//! A node in a container, for machines with Docker and without RabbitMQ.

use std::net::TcpListener;
use std::process::Output;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::process::Command;

use super::{START_TIMEOUT, answers};
use crate::support::guard::Guard;

/// The image, unless `RABBITMQ_IMAGE_TAG` names another tag of it.
const TAG: &str = "4.1-alpine";

const PORT: u16 = 5672;

const HELP: &str = "these tests need a RabbitMQ of their own: install it (apt-get install rabbitmq-server; the service \
                    need not run), or start Docker";

pub(super) struct Container {
    id: String,
    port: u16,
    _container: ContainerAsync<GenericImage>,
    /// Containers of a static are never dropped.
    _guard: Guard,
}

impl Container {
    pub(super) async fn start() -> Self {
        let tag = std::env::var("RABBITMQ_IMAGE_TAG").unwrap_or_else(|_| TAG.to_owned());
        // A port of our choice, for one of Docker's changes with each start.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let container = GenericImage::new("rabbitmq", &tag)
            .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
            .with_mapped_port(port, PORT.tcp())
            .with_startup_timeout(START_TIMEOUT)
            .start()
            .await
            .unwrap_or_else(|error| panic!("{HELP}: {error}"));
        let id = container.id().to_owned();
        let guard = Guard::new("docker rm --force --volumes \"$1\"", &[&id]);
        answers(port).await;
        Self {
            id,
            port,
            _container: container,
            _guard: guard,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) async fn crash(&self) {
        self.docker(&["kill", &self.id]).await;
    }

    pub(super) async fn restart(&self) {
        self.docker(&["start", &self.id]).await;
        answers(self.port).await;
    }

    pub(super) async fn ctl(&self, arguments: &[&str]) -> String {
        let command = [&["exec", &self.id, "rabbitmqctl"], arguments].concat();
        let output = self.docker(&command).await;
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// By the command, because a test's runtime, which the library's client lives on, ends with the test.
    async fn docker(&self, arguments: &[&str]) -> Output {
        let output = Command::new("docker").args(arguments).kill_on_drop(true).output();
        let output = output.await.expect("docker runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {err}");
        output
    }
}
