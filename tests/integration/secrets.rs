//! Where no secret may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bankrefresh::broker::{Message, Outgoing, Properties};
use bankrefresh::proto::RefreshConnection;
use bankrefresh::refresh::event::EventKind;
use bankrefresh::sandbox::SandboxConfig;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::support::collector::Collector;
use crate::support::platform::{PATIENCE, Platform, WorkerProcess, client, command, quick};

/// Also what libraries log, and lapin's frames, which no operator gets.
const EVERYTHING: &str = "trace,lapin=trace,bankrefresh=trace";

/// How lapin prints what it sends.
fn as_numbers(text: &str) -> String {
    let numbers: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    numbers.join(", ")
}

#[tokio::test]
async fn no_secret_is_in_any_log_line_span_or_metric() {
    let planted = "planted-token-8f3a";
    let broker_password = "planted-broker-password";
    let config = SandboxConfig {
        web_form_life: Duration::from_secs(3),
        fault_rate: 0.05,
        ..quick()
    };
    let mut platform = Platform::start(config).await;
    let collector = Collector::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let broker_user = "planted-broker-user";
    let rabbit = platform.rabbit;
    rabbit.ctl(&["add_user", broker_user, broker_password]).await;
    rabbit.ctl(&["set_permissions", broker_user, ".*", ".*", ".*"]).await;
    let url = format!("amqp://{broker_user}:{broker_password}@127.0.0.1:{}/%2f", rabbit.port());
    let mut worker = platform.worker(&[
        ("AMQP__URL", &url),
        ("TELEMETRY__LOG_LEVEL", EVERYTHING),
        ("TELEMETRY__LOG_FORMAT", "json"),
        ("TELEMETRY__OTLP_ENDPOINT", &collector.url),
        ("ADMIN__LISTEN", &listen),
    ]);
    let mut all = Vec::new();
    for id in [1, 2, 3, 9003, 9005, 9013] {
        all.push(command(id));
    }
    all.push(RefreshConnection {
        access_token: planted.to_owned(),
        ..command(4)
    });
    let passwords = all.iter().map(|command| format!("secret-{}", command.user_id));
    let mut secrets: Vec<String> = passwords.collect();
    let count = all.len();
    platform.send_all(all, true).await;
    let unreadable = [
        planted.as_bytes().to_vec(),
        RefreshConnection {
            access_token: planted.to_owned(),
            user_id: String::new(),
            ..command(5)
        }
        .encode_to_vec(),
    ];
    for body in unreadable {
        let message = Outgoing {
            exchange: platform.topology.commands(),
            routing_key: "interactive".to_owned(),
            message: Message {
                body: body.into(),
                properties: Properties::default(),
            },
        };
        platform.broker.publish(vec![message]).await.expect("published");
    }
    let dead_letters = platform.topology.dead_letters();
    platform.until_depth(&dead_letters, |(ready, _)| ready == 2).await;
    platform.outcomes(count).await;
    let mut shown = String::new();
    let refused = format!(
        "amqp://guest:{broker_password}@127.0.0.1:{}/%2f",
        platform.rabbit.port()
    );
    for (arguments, url) in [
        (["topology", "check"], refused.as_str()),
        (["topology", "check"], "amqp://guest:planted-broker-password@:no-port"),
        (["config", "check"], refused.as_str()),
    ] {
        let settings = [("AMQP__URL", url), ("TELEMETRY__LOG_LEVEL", EVERYTHING)];
        let output = platform.program(&arguments, &settings).output();
        let output = timeout(PATIENCE, output).await.expect("an end").expect("it runs");
        assert_eq!(output.status.success(), arguments[0] == "config");
        shown += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    for path in ["metrics", "status", "livez", "readyz"] {
        let answer = client().get(format!("http://{listen}/{path}")).send().await;
        shown += &answer.expect("an answer").text().await.expect("text");
    }
    worker.signal("TERM").await;
    worker.ended().await;
    collector.until(|seen| !seen.metrics().is_empty()).await;
    let spans = collector.spans();
    assert!(spans.len() > 50, "{}", spans.len());
    shown += &format!("{spans:?} {:?} {}", collector.metrics(), worker.log.text());
    let known = [planted, broker_password, "sandbox-secret", "guest:guest"];
    secrets.extend(known.map(str::to_owned));
    let (mut ibans, mut purposes) = (0, 0);
    for (event, _) in platform.events.values().flatten() {
        match event.kind() {
            EventKind::UserActionRequired(event) => secrets.push(event.web_form_url.clone()),
            EventKind::TransactionsUpdated(event) => {
                secrets.extend(event.accounts.iter().map(|account| account.iban.clone()));
                secrets.extend(event.transactions.iter().map(|transaction| transaction.purpose.clone()));
                ibans += event.accounts.iter().filter(|account| !account.iban.is_empty()).count();
                purposes += event.transactions.iter().filter(|of| !of.purpose.is_empty()).count();
            }
            EventKind::RefreshFailed(event) => secrets.push(event.bank_message.clone()),
        }
    }
    let found: Vec<&String> = secrets
        .iter()
        .filter(|secret| !secret.is_empty() && (shown.contains(*secret) || shown.contains(&as_numbers(secret))))
        .collect();
    assert!(
        ibans > 0 && purposes > 0 && secrets.len() > 10 && shown.len() > 10_000,
        "there is something to look for and to look at"
    );
    assert!(found.is_empty(), "{found:?}");
}

/// Counts who connects, and answers nobody.
async fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_taken_only_where_a_setting_says_so() {
    let mut platform = Platform::start(quick()).await;
    let collector = Collector::start().await;
    for setting in [None, Some("FINAPI__USE_PROXY"), Some("TELEMETRY__USE_PROXY")] {
        let (url, count) = proxy().await;
        let mut settings = vec![
            ("TELEMETRY__OTLP_ENDPOINT", collector.url.as_str()),
            ("TELEMETRY__OTLP_PROTOCOL", "http"),
        ];
        settings.extend(setting.map(|setting| (setting, "true")));
        let mut program = platform.program(&["worker"], &settings);
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            program.env(name, &url);
        }
        let mut worker = WorkerProcess::start(&mut program);
        let id = platform.send(command(1)).await;
        if setting != Some("FINAPI__USE_PROXY") {
            platform.outcome(&id).await;
        }
        let is_taken = async {
            while count.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if setting.is_some() {
            timeout(PATIENCE, is_taken).await.expect("it takes the proxy");
        }
        worker.signal("TERM").await;
        worker.ended().await;
        assert_eq!(count.load(Ordering::Relaxed) > 0, setting.is_some(), "{setting:?}");
    }
    assert!(!collector.spans().is_empty());
}
