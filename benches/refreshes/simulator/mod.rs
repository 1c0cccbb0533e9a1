//! finAPI's simulator as a process of its own, with and without TLS.

pub mod serve;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bankrefresh::sandbox::Asked;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::authority::Authority;
use crate::options::Options;
use crate::process::Running;
use crate::protocol::Protocol;

/// How many requests came by which protocol.
pub type Spoken = BTreeMap<Protocol, usize>;

/// A simulator that runs.
pub struct Simulator {
    pub running: Running,
    /// Where it is finAPI.
    pub url: String,
    /// Where it says what it was asked, without TLS.
    control: String,
    pub protocol: Protocol,
    /// The certificates that its clients are to trust.
    pub roots: PathBuf,
}

/// What a simulator was asked by one client.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Calls by endpoint.
    pub calls: BTreeMap<String, usize>,
    /// Tasks that were started.
    pub tasks: usize,
    /// Requests by protocol.
    pub spoken: Spoken,
}

impl Simulator {
    pub async fn start(options: &Options, protocol: Protocol, authority: &Authority, dir: &Path) -> Self {
        let script = dir.join("script.toml");
        std::fs::write(&script, options.script()).expect("the script is written");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["simulator", &protocol.argument(), "--script"])
            .arg(script)
            .arg("--certificates")
            .arg(authority.dir());
        let mut running = Running::start(command.stdout(Stdio::piped()));
        let line = running.line_with("finAPI is at").await;
        let mut urls = line.split_whitespace().filter(|word| word.starts_with("http"));
        let mut url = || urls.next().expect("a URL").to_owned();
        Self {
            running,
            url: url(),
            control: url(),
            protocol,
            roots: authority.roots(),
        }
    }

    /// What it was asked since it started.
    pub async fn heard(&self) -> Heard {
        let asked: Asked = self.ask("sandbox").await;
        let calls = asked.calls.iter().map(|(endpoint, count)| {
            let name = serde_json::to_value(endpoint).expect("a name");
            (name.as_str().expect("a name").to_owned(), *count as usize)
        });
        Heard {
            calls: calls.collect(),
            tasks: asked.tasks as usize,
            spoken: self.ask("spoken").await,
        }
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str) -> T {
        let answer = reqwest::get(format!("{}/{what}", self.control))
            .await
            .expect("an answer");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }
}

impl Heard {
    /// What came after that.
    pub fn since(self, before: &Self) -> Self {
        let earlier = |name: &String| before.calls.get(name).copied().unwrap_or_default();
        let spoken_earlier = |protocol: &Protocol| before.spoken.get(protocol).copied().unwrap_or_default();
        Self {
            tasks: self.tasks - before.tasks,
            calls: self
                .calls
                .into_iter()
                .map(|(name, count)| (name.clone(), count - earlier(&name)))
                .collect(),
            spoken: self
                .spoken
                .into_iter()
                .map(|(protocol, count)| (protocol, count - spoken_earlier(&protocol)))
                .collect(),
        }
    }
}
