//! `bankrefresh doctor`, with a worker's settings, against a broker and finAPI's simulator.

use bankrefresh::broker::topology::Topology;
use tokio::process::Command;

use crate::support::platform::{PATIENCE, Platform, client, free_address, free_port, quick};
use crate::support::rabbitmq::{self, ADDRESS, RabbitMq, Setup};

/// What it prints, and its exit code.
async fn doctor(platform: &Platform, arguments: &[&str], settings: &[(&str, &str)]) -> (String, Option<i32>) {
    let mut program = platform.program(&[&["doctor"], arguments].concat(), settings);
    let ended = program.output().await.expect("it runs");
    let text = String::from_utf8(ended.stdout).expect("text") + String::from_utf8(ended.stderr).expect("text").as_str();
    for secret in ["sandbox-secret", "s3cret", "a-bearer-that-nobody-sees"] {
        assert!(!text.contains(secret), "{text}");
    }
    (text, ended.status.code())
}

/// A line that begins so and says this.
#[track_caller]
fn assert_says(text: &str, verdict: &str, about: &str, words: &str) {
    let is_it = |line: &str| {
        let mut parts = line.split_whitespace();
        parts.next() == Some(verdict) && parts.next() == Some(about) && line.contains(words)
    };
    assert!(
        text.lines().any(is_it),
        "no line \"{verdict} {about} … {words}\" in:\n{text}"
    );
}

#[tokio::test]
async fn a_worker_that_is_well_is_found_well() {
    let platform = Platform::start(quick()).await;
    let (text, code) = doctor(&platform, &[], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_says(&text, "ok", "broker", "user \"guest\"");
    assert_says(&text, "ok", "version", "RabbitMQ ");
    assert_says(&text, "ok", "rights", "may do what a worker does");
    assert_says(&text, "ok", "topology", "as they should be");
    assert_says(&text, "note", "policies", "--management");
    assert_says(&text, "ok", "credentials", "answers");
    assert_says(&text, "ok", "finAPI", "it is bound to Access V");
    assert_says(&text, "ok", "clock", "ahead by");
    assert_says(&text, "ok", "callbacks", "off");
    assert!(text.ends_with("nothing is wrong\n"), "{text}");
    // Nothing was published, taken or declared.
    for queue in platform.topology.queues() {
        assert_eq!(platform.rabbit.depth(&queue.name).await, (0, 0), "{}", queue.name);
    }
    assert_eq!(platform.sandbox.asked().tasks, 0);
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_named_with_what_to_do() {
    let platform = Platform::start(quick()).await;
    let nobody = format!("http://{}", free_address());
    let (text, code) = doctor(
        &platform,
        &[],
        &[
            ("FINAPI__CLIENT_SECRET", "s3cret"),
            ("CREDENTIALS__URL", &nobody),
            ("CREDENTIALS__BEARER", "a-bearer-that-nobody-sees"),
            ("CALLBACKS__PUBLIC_URL", "https://worker/"),
            ("CALLBACKS__KEY", "a key of sixteen characters or more"),
        ],
    )
    .await;
    assert_eq!(code, Some(1), "{text}");
    assert_says(
        &text,
        "wrong",
        "finAPI",
        "check finapi.access_url, finapi.client_id and finapi.client_secret",
    );
    assert_says(&text, "wrong", "credentials", "check credentials.url");
    assert_says(&text, "wrong", "callbacks", "give it a public name");
    assert_says(&text, "note", "callbacks", "callbacks.listen is not set");
    assert!(text.ends_with("3 wrong\n"), "{text}");

    let nowhere = format!("amqp://guest:s3cret@127.0.0.1:{}/%2f", free_port());
    let (text, code) = doctor(&platform, &[], &[("AMQP__URL", &nowhere)]).await;
    assert_eq!(code, Some(1));
    assert_says(&text, "wrong", "broker", "is it running, and is amqp.url right?");
}

/// Without leaving a message anywhere, also where the user may write.
#[tokio::test]
async fn a_user_without_a_right_is_found_and_a_workers_own_user_is_well() {
    let rabbit = rabbitmq::shared().await;
    let prefix = rabbitmq::prefix();
    let mut printed = Command::new(env!("CARGO_BIN_EXE_bankrefresh"));
    printed
        .args(["topology", "definitions"])
        .env_clear()
        .env("BANKREFRESH__AMQP__PREFIX", &prefix);
    let definitions = printed.output().await.expect("it runs").stdout;
    rabbit
        .ctl_with(&["import_definitions"], &String::from_utf8(definitions).expect("text"))
        .await;
    let platform = Platform::under(prefix.clone(), rabbit, false, quick()).await;
    let user = format!("{prefix}-worker");
    rabbit.ctl(&["change_password", &user, "s3cret"]).await;
    let url = format!("amqp://{user}:s3cret@127.0.0.1:{}/%2f", rabbit.port());
    let settings = [("AMQP__URL", url.as_str()), ("AMQP__DECLARE", "false")];
    let (text, code) = doctor(&platform, &[], &settings).await;
    assert_eq!(code, Some(0), "{text}");
    assert_says(&text, "ok", "rights", &user);
    assert_says(&text, "note", "topology", "an administrator sees them");

    let topology = Topology::new(&prefix);
    let escaped = |name: String| name.replace('.', r"\.");
    let writes = format!(
        "^({}|{}\\.ephemeral\\..+)$",
        escaped(topology.commands()),
        escaped(topology.wake())
    );
    let reads = format!("^({}|{}.*)$", escaped(topology.interactive()), escaped(topology.wake()));
    rabbit
        .ctl(&[
            "set_permissions",
            &user,
            &escaped(topology.wake() + ".*"),
            &writes,
            &reads,
        ])
        .await;
    let (text, code) = doctor(&platform, &[], &settings).await;
    assert_eq!(code, Some(1), "{text}");
    for missing in [
        topology.events(),
        topology.delay(),
        topology.dead_letters(),
        topology.quarantine(),
        topology.background(),
    ] {
        assert_says(&text, "wrong", "rights", &format!("{missing:?}"));
    }
    assert!(
        !text.contains(&format!("write to exchange {:?}", topology.commands())),
        "{text}"
    );
    for queue in topology.queues() {
        assert_eq!(rabbit.depth(&queue.name).await, (0, 0), "{}", queue.name);
    }
}

#[tokio::test]
async fn a_policy_that_would_lose_commands_is_found() {
    let port = free_port();
    let rabbit = RabbitMq::with(Setup {
        config: format!("management.tcp.ip = {ADDRESS}\nmanagement.tcp.port = {port}\n"),
        ports: vec![port],
        plugins: vec!["rabbitmq_management"],
        ..Setup::default()
    });
    let rabbit: &'static RabbitMq = Box::leak(Box::new(rabbit.await));
    let platform = Platform::on(rabbit, quick()).await;
    let management = format!("http://127.0.0.1:{port}");
    // It may take a moment until the plugin listens.
    let listens = async {
        while client().get(&management).send().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listens)
        .await
        .expect("the plugin listens in time");
    let (text, code) = doctor(&platform, &["--management", &management], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_says(&text, "ok", "policies", "none on our queues");
    rabbit.set_policy("short", ".*", r#"{"max-length":10}"#).await;
    let background = platform.topology.background();
    // The plugin shows what queues said of themselves some seconds ago.
    let is_seen = async {
        loop {
            let (text, code) = doctor(&platform, &["--management", &management], &[]).await;
            if code == Some(1) {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(PATIENCE, is_seen)
        .await
        .expect("the policy is seen in time");
    assert_says(&text, "wrong", "policies", &format!("max-length on {background}"));
    rabbit.crash().await;
}
