//! A node from the programs that are installed.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tokio::time::timeout;

use super::{ADDRESS, START_TIMEOUT, Setup, answers, cluster_config};
use crate::support::guard::Guard;

/// Runs epmd and the server in one process group. In the foreground and of our own: an epmd that the server starts would
/// outlive it.
const NODE: &str = r#"
"$EPMD" -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
exec "$SERVER" >"$RABBITMQ_LOG_BASE/out" 2>&1
"#;

/// Kills that group and takes the node's data with it, in spite of what the dying node may still write.
const END: &str = r#"
kill -s KILL -- "-$1"
for attempt in 1 2 3 4 5 6 7 8 9; do
    rm -rf "$2" && [ ! -e "$2" ] && break
    sleep 0.1
done
"#;

/// What is left to do for a node that has crashed.
const END_CRASHED: &str = r#"rm -rf "$1""#;

/// Where Debian keeps the programs behind its wrapper, which would switch to another user.
const DEBIAN: &str = "/usr/lib/rabbitmq/bin";

pub(super) struct Programs {
    server: PathBuf,
    ctl: PathBuf,
    epmd: PathBuf,
}

pub(super) struct Node {
    programs: Programs,
    dir: PathBuf,
    name: String,
    ports: Ports,
    running: Mutex<Option<Running>>,
    /// Takes the data of a node that has crashed, unless it is started again.
    crashed: Mutex<Option<Guard>>,
}

/// Who and where a node is.
struct Place {
    id: String,
    cookie: String,
    ports: Ports,
}

struct Ports {
    amqp: u16,
    dist: u16,
    epmd: u16,
}

struct Running {
    group: Child,
    guard: Guard,
}

impl Node {
    pub(super) fn installed() -> Option<Programs> {
        let find = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
            let mut dirs = std::iter::once(PathBuf::from(DEBIAN)).chain(dirs);
            dirs.find_map(|dir| Some(dir.join(name)).filter(|file| file.is_file()))
        };
        Some(Programs {
            server: find("rabbitmq-server")?,
            ctl: find("rabbitmqctl")?,
            epmd: find("epmd")?,
        })
    }

    pub(super) async fn start(programs: Programs, setup: &Setup) -> Self {
        Self::at(Place::free(), programs, setup).await
    }

    /// Three that are started at once.
    pub(super) async fn cluster(programs: impl Fn() -> Programs) -> [Self; 3] {
        let first = Place::free();
        let (second, third) = (first.beside(), first.beside());
        let setup = Setup {
            config: cluster_config([&first, &second, &third].map(Place::name)),
            ..Setup::default()
        };
        let start = |place| Self::at(place, programs(), &setup);
        tokio::join!(start(first), start(second), start(third)).into()
    }

    async fn at(place: Place, programs: Programs, setup: &Setup) -> Self {
        let dir = std::env::temp_dir().join(format!("rabbitmq-{}", place.id));
        prepare(&dir, &place, setup);
        let node = Self {
            programs,
            name: place.name(),
            dir,
            ports: place.ports,
            running: Mutex::default(),
            crashed: Mutex::default(),
        };
        node.restart().await;
        node
    }

    pub(super) fn port(&self) -> u16 {
        self.ports.amqp
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn restart(&self) {
        let mut group = self.command(Path::new("/bin/sh"));
        let group = group
            .args(["-c", NODE])
            .env("SERVER", &self.programs.server)
            .env("EPMD", &self.programs.epmd)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let dir = self.dir.to_str().expect("the directory's name is text");
        let guard = Guard::new(END, &[&group.id().to_string(), dir]);
        *self.running.lock().unwrap() = Some(Running { group, guard });
        if let Some(crashed) = self.crashed.lock().unwrap().take() {
            crashed.disarm();
        }
        if timeout(START_TIMEOUT, answers(self.ports.amqp)).await.is_err() {
            let out = fs::read_to_string(self.dir.join("log/out")).unwrap_or_default();
            panic!("RabbitMQ did not start within {START_TIMEOUT:?}:\n{out}");
        }
    }

    pub(super) async fn crash(&self) {
        let running = self.running.lock().unwrap().take();
        let Some(Running { mut group, guard }) = running else {
            return;
        };
        // It would take the data as well.
        guard.disarm();
        let dir = self.dir.to_str().expect("the directory's name is text");
        *self.crashed.lock().unwrap() = Some(Guard::new(END_CRASHED, &[dir]));
        let kill = format!("kill -s KILL -- -{}", group.id());
        let killed = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(killed.expect("sh runs").success());
        group.wait().expect("the node's group ends");
    }

    /// For a while after another node of its cluster has died, a node may not be reached.
    pub(super) async fn ctl(&self, arguments: &[&str], input: &str) -> String {
        let file = self.dir.join(uuid::Uuid::new_v4().simple().to_string());
        let mut arguments = arguments.to_vec();
        if !input.is_empty() {
            fs::write(&file, input).unwrap();
            arguments.push(file.to_str().expect("the directory's name is text"));
        }
        let arguments = &arguments;
        let mut tries = 0..30;
        loop {
            match self.try_ctl(arguments).await {
                Ok(out) => return out,
                Err(error) if error.contains("unable to perform an operation on node") && tries.next().is_some() => {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                Err(error) => panic!("{} {arguments:?}: {error}", self.programs.ctl.display()),
            }
        }
    }

    async fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = tokio::process::Command::from(self.command(&self.programs.ctl));
        command.args(arguments).kill_on_drop(true).stdin(Stdio::null());
        let output = command.output().await.expect("RabbitMQ's programs run");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(out),
            false => Err(out + &*String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Everything that would otherwise be shared with another node of this machine is set.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.dir.join(name);
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_CONF_ENV_FILE", at("env.conf"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("generated"))
            .env("RABBITMQ_MNESIA_BASE", at("data"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_NODE_PORT", self.ports.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.dist.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERL_ARGS)
            .env("RABBITMQ_CTL_ERL_ARGS", "-start_epmd false")
            .env("ERL_EPMD_PORT", self.ports.epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    }
}

const ERL_ARGS: &str = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}";

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(Running { mut group, guard }) = self.running.lock().unwrap().take() {
            drop(guard);
            let _ = group.wait();
        }
    }
}

impl Place {
    fn free() -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            cookie: uuid::Uuid::new_v4().simple().to_string(),
            ports: Ports::free(),
        }
    }

    /// A place for a node of the same cluster. The epmd of the one that starts first serves all of them.
    fn beside(&self) -> Self {
        let mut place = Self::free();
        place.cookie.clone_from(&self.cookie);
        place.ports.epmd = self.ports.epmd;
        place
    }

    fn name(&self) -> String {
        format!("test-{}@localhost", self.id)
    }
}

impl Ports {
    /// Ports that are free now, and none of those that the kernel gives to connections: a broker that comes back after a crash needs the
    /// same ones again.
    fn free() -> Self {
        let tried = std::iter::repeat_with(|| TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..32_000))));
        let listeners: Vec<_> = tried.filter_map(Result::ok).take(3).collect();
        let port = |index: usize| listeners[index].local_addr().unwrap().port();
        Self {
            amqp: port(0),
            dist: port(1),
            epmd: port(2),
        }
    }
}

fn prepare(dir: &Path, place: &Place, setup: &Setup) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    fs::create_dir(dir).unwrap();
    for sub in ["data", "log", "generated"] {
        fs::create_dir(dir.join(sub)).unwrap();
    }
    write("env.conf", "");
    write("plugins", &format!("[{}].", setup.plugins.join(",")));
    write("advanced.config", "[].");
    let listener = format!("listeners.tcp.1 = 127.0.0.1:{}\n", place.ports.amqp);
    let config = setup.config.replace(ADDRESS, "127.0.0.1");
    write("rabbitmq.conf", &format!("{listener}{config}"));
    write(".erlang.cookie", &place.cookie);
    fs::set_permissions(dir.join(".erlang.cookie"), Permissions::from_mode(0o400)).unwrap();
}
