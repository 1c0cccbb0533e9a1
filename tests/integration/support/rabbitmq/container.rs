//! A node in a container.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{ADDRESS, START_TIMEOUT, Setup, answers, cluster_config};
use crate::support::guard::Guard;

/// The image is named in `.env`, for Docker Compose as well. A variable of the environment goes before it.
const IMAGE: &str = "RABBITMQ_IMAGE";
const IMAGES: &str = include_str!("../../../../.env");

const PORT: u16 = 5672;

/// Where its settings are, and what is copied for them.
const ETC: &str = "/etc/rabbitmq";

const HELP: &str = "these tests need a RabbitMQ of their own: install it (apt-get install rabbitmq-server; the service need not run), \
                    or start Docker, where the image of .env or of RABBITMQ_IMAGE is there or can be pulled";

/// What our documents recommend to clusters of three. A container that is killed is silent, like a machine without power, so the others wait
/// for Erlang's ticks. Versions that have no such choice about partitions ignore it, other than in `rabbitmq.conf`.
const CLUSTER_ARGUMENTS: &str = "-rabbit cluster_partition_handling pause_minority -kernel net_ticktime 15";

/// A network can only be removed once no container is in it.
const REMOVE_NETWORK: &str = r#"
for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    docker network rm "$1" && break
    sleep 0.5
done
"#;

/// Docker's own network, over which this process reaches the nodes of a cluster.
const OUTSIDE: &str = "bridge";

pub(super) struct Container {
    id: String,
    name: String,
    port: u16,
    runs: AtomicBool,
    /// What the nodes of a cluster reach each other over.
    network: Option<String>,
    _container: ContainerAsync<GenericImage>,
    /// Containers of a static are never dropped.
    _guard: Guard,
    _network: Option<Guard>,
}

impl Container {
    pub(super) async fn start(setup: &Setup) -> Self {
        Self::request(&host(), setup).await
    }

    /// Three that are started at once. Their network among themselves is another one than that to this process, so that a node can be
    /// cut off from the others and not from its clients. The first network of a container keeps its ports to itself unless it is internal.
    pub(super) async fn cluster() -> [Self; 3] {
        let (network, cookie) = (host(), host());
        let created = Command::new("docker")
            .args(["network", "create", "--internal", &network])
            .output()
            .await;
        let created = created.unwrap_or_else(|error| panic!("{HELP}: {error}"));
        assert!(created.status.success(), "{HELP}: {created:?}");
        let guard = Guard::new(REMOVE_NETWORK, &[&network]);
        let hosts = [host(), host(), host()];
        let setup = Setup {
            config: cluster_config(hosts.each_ref().map(|host| node_name(host))),
            ..Setup::default()
        };
        let start = |index: usize| {
            let request = request(&hosts[index], &setup)
                .with_container_name(&hosts[index])
                .with_network(&network)
                .with_env_var("RABBITMQ_ERLANG_COOKIE", &cookie)
                .with_env_var("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", CLUSTER_ARGUMENTS);
            Self::run(request, &hosts[index], Some(&network))
        };
        let (mut first, second, third) = tokio::join!(start(0), start(1), start(2));
        first._network = Some(guard);
        [first, second, third]
    }

    async fn request(host: &str, setup: &Setup) -> Self {
        Self::run(request(host, setup), host, None).await
    }

    async fn run(request: ContainerRequest<GenericImage>, host: &str, network: Option<&str>) -> Self {
        // A port of our choice, for one of Docker's changes with each start.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let container = request
            .with_mapped_port(port, PORT.tcp())
            .with_startup_timeout(START_TIMEOUT)
            .start()
            .await
            .unwrap_or_else(|error| panic!("{HELP}: {error}"));
        let id = container.id().to_owned();
        let guard = Guard::new("docker rm --force --volumes \"$1\"", &[&id]);
        let started = Self {
            id,
            name: node_name(host),
            port,
            runs: AtomicBool::new(true),
            network: network.map(str::to_owned),
            _container: container,
            _guard: guard,
            _network: None,
        };
        if network.is_some() {
            started.docker(&["network", "connect", OUTSIDE, &started.id], "").await;
        }
        answers(port).await;
        started
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn crash(&self) {
        // Docker kills nothing twice.
        if self.runs.swap(false, Relaxed) {
            self.docker(&["kill", &self.id], "").await;
        }
    }

    pub(super) async fn restart(&self) {
        self.docker(&["start", &self.id], "").await;
        self.runs.store(true, Relaxed);
        answers(self.port).await;
    }

    /// Cuts it off from the other nodes of its cluster. Nobody learns of it.
    pub(super) async fn cut_off(&self) {
        self.docker(&["network", "disconnect", self.inside(), &self.id], "")
            .await;
    }

    /// Lets it reach the others again.
    pub(super) async fn reach(&self) {
        self.docker(&["network", "connect", self.inside(), &self.id], "").await;
    }

    fn inside(&self) -> &str {
        self.network.as_deref().expect("it is one of a cluster")
    }

    pub(super) async fn ctl(&self, arguments: &[&str], input: &str) -> String {
        let file = format!("/tmp/{}", host());
        let mut command = [&["exec", &self.id, "rabbitmqctl"], arguments].concat();
        if !input.is_empty() {
            let write = format!("cat >{file}");
            self.docker(&["exec", "--interactive", &self.id, "sh", "-c", &write], input)
                .await;
            command.push(&file);
        }
        let output = self.docker(&command, "").await;
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// By the command, because a test's runtime, which the library's client lives on, ends with the test.
    async fn docker(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new("docker");
        command.args(arguments).kill_on_drop(true).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docker runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        // Who does not read it has closed it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("docker runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {err}");
        output
    }
}

fn request(host: &str, setup: &Setup) -> ContainerRequest<GenericImage> {
    let image = image();
    let (name, tag) = image.rsplit_once(':').expect("an image's name has a tag");
    let mut config = setup.config.replace(ADDRESS, "0.0.0.0");
    let mut request = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
        .with_hostname(host);
    for file in &setup.files {
        let inside = path_inside(file);
        config = config.replace(file.to_str().expect("a path"), &inside);
        request = request.with_copy_to(inside, file.as_path());
    }
    for port in &setup.ports {
        request = request.with_mapped_port(*port, port.tcp());
    }
    let plugins = format!("[{}].\n", setup.plugins.join(","));
    request
        .with_copy_to(format!("{ETC}/enabled_plugins"), plugins.into_bytes())
        .with_copy_to(format!("{ETC}/conf.d/90-test.conf"), config.into_bytes())
}

fn path_inside(file: &Path) -> String {
    format!("{ETC}/{}", file.file_name().expect("a file").to_str().expect("a name"))
}

pub(super) fn image() -> String {
    let named = |line: &str| Some(line.strip_prefix(IMAGE)?.strip_prefix('=')?.to_owned());
    let image = std::env::var(IMAGE).ok().or_else(|| IMAGES.lines().find_map(named));
    image.expect("the image is named in .env")
}

/// A name that no other container has.
fn host() -> String {
    format!("bankrefresh-test-{}", uuid::Uuid::new_v4().simple())
}

fn node_name(host: &str) -> String {
    format!("rabbit@{host}")
}
