//! A RabbitMQ of our own: on free ports of the loopback interface, with its data in a temporary directory.
//!
//! It is started from `rabbitmq-server` where that is installed, else in a container where Docker answers.
//! `BANKREFRESH_TEST_BROKER` chooses: `installed` or `container`. Nothing of it outlives the test process, even a killed
//! one: a shell reads from a pipe whose write end is ours, and kills it all when that ends. A broker that runs on this
//! machine already is left alone.

mod container;
mod node;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use self::container::Container;
use self::node::{Node, Programs};

/// How long a broker may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// In the lines of `rabbitmq.conf`: what a broker listens on so that this process reaches it.
pub const ADDRESS: &str = "ADDRESS";

/// How long until it says of itself what has happened to it.
const SEEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Takes messages as large as RabbitMQ 3.10 does by default. Those that 4.x takes by default are smaller.
const LARGE: &str = "max_message_size = 134217728\n";

/// How many seconds all tests of this binary may take together.
const LIMIT: &str = "BANKREFRESH_TEST_LIMIT";

/// Which of the two there is to be.
const CHOICE: &str = "BANKREFRESH_TEST_BROKER";

/// A private RabbitMQ.
pub struct RabbitMq {
    backend: Backend,
}

/// What a broker is started with.
#[derive(Default)]
pub struct Setup {
    /// Lines of its `rabbitmq.conf`, with [`ADDRESS`] and the paths of `files` in them.
    pub config: String,
    pub files: Vec<PathBuf>,
    /// Where it listens besides.
    pub ports: Vec<u16>,
    pub plugins: Vec<&'static str>,
}

enum Backend {
    Node(Box<Node>),
    Container(Box<Container>),
}

/// Ends this process after so long: who waits for it learns which test hangs, because that one "has been running for over 60 seconds". Long
/// runs set the limit to a longer one.
fn end_in_time() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let seconds = std::env::var(LIMIT).map(|seconds| seconds.parse().expect("a number of seconds"));
        let limit = Duration::from_secs(seconds.unwrap_or(40 * 60));
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            // Not by a macro, whose text would be kept with the output of the test that came first.
            let _ = writeln!(
                std::io::stderr(),
                "the tests were not over after {limit:?}, so they end here"
            );
            std::process::exit(1);
        });
    });
}

/// The broker that the tests of this binary share, each under a prefix of its own.
pub async fn shared() -> &'static RabbitMq {
    static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
    SHARED.get_or_init(RabbitMq::start).await
}

/// A prefix that no other test uses.
pub fn prefix() -> String {
    format!("t{}", uuid::Uuid::new_v4().simple())
}

impl RabbitMq {
    /// Starts a broker and waits until it answers.
    pub async fn start() -> Self {
        Self::with_config(LARGE).await
    }

    /// Starts one whose `rabbitmq.conf` has these lines, too.
    pub async fn with_config(config: &str) -> Self {
        let config = config.to_owned();
        Self::with(Setup {
            config,
            ..Setup::default()
        })
        .await
    }

    /// Starts one that serves its metrics on a port, by the bundled plugin.
    pub async fn with_metrics(port: u16) -> Self {
        let lines = [
            format!("prometheus.tcp.ip = {ADDRESS}\n"),
            format!("prometheus.tcp.port = {port}\n"),
            "prometheus.return_per_object_metrics = true\n".to_owned(),
        ];
        Self::with(Setup {
            config: lines.concat(),
            ports: vec![port],
            plugins: vec!["rabbitmq_prometheus"],
            ..Setup::default()
        })
        .await
    }

    /// Starts one with this.
    pub async fn with(setup: Setup) -> Self {
        end_in_time();
        match programs() {
            Some(programs) => Self::of(Node::start(programs, &setup).await),
            None => Self::contained(Container::start(&setup).await),
        }
    }

    /// Starts a cluster of three nodes.
    pub async fn cluster() -> [Self; 3] {
        match programs() {
            Some(_) => Node::cluster(|| programs().expect("they were there"))
                .await
                .map(Self::of),
            None => Container::cluster().await.map(Self::contained),
        }
    }

    fn of(node: Node) -> Self {
        let backend = Backend::Node(Box::new(node));
        Self { backend }
    }

    fn contained(container: Container) -> Self {
        let backend = Backend::Container(Box::new(container));
        Self { backend }
    }

    /// The image that there is for containers.
    pub fn image() -> String {
        container::image()
    }

    /// The name by which it lists itself.
    pub fn name(&self) -> &str {
        match &self.backend {
            Backend::Node(node) => node.name(),
            Backend::Container(container) => container.name(),
        }
    }

    /// The URL of its default virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port())
    }

    /// The port that it listens on, which stays the same when it is stopped and started.
    pub fn port(&self) -> u16 {
        match &self.backend {
            Backend::Node(node) => node.port(),
            Backend::Container(container) => container.port(),
        }
    }

    /// Kills it as a crash would.
    pub async fn crash(&self) {
        match &self.backend {
            Backend::Node(node) => node.crash().await,
            Backend::Container(container) => container.crash().await,
        }
    }

    /// Starts it again after [`RabbitMq::crash`], with what it had on disk, and waits until it answers.
    pub async fn restart(&self) {
        match &self.backend {
            Backend::Node(node) => node.restart().await,
            Backend::Container(container) => container.restart().await,
        }
    }

    /// Cuts it off from the other nodes of its cluster, and from no client. Nothing says so to any of them. Only a container can be.
    pub async fn cut_off(&self) {
        self.container().cut_off().await;
    }

    /// Lets it reach the other nodes again.
    pub async fn reach(&self) {
        self.container().reach().await;
    }

    fn container(&self) -> &Container {
        match &self.backend {
            Backend::Node(_) => panic!("only a node in a container can be cut off: {CHOICE}=container"),
            Backend::Container(container) => container,
        }
    }

    /// Runs `rabbitmqctl` and answers with what it printed; panics when it fails.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        self.ctl_with(arguments, "").await
    }

    /// The same, with a file of this content as its last argument. RabbitMQ 4.0's waits for ever for the end of its standard input.
    pub async fn ctl_with(&self, arguments: &[&str], input: &str) -> String {
        match &self.backend {
            Backend::Node(node) => node.ctl(arguments, input).await,
            Backend::Container(container) => container.ctl(arguments, input).await,
        }
    }

    /// Closes the connections whose name begins with this, as an operator would. The names are seen by the broker a
    /// moment after a connection is open, so it is repeated until there was one to close. Another test's that is just being made, or is just
    /// gone, has no name.
    pub async fn close_connections(&self, name: &str) {
        let expression = format!(
            r#"Named = fun(Pid) ->
                   try
                       [{{client_properties, P}}] = rabbit_networking:connection_info(Pid, [client_properties]),
                       {{_, _, N}} = lists:keyfind(<<"connection_name">>, 1, P),
                       string:prefix(N, <<"{name}">>) =/= nomatch
                   catch
                       _:_ -> false
                   end
               end,
               Found = [Pid || Pid <- rabbit_networking:connections(), Named(Pid)],
               [catch rabbit_networking:close_connection(Pid, "by a test") || Pid <- Found],
               length(Found)."#
        );
        let closed = async { while self.ctl(&["eval", &expression]).await.trim() == "0" {} };
        let in_time = timeout(SEEN_TIMEOUT, closed).await;
        in_time.unwrap_or_else(|_| panic!("there is no connection {name}"));
    }

    /// The ready messages and the consumers of a queue. `rabbitmqctl` would be seconds behind.
    pub async fn depth(&self, queue: &str) -> (u32, u32) {
        let connection = self.connection().await;
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(queue.into(), passive, FieldTable::default());
        let declared = declared.await.unwrap();
        (declared.message_count(), declared.consumer_count())
    }

    /// Waits until nobody is sent anything of a queue, though what it was sent may not be acknowledged.
    pub async fn cancelled(&self, queue: &str) {
        let gone = async { while self.ctl(&["list_consumers"]).await.contains(queue) {} };
        let in_time = timeout(SEEN_TIMEOUT, gone).await;
        in_time.unwrap_or_else(|_| panic!("{queue} still has consumers"));
    }

    /// A connection for what the product does not do.
    pub async fn connection(&self) -> Connection {
        Connection::connect(&self.url(), ConnectionProperties::default())
            .await
            .unwrap()
    }

    /// Raises or clears the memory alarm, by which it blocks whoever publishes.
    pub async fn memory_alarm(&self, raised: bool) {
        let watermark = if raised { "0.0001" } else { "0.6" };
        self.ctl(&["set_vm_memory_high_watermark", watermark]).await;
    }

    /// Adds a virtual host and says its URL.
    pub async fn add_vhost(&self, name: &str) -> String {
        self.ctl(&["add_vhost", name]).await;
        self.ctl(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"])
            .await;
        format!("amqp://guest:guest@127.0.0.1:{}/{name}", self.port())
    }

    /// Sets an operator's policy, whose limits count beside those that a queue was declared with, for the queues whose names match.
    pub async fn set_operator_policy(&self, name: &str, pattern: &str, definition: &str) {
        self.ctl(&["set_operator_policy", name, pattern, definition, "--apply-to", "queues"])
            .await;
    }

    /// Sets a policy for the queues whose names match.
    pub async fn set_policy(&self, name: &str, pattern: &str, definition: &str) {
        self.ctl(&["set_policy", name, pattern, definition, "--apply-to", "queues"])
            .await;
    }
}

/// The installed programs, unless the broker is to be in a container.
fn programs() -> Option<Programs> {
    match std::env::var(CHOICE).as_deref() {
        Ok("container") => None,
        Ok("installed") => Some(Node::installed().expect("rabbitmq-server is installed")),
        Ok(other) => panic!("{CHOICE} is {other:?}: it is \"installed\" or \"container\""),
        Err(_) => Node::installed(),
    }
}

/// Nodes that are started at once become one cluster. From 4.0 on, the first one does not start alone.
fn cluster_config(names: [String; 3]) -> String {
    let mut config = "cluster_formation.peer_discovery_backend = classic_config\n".to_owned();
    for (number, name) in (1..).zip(names) {
        config += &format!("cluster_formation.classic_config.nodes.{number} = {name}\n");
    }
    config
}

/// Waits until a broker answers to AMQP's greeting. It listens a little before it does.
async fn answers(port: u16) {
    while !greeted(port).await.unwrap_or(false) {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn greeted(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    // A method frame: connection.start.
    let mut kind = [0];
    let read = timeout(Duration::from_secs(5), stream.read_exact(&mut kind));
    Ok(read.await.is_ok_and(|read| read.is_ok()) && kind == [1])
}
