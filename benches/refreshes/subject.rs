//! Who is measured.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::options::Options;
use crate::process::Running;
use crate::protocol::Protocol;
use crate::simulator::Simulator;
use crate::support::rabbitmq::RabbitMq;

/// Who is measured, in a process of its own.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// `bankrefresh worker`
    Worker,
    /// [`crate::minimal`]
    Minimal,
}

impl Subject {
    pub fn start(
        self,
        options: &Options,
        rabbit: &RabbitMq,
        prefix: &str,
        simulator: &Simulator,
        log: PathBuf,
    ) -> Running {
        let mut command = match self {
            Self::Worker => worker(options, rabbit, prefix, simulator),
            Self::Minimal => minimal(options, rabbit, prefix, simulator),
        };
        command
            .env("SSL_CERT_FILE", &simulator.roots)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).expect("a log"));
        Running::start(&mut command)
    }
}

fn worker(options: &Options, rabbit: &RabbitMq, prefix: &str, simulator: &Simulator) -> Command {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_bankrefresh"));
    let mut command = Command::new(options.program.as_ref().unwrap_or(&built));
    let finapi = &simulator.url;
    command
        .env_clear()
        .arg("worker")
        .env("BANKREFRESH__AMQP__URL", rabbit.url())
        .env("BANKREFRESH__AMQP__PREFIX", prefix)
        .env("BANKREFRESH__FINAPI__ACCESS_URL", finapi)
        .env("BANKREFRESH__FINAPI__WEB_FORM_URL", finapi)
        .env("BANKREFRESH__FINAPI__CLIENT_ID", "sandbox-client")
        .env("BANKREFRESH__FINAPI__CLIENT_SECRET", "sandbox-secret")
        .env("BANKREFRESH__CREDENTIALS__SOURCE", "http")
        .env("BANKREFRESH__CREDENTIALS__URL", format!("{finapi}/sandbox/credentials"))
        .env("BANKREFRESH__WORKER__IN_FLIGHT", options.in_flight.to_string());
    if simulator.protocol == Protocol::Http2 {
        command.env("BANKREFRESH__FINAPI__HTTP2", "true");
    }
    if options.callbacks {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.expect("a free port").to_string();
        command
            .env("BANKREFRESH__CALLBACKS__LISTEN", &address)
            .env("BANKREFRESH__CALLBACKS__PUBLIC_URL", format!("http://{address}"))
            .env("BANKREFRESH__CALLBACKS__KEY", "0123456789abcdef0123456789abcdef");
    }
    for setting in &options.set {
        let (key, value) = setting.split_once('=').expect("--set KEY=VALUE");
        command.env(format!("BANKREFRESH__{}", key.to_uppercase()), value);
    }
    command
}

fn minimal(options: &Options, rabbit: &RabbitMq, prefix: &str, simulator: &Simulator) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env_clear().args([
        "minimal".to_owned(),
        simulator.protocol.argument(),
        format!("--finapi={}", simulator.url),
        format!("--amqp={}", rabbit.url()),
        format!("--prefix={prefix}"),
        format!("--in-flight={}", options.in_flight),
    ]);
    command
}
