//! Every query of every dashboard, rule and alert against a real Prometheus that has watched real workers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bankrefresh::broker::{Message, Outgoing, Properties};
use bankrefresh::sandbox::{Behaviour, SandboxConfig, Script, ScriptedConnection, UserDoes};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::support::guard::Guard;
use crate::support::platform::{PATIENCE, Platform, client, command, free_port, quick};
use crate::support::rabbitmq::RabbitMq;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// How long workers are watched while they are busy.
const BUSY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn no_query_is_empty_after_a_busy_while() {
    let rabbit_metrics = free_port();
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::with_metrics(rabbit_metrics).await));
    let mut platform = Platform::on(rabbit, banks()).await;
    let listens = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let holding = platform.worker(&[("ADMIN__LISTEN", &listens[0])]);
    let parking = platform.worker(&[("ADMIN__LISTEN", &listens[1]), ("WORKER__HOLD_WAIT_MAX", "0s")]);
    let _workers = [holding, parking];
    let prometheus = Prometheus::start(&listens, rabbit_metrics).await;

    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < BUSY {
        let commands: Vec<_> = (1..=10).map(|n| command(sent + n)).collect();
        platform.send_all(commands, (sent / 10) % 2 == 0).await;
        sent += 10;
        platform
            .broker
            .publish(vec![noise(&platform)])
            .await
            .expect("published");
        sleep(Duration::from_millis(500)).await;
    }
    platform.outcomes(usize::try_from(sent).expect("a count")).await;

    prometheus.check_rules().await;
    let queries: Vec<_> = dashboards().into_iter().chain(alerts()).collect();
    assert!(queries.len() > 50, "{} queries", queries.len());
    // The last scrapes, and the rules that go by them, are a moment away.
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let mut empty = Vec::new();
        for (place, query) in &queries {
            match prometheus.query(query).await {
                Ok(0) => empty.push(format!("{place}: nothing for {query}")),
                Ok(_) => {}
                Err(why) => panic!("{place}: {why}: {query}"),
            }
        }
        if empty.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "{empty:#?}");
        sleep(Duration::from_millis(200)).await;
    }
    if let Some(kept) = std::env::var_os("KEEP_PROMETHEUS_DATA") {
        prometheus.snapshot(&PathBuf::from(kept)).await;
    }
}

/// Some end well, some need the user, some fail.
fn banks() -> SandboxConfig {
    let bank = |number: i64| {
        let after = quick().default_script.settles;
        let behaviour = match number % 10 {
            0 => Behaviour::Fails {
                after,
                error_code: "BANK_SERVER_REJECTION".to_owned(),
                error_message: "The bank's own words.".to_owned(),
            },
            1 => Behaviour::ImmediateWebForm {
                user: UserDoes::Completes { after },
            },
            _ => return None,
        };
        Some(ScriptedConnection {
            user_id: Some(format!("user-{number}")),
            connection_id: number,
            script: Script::of(behaviour),
        })
    };
    SandboxConfig {
        connections: (1..=1000).filter_map(bank).collect(),
        fault_rate: 0.02,
        ..quick()
    }
}

fn noise(platform: &Platform) -> Outgoing {
    Outgoing {
        exchange: platform.topology.commands(),
        routing_key: "background".to_owned(),
        message: Message {
            body: vec![0xff; 9].into(),
            properties: Properties::default(),
        },
    }
}

/// Where each query is, and what it asks.
fn dashboards() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    let files = fs::read_dir(format!("{DEPLOY}/grafana")).expect("the dashboards");
    for file in files.map(|file| file.expect("a file").path()) {
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a dashboard");
        let board: Value = serde_json::from_str(&text).expect("JSON");
        for panel in board["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let query = target["expr"].as_str().expect("a query");
                queries.push((
                    format!("{} {}", file.display(), panel["title"]),
                    query.replace("$__rate_interval", "1m"),
                ));
            }
        }
    }
    queries
}

/// What alerts compare, for it is to be there whether or not it is too much.
fn alerts() -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("{DEPLOY}/prometheus/alerts.yml")).expect("the alerts");
    let queries = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let left = |query: &str| {
        query
            .rsplit_once([' '])
            .map(|(left, _)| left.trim_end_matches([' ', '<', '>']).to_owned())
    };
    let queries: Vec<_> = queries
        .filter_map(left)
        .map(|query| ("alerts.yml".to_owned(), query))
        .collect();
    assert!(!queries.is_empty());
    queries
}

#[test]
fn every_alert_says_what_to_do() {
    let text = fs::read_to_string(format!("{DEPLOY}/prometheus/alerts.yml")).expect("the alerts");
    let docs = include_str!("../../docs/operating/alerts.md");
    let named = |prefix: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(prefix));
        lines.map(str::to_owned).collect()
    };
    let alerts = named("- alert: ");
    let runbooks = named("runbook_url: ");
    let headings: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|heading| heading.starts_with("Bankrefresh"))
        .collect();
    assert_eq!(alerts, headings, "in the same order");
    let expected: Vec<String> = alerts
        .iter()
        .map(|alert| format!("docs/operating/alerts.md#{}", alert.to_lowercase()))
        .collect();
    assert_eq!(runbooks, expected);
}

struct Prometheus {
    url: String,
    dir: tempfile::TempDir,
    _child: tokio::process::Child,
    _guard: Guard,
}

impl Prometheus {
    async fn start(workers: &[String], rabbit: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for file in ["rules.yml", "alerts.yml"] {
            fs::copy(format!("{DEPLOY}/prometheus/{file}"), dir.path().join(file)).expect("copied");
        }
        check(&["config", &format!("{DEPLOY}/prometheus/prometheus.yml")]).await;
        let committed = fs::read_to_string(format!("{DEPLOY}/prometheus/prometheus.yml")).expect("the configuration");
        // Workers have no names here.
        let from = committed.find("    dns_sd_configs:").expect("how workers are found");
        let to = committed.find("  - job_name: rabbitmq").expect("the next job");
        let found = format!("    static_configs:\n      - targets: {workers:?}\n");
        let config = [&committed[..from], &found, &committed[to..]]
            .concat()
            .replace("10s", "1s")
            .replace("rabbitmq:15692", &format!("127.0.0.1:{rabbit}"));
        fs::write(dir.path().join("prometheus.yml"), config).expect("written");
        let listen = format!("127.0.0.1:{}", free_port());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .arg("--web.enable-admin-api")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Prometheus is installed (Debian: apt-get install prometheus)");
        let pid = child.id().expect("a process id").to_string();
        let prometheus = Self {
            url: format!("http://{listen}"),
            dir,
            _child: child,
            _guard: Guard::new("kill -9 $1", &[&pid]),
        };
        let ready = format!("{}/-/ready", prometheus.url);
        let client = client();
        let until = Instant::now() + PATIENCE;
        while !client
            .get(&ready)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            assert!(Instant::now() < until, "Prometheus does not start");
            sleep(Duration::from_millis(100)).await;
        }
        prometheus
    }

    /// How many series a query has; those that are no number count as none.
    async fn query(&self, query: &str) -> Result<usize, String> {
        let encoded: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .finish();
        let answer = self.get(&format!("api/v1/query?{encoded}")).await;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let numbers = series.iter().filter(|series| series["value"][1] != "NaN");
        Ok(numbers.count())
    }

    async fn check_rules(&self) {
        let answer = self.get("api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules"))
            .collect();
        assert!(rules.len() >= 14, "{rules:?}");
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }

    /// Keeps its data, to draw the dashboards from.
    async fn snapshot(&self, to: &Path) {
        let url = format!("{}/api/v1/admin/tsdb/snapshot", self.url);
        let answer = client().post(url).send().await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        let name = answer["data"]["name"].as_str().expect("a name");
        let from = self.dir.path().join("data/snapshots").join(name);
        let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().await;
        assert!(copied.expect("cp runs").success());
    }

    async fn get(&self, path: &str) -> Value {
        let answer = client()
            .get(format!("{}/{path}", self.url))
            .send()
            .await
            .expect("an answer");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }
}

async fn check(arguments: &[&str]) {
    let output = Command::new("promtool").arg("check").args(arguments).output().await;
    let output = output.expect("promtool is installed (Debian: apt-get install prometheus)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
